"""How an upload is cut: blocks that fit the memory and, fifty thousand of them, the largest part.

The service's limits: 50 000 blocks of up to 4000 MiB each ("Scalability and performance targets for Blob storage").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rivet_azure.config import LARGEST_BLOCK_BYTES

_SMALLEST_DEFAULT_BYTES: Final = 4 << 20
_LARGEST_DEFAULT_BYTES: Final = 32 << 20
#: So many blocks have the same size before the next so many are twice as large.
_BLOCKS_PER_SIZE: Final = 5000


@dataclass(frozen=True)
class Sizing:
    """How one writer cuts its object.

    Attributes:
        block_bytes: size of the first blocks.
        in_flight_bytes: bound of what is being sent at any time.
    """

    block_bytes: int
    in_flight_bytes: int

    @classmethod
    def of(cls, upload_bytes: int, concurrency: int, block_bytes: int | None) -> Sizing:
        """Fit an upload into a share of memory: blocks in flight, one that fills, and its copy when it is sent.

        >>> Sizing.of(48_000_000, 4, None)
        Sizing(block_bytes=8000000, in_flight_bytes=32000000)
        >>> Sizing.of(16_000_000, 4, None)  # too little for four of the smallest
        Sizing(block_bytes=5333333, in_flight_bytes=5333333)

        Args:
            upload_bytes: the share.
            concurrency: blocks in flight that are wanted.
            block_bytes: size of a block, if the configuration fixes it.
        """
        if block_bytes is None:
            fitting = max(1, min(concurrency, upload_bytes // _SMALLEST_DEFAULT_BYTES - 2))
            block_bytes = min(max(_SMALLEST_DEFAULT_BYTES, upload_bytes // (fitting + 2)), _LARGEST_DEFAULT_BYTES)
        in_flight = max(1, min(concurrency, upload_bytes // block_bytes - 2))
        return cls(block_bytes, in_flight * block_bytes)

    @property
    def buffer_bytes(self) -> int:
        """What a writer holds at most, as long as its blocks have not grown."""
        return self.in_flight_bytes + 2 * self.block_bytes

    def block(self, number: int) -> int:
        """Return the size of the block with this number, from 1 on.

        >>> sizing = Sizing.of(48_000_000, 4, None)
        >>> sum(sizing.block(number) for number in range(1, 50_001)) > 30 << 40
        True
        """
        return min(LARGEST_BLOCK_BYTES, self.block_bytes << (number - 1) // _BLOCKS_PER_SIZE)
