"""Turns rows of a driver into record batches of bounded size, holding few rows as Python objects at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from rivet_core.api import BatchStream, ValueRefused
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import Reader, override_hint
from rivet_core.builtin.sqlalchemy.text import Refused
from rivet_core.contract.types import type_name

Row = Sequence[Any]
#: Says where a row is: its number, counted from 1 in reading order, and its values.
Locate = Callable[[int, Row], str]

# A row as Python objects takes about ten times its Arrow size.
_FIRST_ROWS: Final = 64
_MAX_ROWS: Final = 8192
_GROWTH: Final = 4
_MAX_UTF8: Final = 4
_SIZED: Final[frozenset[type]] = frozenset({str, bytes, bytearray, memoryview})
_CONVERSION_ERRORS: Final = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError)


@dataclass(frozen=True)
class Limits:
    """Bounds in bytes: of one batch in Arrow, and of one value."""

    batch_bytes: int
    max_value_bytes: int


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
        self._read = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        count = _FIRST_ROWS
        while rows := self._timed(count):
            batch = self._convert(rows)
            self._read += len(rows)
            bytes_per_row = max(1, batch.nbytes // len(rows))
            count = max(1, min(self._limits.batch_bytes // bytes_per_row, count * _GROWTH, _MAX_ROWS))
            del rows
            yield from self._bounded(batch)

    def _bounded(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yield the batch in pieces that respect the bound."""
        if batch.num_rows <= 1 or batch.nbytes <= self._limits.batch_bytes:
            yield batch
            return
        half = batch.num_rows // 2
        yield from self._bounded(batch.slice(0, half))
        yield from self._bounded(batch.slice(half))

    def _timed(self, count: int) -> list[Row]:
        try:
            return self._take(count)
        finally:
            if self._clock is not None:
                self.longest_statement_seconds = self._clock.longest_seconds

    def _take(self, count: int) -> list[Row]:
        """Return the next rows: at most ``count``, and fewer when their values are large."""
        if not self._wide:
            with self._failures():
                return list(islice(self._rows, count))
        # One pass for every row: the loop is the hottest of the source.
        wide, enough = self._wide, self._limits.batch_bytes
        suspicious = self._limits.max_value_bytes // _MAX_UTF8
        taken: list[Row] = []
        size = 0
        with self._failures():
            for row in self._rows:
                taken.append(row)
                for index in wide:
                    value = row[index]
                    if type(value) in _SIZED:
                        length = len(value)
                        size += length
                        if length > suspicious:
                            self._check_size(index, row, self._read + len(taken))
                if size >= enough or len(taken) >= count:
                    return taken
        return taken

    def _check_size(self, index: int, row: Row, number: int) -> None:
        value = row[index]
        size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else len(value)
        if size > self._limits.max_value_bytes:
            raise ValueRefused(
                f"column {self._readers[index].column.name!r}, {self._locate(number, row)}: the value has "
                f"{size} bytes, more than max_value_bytes ({self._limits.max_value_bytes})",
                hint="raise max_value_bytes and memory_budget together, or leave the column out",
            )

    def _convert(self, rows: Sequence[Row]) -> pa.RecordBatch:
        arrays = []
        for reader, values in zip(self._readers, zip(*rows, strict=True), strict=True):
            try:
                array = reader.decode(values)
            except _CONVERSION_ERRORS:
                raise self._refusal(reader, values, rows) from None
            if array.null_count and not reader.column.nullable:
                raise self._refusal(reader, values, rows)
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
        return ValueRefused(
            f"column {column.name!r} ({column.source_type}), {self._locate(self._read + high, rows[low])}: "
            f"the value {_reason(reader, values[:high])}",
            hint=override_hint(column.name),
        )


def _reason(reader: Reader, values: Sequence[Any]) -> str:
    """Return why the values, of which the last is the suspect, are refused; empty if they are not."""
    column = reader.column
    try:
        array = reader.decode(values)
    except Refused as refused:
        return f"{refused} and does not fit {type_name(column.type)}"
    except UnicodeError:
        return "is no valid UTF-8 text"
    except _CONVERSION_ERRORS:
        return f"does not fit {type_name(column.type)}"
    return "is NULL, but the column is declared NOT NULL" if array.null_count and not column.nullable else ""
