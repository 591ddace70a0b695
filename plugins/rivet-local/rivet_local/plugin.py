"""Entry module of rivet-local: one destination, ``local``."""

from __future__ import annotations

from rivet_core.api import Capabilities, DestinationSpec
from rivet_core.hookspecs import hookimpl


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register the ``local`` destination."""
    return [
        DestinationSpec(
            type="local",
            kind="store",
            summary="A directory on a local disk",
            config="rivet_local.config:LocalConfig",
            factory="rivet_local.destination:open_local",
            capabilities=Capabilities(
                conditional_put=True, conditional_writer=True, pending="listed", rehash_on_validate=True
            ),
            template="path",
        )
    ]
