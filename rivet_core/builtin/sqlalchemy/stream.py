"""Turns rows of a driver into record batches of bounded size, holding few rows as Python objects at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from rivet_core.api import BatchStream, Source, ValueRefused
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import NO_UTF8, Reader, refusal_hint
from rivet_core.builtin.sqlalchemy.text import Refused
from rivet_core.contract.types import type_name

Row = Sequence[Any]
#: The values of one column in a batch.
Column = list[Any]
#: Says where a row is: its number, counted from 1 in reading order, and its values.
Locate = Callable[[int, Row], str]

#: ``Source.read_overhead`` of a native decoder: the batch, buffers that grow beside it and what comes out of them.
NATIVE_OVERHEAD: Final = 5
_FIRST_ROWS: Final = 64
_MAX_ROWS: Final = 8192
# Rows are transposed while the processor's cache still has them.
_SLAB_ROWS: Final = 64
_GROWTH: Final = 4
_MAX_UTF8: Final = 4
_SIZED: Final[frozenset[type]] = frozenset({str, bytes, bytearray, memoryview})
_CONVERSION_ERRORS: Final = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError)


@dataclass(frozen=True)
class Limits:
    """Bounds in bytes: of one batch in Arrow, and of one value."""

    batch_bytes: int
    max_value_bytes: int

    def of_objects(self) -> Limits:
        """Return the bounds for what a source of ``NATIVE_OVERHEAD`` has to read as Python objects all the same."""
        return replace(self, batch_bytes=max(1, self.batch_bytes * NATIVE_OVERHEAD // Source.read_overhead))


class ArrowBatches(BatchStream):
    """The rows of one query as record batches."""

    def __init__(
        self,
        readers: Sequence[Reader],
        rows: Iterator[Row],
        limits: Limits,
        failures: Callable[[], AbstractContextManager[None]],
        locate: Locate,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.schema = pa.schema(
            [pa.field(reader.column.name, reader.column.type, reader.column.nullable) for reader in readers]
        )
        self._readers = readers
        self._rows = rows
        self._clock = clock
        self._limits = limits
        self._failures = failures
        self._locate = locate
        self._wide = [index for index, reader in enumerate(readers) if reader.wide]
        self._suspicious = limits.max_value_bytes // _MAX_UTF8  # characters
        self._read = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        count = _FIRST_ROWS
        while columns := self._timed(count):
            batch = self._convert(columns)
            self._read += batch.num_rows
            bytes_per_row = max(1, batch.nbytes // batch.num_rows)
            count = max(1, min(self._limits.batch_bytes // bytes_per_row, count * _GROWTH, _MAX_ROWS))
            del columns
            yield from self._bounded(batch)

    def _bounded(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yield the batch in pieces that respect the bound."""
        if batch.num_rows <= 1 or batch.nbytes <= self._limits.batch_bytes:
            yield batch
            return
        half = batch.num_rows // 2
        yield from self._bounded(batch.slice(0, half))
        yield from self._bounded(batch.slice(half))

    def _timed(self, count: int) -> list[Column]:
        try:
            return self._take(count)
        finally:
            if self._clock is not None:
                self.longest_statement_seconds = self._clock.longest_seconds

    def _take(self, count: int) -> list[Column]:
        """Return the columns of the next rows: at most ``count``, and fewer when their values are large."""
        columns: list[Column] = [[] for _ in self._readers]
        taken = 0
        room = self._limits.batch_bytes
        with self._failures():
            while room > 0 and taken < count:
                slab, size = self._slab(min(_SLAB_ROWS, count - taken), room, self._read + taken)
                if not slab:
                    break
                for column, values in zip(columns, zip(*slab, strict=True), strict=True):
                    column.extend(values)
                taken += len(slab)
                room -= size
        return columns if taken else []

    def _slab(self, count: int, room: int, read: int) -> tuple[list[Row], int]:
        """Return the next rows and the size of their wide values: at most ``count``, the last of them fills the room.

        Args:
            read: rows before these.
        """
        if not self._wide:
            return list(islice(self._rows, count)), 0
        # One pass for every row: the loop is the hottest of the source. A value that may be too large rings the alarm.
        wide, alarm = self._wide, min(room, self._suspicious)
        slab: list[Row] = []
        size = 0
        for row in islice(self._rows, count):
            slab.append(row)
            for index in wide:
                value = row[index]
                if type(value) in _SIZED:
                    size += len(value)
            if size >= alarm:
                self._check_sizes(row, read + len(slab))
                if size >= room:
                    break
                alarm = min(room, size + self._suspicious)
        return slab, size

    def _check_sizes(self, row: Row, number: int) -> None:
        for index in self._wide:
            value = row[index]
            if type(value) in _SIZED and len(value) > self._suspicious:
                self._check_size(index, row, number)

    def _check_size(self, index: int, row: Row, number: int) -> None:
        value = row[index]
        size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else len(value)
        if size > self._limits.max_value_bytes:
            raise ValueRefused(
                f"column {self._readers[index].column.name!r}, {self._locate(number, row)}: the value has "
                f"{size} bytes, more than max_value_bytes ({self._limits.max_value_bytes})",
                hint="raise max_value_bytes and memory_budget together, or leave the column out",
            )

    def _convert(self, columns: Sequence[Column]) -> pa.RecordBatch:
        arrays = []
        for reader, values in zip(self._readers, columns, strict=True):
            try:
                array = reader.decode(values)
            except _CONVERSION_ERRORS:
                raise self._refusal(reader, values, _rows(columns)) from None
            if array.null_count and not reader.column.nullable:
                raise self._refusal(reader, values, _rows(columns))
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _refusal(self, reader: Reader, values: Sequence[Any], rows: Sequence[Row]) -> ValueRefused:
        """Find the first value that cannot be kept and say where it is, not what it is."""
        column = reader.column
        low, high = 0, len(values)
        while high - low > 1:  # the first ``low`` values can be kept, the first ``high`` cannot
            middle = (low + high) // 2
            if _reason(reader, values[:middle]):
                high = middle
            else:
                low = middle
        reason = _reason(reader, values[:high])
        return ValueRefused(
            f"column {column.name!r} ({column.source_type}), {self._locate(self._read + high, rows[low])}: "
            f"the value {reason}",
            hint=refusal_hint(column.name, reason),
        )


def _rows(columns: Sequence[Column]) -> list[Row]:
    return list(zip(*columns, strict=True))


def _reason(reader: Reader, values: Sequence[Any]) -> str:
    """Return why the values, of which the last is the suspect, are refused; empty if they are not."""
    column = reader.column
    try:
        array = reader.decode(values)
    except Refused as refused:
        return f"{refused} and does not fit {type_name(column.type)}"
    except UnicodeError:
        return NO_UTF8
    except _CONVERSION_ERRORS:
        return f"does not fit {type_name(column.type)}"
    return "is NULL, but the column is declared NOT NULL" if array.null_count and not column.nullable else ""
