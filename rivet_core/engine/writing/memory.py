"""How the memory budget of a run is divided."""

from __future__ import annotations

from dataclasses import dataclass

from rivet_core.api import Source
from rivet_core.engine.writing.upload import BUFFER_BYTES, QUEUE_PIECES

# What a process needs before the first row: interpreter, pyarrow, SQLAlchemy, pydantic (measured 85 to 115 MB).
_BASE_BYTES = 110_000_000
_MAX_GROUP_BYTES = 64_000_000
_MIN_GROUP_BYTES = 1_000_000
# Of larger ones nothing is faster.
_MAX_BATCH_BYTES = 8_000_000
# What the reading of one batch may take: at most so much, and so many parts of a worker's memory.
_MAX_READING_BYTES = 40_000_000
_READING_SHARE = 3
# Two pieces of the smallest size that every object store takes: one in flight, one being filled.
_MIN_UPLOAD_BYTES = 2 * 5 * (1 << 20)
_MIN_ROLLING_GROUP_BYTES = 64_000
# A row group is encoded in less time than it takes to read these.
_MAX_AHEAD_BATCHES = 8
_MAX_AHEAD_BYTES = 32_000_000


@dataclass(frozen=True)
class MemoryPlan:
    """How the memory budget is divided.

    Attributes:
        batch_bytes: bound of one record batch in Arrow bytes.
        group_bytes: bound of what an encoder holds back (a row group) in Arrow bytes.
        ahead_batches: how many batches wait for the encoder, at most.
    """

    batch_bytes: int
    group_bytes: int
    ahead_batches: int

    @staticmethod
    def upload_bytes(budget: int, workers: int = 1) -> int:
        """Return what one writer of a destination may hold in memory, in bytes."""
        return max(_MIN_UPLOAD_BYTES, (budget - _BASE_BYTES) // workers // 4)

    @classmethod
    def divide(
        cls,
        budget: int,
        max_file_size: int | None,
        *,
        workers: int = 1,
        writer_bytes: int = 0,
        read_overhead: int = Source.read_overhead,
    ) -> MemoryPlan:
        """Divide ``budget`` bytes.

        Each worker gets two row groups, the batches that wait for the encoder, the pieces in flight and what reading
        a batch takes.

        Args:
            workers: chunks that are exported at the same time.
            writer_bytes: what the destination's writer holds (``Destination.buffer_bytes``).
            read_overhead: how many times a batch's size reading takes (``Source.read_overhead``).
        """
        share = (budget - _BASE_BYTES) // workers
        reading = min(_MAX_READING_BYTES, share // _READING_SHARE)
        batch = min(_MAX_BATCH_BYTES, max(_MIN_GROUP_BYTES, reading // read_overhead))
        free = share - QUEUE_PIECES * BUFFER_BYTES - read_overhead * batch - writer_bytes
        # Of several workers one reads while another encodes, so that less has to wait.
        ahead_bytes = min(_MAX_AHEAD_BYTES, free // (3 * workers))
        ahead = max(1, min(_MAX_AHEAD_BATCHES, ahead_bytes // batch))
        group = max(_MIN_GROUP_BYTES, min(_MAX_GROUP_BYTES, (free - ahead * batch) // 2))
        if max_file_size is not None:
            # An encoder bounds what it holds back as if nothing could be compressed: the less, the fuller the parts.
            group = max(_MIN_ROLLING_GROUP_BYTES, min(group, max_file_size // 8))
        return cls(min(batch, group), group, ahead)
