"""What a run remembers between its steps and between runs, in a SQL database."""

from rivet_core.state.database import location_of
from rivet_core.state.lease import Lease, LeaseHolder, LeaseInfo
from rivet_core.state.store import (
    ChunkRow,
    CursorRow,
    Outcome,
    PartRow,
    RunRow,
    RunStart,
    RunStatus,
    StateStore,
    open_state,
    read_state,
)

__all__ = [
    "ChunkRow",
    "CursorRow",
    "Lease",
    "LeaseHolder",
    "LeaseInfo",
    "Outcome",
    "PartRow",
    "RunRow",
    "RunStart",
    "RunStatus",
    "StateStore",
    "location_of",
    "open_state",
    "read_state",
]
