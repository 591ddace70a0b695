"""Entry module of rivet-azure: one destination, ``azure``, and its auth resolvers."""

from __future__ import annotations

from rivet_core.api import DestinationSpec
from rivet_core.hookspecs import hookimpl


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register the ``azure`` destination."""
    return []
