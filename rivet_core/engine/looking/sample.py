"""Estimates how large the rows of a query will be, from the first few of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from rivet_core.engine.selecting.view import log_again
from rivet_core.engine.tries import keep_trying

if TYPE_CHECKING:
    import pyarrow as pa

    from rivet_core.api.format import Format
    from rivet_core.api.source import Query, Source
    from rivet_core.engine.writing.rows import RowSteps

# Arrow bytes: enough for dictionaries and codecs to show what they are worth, and read in an instant.
_SAMPLE_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class Sample:
    """What a few rows are in a file format.

    Attributes:
        rows: how many they are.
        row_bytes: bytes of one of them.
        part_bytes: bytes of a part without rows.
    """

    rows: int
    row_bytes: float
    part_bytes: int

    def estimate(self, rows: int, parts: int) -> int:
        """Return the bytes of so many rows in so many parts."""
        return round(rows * self.row_bytes) + parts * self.part_bytes


def take_sample(source: Source, query: Query, format_: Format, steps: RowSteps) -> Sample:
    """Read the first rows of a query and encode them."""
    batches = keep_trying(lambda: _first_batches(source, query, steps), log_again)
    rows = sum(batch.num_rows for batch in batches)
    empty = _encoded_bytes(format_, steps.schema, [])
    return Sample(rows, (_encoded_bytes(format_, steps.schema, batches) - empty) / max(rows, 1), empty)


def _first_batches(source: Source, query: Query, steps: RowSteps) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    with source.read(query, batch_bytes=_SAMPLE_BYTES) as stream:
        for batch in stream:
            batches.append(steps.apply(batch))
            if sum(item.nbytes for item in batches) >= _SAMPLE_BYTES:
                break
    return batches


def _encoded_bytes(format_: Format, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> int:
    sink = _Counting()
    encoder = format_.encoder(cast("BinaryIO", sink), schema, group_bytes=_SAMPLE_BYTES)
    try:
        for batch in batches:
            encoder.write(batch)
        encoder.finish()
    finally:
        encoder.close()
    return sink.size


class _Counting(io.RawIOBase):
    """Takes bytes and keeps none of them."""

    def __init__(self) -> None:
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]  # whatever has a buffer
        self.size += size
        return size
