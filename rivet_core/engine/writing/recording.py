"""Records parts and chunks in the state while they come to be, and tells the subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rivet_core.engine.selecting.chunks import Bounds

if TYPE_CHECKING:
    from rivet_core.api.errors import RivetError
    from rivet_core.engine.journal import Journal
    from rivet_core.engine.selecting.chunks import Chunk
    from rivet_core.state import Lease, PartRow, StateStore


class StateJournal:
    """The journal of one run's parts; see ``extract.PartJournal``."""

    def __init__(self, state: StateStore, lease: Lease, run_id: str, journal: Journal) -> None:
        self._state = state
        self._lease = lease
        self._run_id = run_id
        self._journal = journal

    def reserve(self, key: str, number: int) -> None:
        """See ``PartJournal.reserve``."""
        self._state.reserve_part(self._lease, self._run_id, key, number)

    def committed(self, part: PartRow) -> None:
        """See ``PartJournal.committed``."""
        self._state.commit_part(self._lease, self._run_id, part)
        self._journal.emit("part_committed", key=part.key, rows=part.rows, size_bytes=part.size_bytes)

    def finished(self, chunk: Chunk, attempt: int) -> None:
        """See ``PartJournal.finished``."""
        self._state.finish_chunk(self._lease, self._run_id, chunk.number, attempt)

    def reading_again(self, chunk: Chunk, error: RivetError) -> None:
        """See ``PartJournal.reading_again``."""
        which = "the rows are" if chunk.bounds == Bounds() else f"chunk {chunk.number} is"
        self._journal.warn(f"{which} read again: {error.message}")
