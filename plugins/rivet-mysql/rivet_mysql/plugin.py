"""Entry module of rivet-mysql: one source under two names, ``mysql`` and ``mariadb``."""

from __future__ import annotations

from rivet_core.api import SourceSpec
from rivet_core.hookspecs import hookimpl


@hookimpl
def rivet_sources() -> list[SourceSpec]:
    """Register ``mysql`` and ``mariadb``, which take the place of the built-in source."""
    return [
        SourceSpec(
            type=type_,
            summary=f"{name}, its rows decoded in native code",
            config="rivet_mysql.config:MysqlConfig",
            factory="rivet_mysql.source:open_source",
        )
        for type_, name in (("mysql", "MySQL"), ("mariadb", "MariaDB"))
    ]
