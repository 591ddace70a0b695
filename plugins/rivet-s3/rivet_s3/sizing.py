"""How an upload is cut: parts that fit the memory and, ten thousand of them, the largest object.

S3's limits: 10 000 parts, each but the last of at least 5 MiB, none over 5 GiB ("Amazon S3 multipart upload limits").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SMALLEST_PART_BYTES: Final = 5 << 20
LARGEST_PART_BYTES: Final = 5 << 30
#: So many parts have the same size before the next so many are twice as large.
PARTS_PER_SIZE: Final = 1000


@dataclass(frozen=True)
class Sizing:
    """How one writer cuts its object.

    Attributes:
        part_bytes: size of the first thousand parts.
        in_flight_bytes: bound of what is being sent at any time.
    """

    part_bytes: int
    in_flight_bytes: int

    @classmethod
    def of(cls, upload_bytes: int, concurrency: int, part_bytes: int | None) -> Sizing:
        """Fit an upload into a share of memory: parts in flight, one that fills, and its copy when it is sent.

        >>> Sizing.of(48_000_000, 4, None)
        Sizing(part_bytes=8000000, in_flight_bytes=32000000)
        >>> Sizing.of(16 << 20, 4, None)  # too little for four of the smallest
        Sizing(part_bytes=5592405, in_flight_bytes=5592405)

        Args:
            upload_bytes: the share.
            concurrency: parts in flight that are wanted.
            part_bytes: size of a part, if the configuration fixes it.
        """
        if part_bytes is None:
            fitting = min(concurrency, upload_bytes // SMALLEST_PART_BYTES - 2)
            part_bytes = max(SMALLEST_PART_BYTES, upload_bytes // (max(1, fitting) + 2))
        in_flight = max(1, min(concurrency, upload_bytes // part_bytes - 2))
        return cls(part_bytes, in_flight * part_bytes)

    @property
    def buffer_bytes(self) -> int:
        """What a writer holds at most, as long as its parts have not grown."""
        return self.in_flight_bytes + 2 * self.part_bytes

    def part(self, number: int) -> int:
        """Return the size of the part with this number, from 1 on.

        >>> sizing = Sizing.of(48_000_000, 4, None)
        >>> sum(sizing.part(number) for number in range(1, 10_001)) > 5 << 40
        True
        """
        return min(LARGEST_PART_BYTES, self.part_bytes << (number - 1) // PARTS_PER_SIZE)
