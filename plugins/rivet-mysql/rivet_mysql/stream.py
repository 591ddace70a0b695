"""Turns the packets of one result into record batches; what is odd about a row is left to the SQLAlchemy source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import pyarrow as pa
from pymysql import err

from rivet_core.api import SourceUnavailable
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.stream import ArrowBatches, Limits, Locate, Row
from rivet_mysql._decoder import Decoder
from rivet_mysql.columns import Buffers, Column, Way
from rivet_mysql.fields import DamagedStream, State
from rivet_mysql.wire import Wire

_MAX_ROWS: Final = 1 << 20
# A row as Python objects takes about ten times its Arrow size.
_MAX_SLOW_ROWS: Final = 8192
_CONVERSION_ERRORS: Final = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError)


class PacketBatches(ArrowBatches):
    """The rows of one query as record batches.

    Args:
        wire: where the packets come from.
        columns: how they are read.
        limits: bounds in bytes.
        failures: maps the driver's errors.
        locate: says where a row is.
        clock: times the statement.
    """

    def __init__(
        self,
        wire: Wire,
        columns: Sequence[Column],
        limits: Limits,
        failures: Callable[[], AbstractContextManager[None]],
        locate: Locate,
        *,
        clock: Clock,
    ) -> None:
        slow = any(column.way is Way.SLOW for column in columns)
        if slow:
            limits = limits.of_objects()
        super().__init__([column.reader for column in columns], iter(()), limits, failures, locate)
        self._max_rows = _MAX_SLOW_ROWS if slow else _MAX_ROWS
        self._statement = clock
        self._wire = wire
        self._columns = columns

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        decoder = Decoder(
            [column.field for column in self._columns],
            batch_bytes=self._limits.batch_bytes,
            max_rows=self._max_rows,
            sequence=self._wire.sequence,
            deprecate_eof=self._wire.deprecate_eof,
            binary=self._wire.is_binary,
        )
        state = State.MORE
        while state not in (State.END, State.FAILED):
            with self._failures():
                state = self._advance(decoder)
            if state in (State.END, State.FAILED):
                self._wire.end()
                self._statement.stop()
                self.longest_statement_seconds = self._statement.longest_seconds
            rows, buffers = decoder.take()
            if rows:
                batch = self._batch(rows, buffers)
                self._read += rows
                yield from self._bounded(batch)
            if state is State.ODD:
                batch = self._odd_row(decoder)
                self._read += 1
                yield batch
        if decoder.error is not None:
            with self._failures():
                err.raise_mysql_exception(decoder.error)

    def _advance(self, decoder: Decoder) -> State:
        """Feed the decoder until it has something to say."""
        wire = self._wire
        while True:
            with self._protocol():
                used = decoder.feed(wire.waiting)
            wire.consume(used, decoder.sequence)
            if decoder.state != State.MORE:
                return State(decoder.state)
            wire.read(decoder.wanted)

    @contextmanager
    def _protocol(self) -> Iterator[None]:
        """Map what breaks the protocol; such a connection is of no further use."""
        try:
            yield
        except DamagedStream as error:
            self._wire.cut()
            raise SourceUnavailable(
                f"what the server sent breaks the MySQL protocol: {error}", hint="run the command again"
            ) from None

    def _batch(self, rows: int, buffers: Sequence[Buffers]) -> pa.RecordBatch:
        raws = [column.raw(rows, parts) for column, parts in zip(self._columns, buffers, strict=True)]
        arrays = [self._array(index, raws) for index in range(len(raws))]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _array(self, index: int, raws: Sequence[Any]) -> Any:
        column = self._columns[index]
        try:
            array = column.array(raws[index])
        except _CONVERSION_ERRORS:
            array = None
        if array is not None and (column.reader.column.nullable or not array.null_count):
            return array
        rows: Any = _Rows(raws)
        raise self._refusal(column.reader, raws[index].to_pylist(), rows)

    def _odd_row(self, decoder: Decoder) -> pa.RecordBatch:
        """Read one row as the SQLAlchemy source does, which accepts or refuses it."""
        with self._protocol():
            values = decoder.odd()
        self._rows = _as_driver(self._columns, values)
        return self._convert(self._take(1))


class _Rows(Sequence[Row]):
    """The rows of some columns, each made when it is asked for."""

    def __init__(self, columns: Sequence[Any]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0])

    def __getitem__(self, index: Any) -> Any:
        return [column[index].as_py() for column in self._columns]


def _as_driver(columns: Sequence[Column], values: Sequence[bytes | None]) -> Iterator[Row]:
    """Yield the row as PyMySQL would: decoded late, so that text that is no UTF-8 fails where its would."""
    yield [column.as_driver(value) for column, value in zip(columns, values, strict=True)]
