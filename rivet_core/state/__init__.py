"""What a run remembers between its steps and between runs, in a SQL database."""

from rivet_core.state.lease import Lease, LeaseInfo
from rivet_core.state.store import ChunkRow, Outcome, PartRow, RunRow, RunStart, RunStatus, StateStore, open_state

__all__ = [
    "ChunkRow",
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
