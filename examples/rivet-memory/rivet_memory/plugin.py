"""Entry module of rivet-memory: one destination, ``memory``. It is loaded at every start and imports nothing heavy."""

from __future__ import annotations

from rivet_core.api import Capabilities, DestinationSpec
from rivet_core.hookspecs import hookimpl


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register the ``memory`` destination."""
    return [
        DestinationSpec(
            type="memory",
            kind="store",
            summary="Objects in the memory of this process",
            config="rivet_memory.store:MemoryConfig",
            factory="rivet_memory.store:MemoryDestination",
            capabilities=Capabilities(
                conditional_put=True,
                conditional_writer=True,
                pending="self_expiring",  # what was not committed goes with its writer
                rehash_on_validate=True,  # no checksums are kept, and reading costs nothing
            ),
        )
    ]
