"""Entry module of rivet-s3: one destination, ``s3``, and its auth resolvers."""

from __future__ import annotations

from rivet_core.api import DestinationSpec
from rivet_core.hookspecs import hookimpl


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register the ``s3`` destination."""
    return []
