"""Entry module of rivet-postgres: one source, ``postgres``."""

from __future__ import annotations

from rivet_core.api import SourceSpec
from rivet_core.hookspecs import hookimpl


@hookimpl
def rivet_sources() -> list[SourceSpec]:
    """Register the ``postgres`` source, which takes the place of the built-in one."""
    return [
        SourceSpec(
            type="postgres",
            summary="PostgreSQL by binary COPY",
            config="rivet_postgres.config:PostgresConfig",
            factory="rivet_postgres.source:open_source",
        )
    ]
