"""Reads the first rows of a query against a clock, to tell how long its statements will take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source

_ROWS: Final = 20_000
_SECONDS: Final = 3.0
_BATCH_BYTES: Final = 250_000


@dataclass(frozen=True)
class Pace:
    """How fast the first rows of a query came.

    Attributes:
        rows: how many were read.
        size_bytes: their size in memory (Arrow).
        rows_per_second: how fast they came, connecting apart.
        complete: there are no others.
    """

    rows: int
    size_bytes: int
    rows_per_second: float
    complete: bool

    def seconds(self, rows: int) -> float:
        """Return how long so many rows take at this rate."""
        return rows / self.rows_per_second


def measure_pace(source: Source, query: Query) -> Pace:
    """Read some 20 000 rows, or as many as come in three seconds; the statement is left early.

    Raises:
        SourceError: the database refuses the query, or one of these rows has a value that cannot be kept.
    """
    rows = size = 0
    complete = True
    started = time.monotonic()
    with source.read(query, batch_bytes=_BATCH_BYTES) as stream:
        first = time.monotonic()
        for batch in stream:
            rows += batch.num_rows
            size += batch.nbytes
            if rows >= _ROWS or time.monotonic() - started >= _SECONDS:
                complete = False
                break
        took = time.monotonic() - first
    return Pace(rows, size, rows / max(took, 1e-6), complete)
