"""The batches of one read: the decoder's rows as Arrow columns, refused values as the built-in source's errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import types as at

from rivet_core.api import SourceUnavailable, ValueRefused
from rivet_core.builtin.sqlalchemy.columns import NO_UTF8, refusal_hint
from rivet_core.builtin.sqlalchemy.stream import ArrowBatches, Limits, Locate
from rivet_core.contract.types import type_name
from rivet_postgres.fields import MalformedStream, Reason, RefusedField, Rows

if TYPE_CHECKING:
    from rivet_postgres._decoder import Decoder
    from rivet_postgres.columns import CopiedColumn
    from rivet_postgres.copying import Copier

# Decoding text by Python makes an object of each value: few at a time.
_TEXT_ROWS = 8192


class CopyBatches(ArrowBatches):
    """The rows of COPY statements as record batches."""

    def __init__(
        self,
        columns: Sequence[CopiedColumn],
        copier: Copier,
        statements: Iterable[str],
        *,
        limits: Limits,
        failures: Callable[[], AbstractContextManager[None]],
        locate: Locate,
    ) -> None:
        if not all(column.direct for column in columns):
            limits = limits.of_objects()
        super().__init__([column.reader for column in columns], iter(()), limits, failures, locate)
        self._columns = columns
        self._copier = copier
        self._statements = statements

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        from rivet_postgres._decoder import Decoder

        decoder = Decoder([column.field for column in self._columns], self._limits.batch_bytes)
        for rows in self._rows_of(decoder):
            batch = self._batch(rows)
            self._read += rows.count
            # A decoder's batch is bounded; what is made of text may be larger than the text.
            yield from self._bounded(batch)

    def _rows_of(self, decoder: Decoder) -> Iterator[Rows]:
        copied = self._copied(decoder)
        while True:
            try:
                with self._failures():
                    rows = next(copied, None)
            except RefusedField as refused:
                raise self._refused(refused) from None
            except MalformedStream as error:
                raise SourceUnavailable(
                    f"PostgreSQL's stream of rows is damaged: {error}", hint="run the command again"
                ) from None
            if rows is None:
                return
            yield rows

    def _copied(self, decoder: Decoder) -> Iterator[Rows]:
        for statement in self._statements:
            started = time.monotonic()
            yield from self._copier.batches(statement, decoder)
            self.longest_statement_seconds = max(self.longest_statement_seconds or 0.0, time.monotonic() - started)
        rest = decoder.finish()
        if rest is not None:
            yield rest

    def _batch(self, rows: Rows) -> pa.RecordBatch:
        arrived = [column.array(part, rows.count) for column, part in zip(self._columns, rows.columns, strict=True)]
        view = _View(arrived)
        arrays = []
        for column, array, part in zip(self._columns, arrived, rows.columns, strict=True):
            if at.is_string(array.type) and not part.ascii:
                self._check_text(column, array, view)
            arrays.append(column.finished(array) if column.direct else self._decoded(column, array, view))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _decoded(self, column: CopiedColumn, array: Any, view: _View) -> Any:
        """Let the built-in source's decoder read what has arrived."""
        pieces = []
        for start in range(0, len(array), _TEXT_ROWS):
            values = array.slice(start, _TEXT_ROWS).to_pylist()
            try:
                pieces.append(column.reader.decode(values))
            except (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError):
                self._read += start
                raise self._refusal(column.reader, values, view.tail(start)) from None
        return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)

    def _check_text(self, column: CopiedColumn, array: Any, view: _View) -> None:
        """Refuse what is no UTF-8: a database in SQL_ASCII may hold anything."""
        if _is_valid(array):
            return
        low, high = 0, len(array)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _is_valid(array.slice(low, middle - low)) else (low, middle)
        raise self._value_refused(column, self._locate(self._read + high, view[low]), NO_UTF8)

    def _refused(self, refused: RefusedField) -> ValueRefused:
        column = self._columns[refused.column]
        where = f"row {refused.row}"
        if refused.rows is not None:
            arrived = [item.array(part, 1) for item, part in zip(self._columns, refused.rows.columns, strict=True)]
            where = self._locate(refused.row, _View(arrived)[0])
        if refused.reason is Reason.LARGE:
            return ValueRefused(
                f"column {column.reader.column.name!r}, {where}: the value has {refused.size} bytes, "
                f"more than max_value_bytes ({self._limits.max_value_bytes})",
                hint="raise max_value_bytes and memory_budget together, or leave the column out",
            )
        if refused.reason is Reason.NULL:
            return self._value_refused(column, where, "is NULL, but the column is declared NOT NULL")
        return self._value_refused(column, where, f"does not fit {type_name(column.reader.column.type)}")

    @staticmethod
    def _value_refused(column: CopiedColumn, where: str, why: str) -> ValueRefused:
        exported = column.reader.column
        return ValueRefused(
            f"column {exported.name!r} ({exported.source_type}), {where}: the value {why}",
            hint=refusal_hint(exported.name, why),
        )


class _View(Sequence[Sequence[Any]]):
    """The rows of columns, made when one is asked for: to name the row of a refused value."""

    def __init__(self, arrays: Sequence[Any], start: int = 0) -> None:
        self._arrays = arrays
        self._start = start

    def __len__(self) -> int:
        return len(self._arrays[0]) - self._start

    def __getitem__(self, index: Any) -> Any:
        return [_plain(array, self._start + index) for array in self._arrays]

    def tail(self, start: int) -> _View:
        return _View(self._arrays, self._start + start)


def _plain(array: Any, index: int) -> object:
    try:
        return array[index].as_py()
    except (ValueError, OverflowError):
        return "?"


def _is_valid(array: Any) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
