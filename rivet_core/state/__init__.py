"""What a run remembers between its steps and between runs, in a SQL database."""

from rivet_core.state.lease import Lease, LeaseInfo
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
)

__all__ = [
    "ChunkRow",
    "CursorRow",
    "Lease",
    "LeaseInfo",
    "Outcome",
    "PartRow",
    "RunRow",
    "RunStart",
    "RunStatus",
    "StateStore",
    "open_state",
]
