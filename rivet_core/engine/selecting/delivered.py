"""Knows the rows that earlier runs have delivered, by key and cursor, to drop them when they are read again.

A row counts as delivered if a part has its key together with its cursor; both are compared exactly, so a new version of
a row, and a row of another key, never do. The rows are kept in a private database of SQLite, which goes to disk beyond
a few megabytes: their number is bounded by what was delivered within the lag, and for cursors that only the database
can compare (text, UUIDs, bytes) by the rows of the parts whose range reaches into it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import types as at

from rivet_core.api.compute import compute as pc
from rivet_core.api.errors import QueryError, SafetyError
from rivet_core.contract.types import type_name
from rivet_core.engine.plain import plain, plain_type

if TYPE_CHECKING:
    from rivet_core.contract.key_text import KeyValue

_CACHE_KIB: Final = 16 * 1024
_INT64: Final = range(-(2**63), 2**63)
#: Holds signed and unsigned ones.
_ANY_INTEGER: Final = pa.decimal128(20)
_Value = int | str | bytes


class Delivered:
    """The rows that were delivered.

    Args:
        schema: the columns of the rows that are read now.
        key: names of the columns that are unique together; none is a float.
        cursor: the cursor column, and the one that stands in for it.
    """

    def __init__(self, schema: pa.Schema, key: Sequence[str], cursor: Sequence[str]) -> None:
        self._schema = schema
        self._key = tuple(key)
        self._cursor = tuple(cursor)
        self._rows = 0
        self._least: Any = None
        self._most: Any = None
        self._lock = threading.Lock()
        # An empty name is a database of this connection alone, in memory first and then in a file without a name.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        names = [f"k{number}" for number in range(len(key) + 1)]
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            f"CREATE TABLE delivered ({', '.join(names)}, PRIMARY KEY ({', '.join(names)})) WITHOUT ROWID"
        )
        self._insert = f"INSERT OR IGNORE INTO delivered VALUES ({', '.join('?' * len(names))})"
        self._find = f"SELECT 1 FROM delivered WHERE {' AND '.join(f'{name} = ?' for name in names)}"

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def add(self, batch: pa.RecordBatch, low: KeyValue | None = None) -> None:
        """Remember rows of an earlier part.

        Args:
            low: rows below this cursor are left out, where Arrow compares such values as every database does.

        Raises:
            SafetyError: the part has not the columns or types that tell its rows apart now.
        """
        cursor = self._cursors(batch)
        if low is not None and (kept := _from(cursor, low)) is not None:
            kept = pc.fill_null(kept, fill_value=True)
            batch, cursor = batch.filter(kept), cursor.filter(kept)
        if batch.num_rows == 0:
            return
        self._widen(cursor)
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany(self._insert, self._identities(batch, cursor))
            self._database.execute("COMMIT")
            self._rows += batch.num_rows

    def admit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a batch that were not delivered.

        Raises:
            QueryError: a row has no key, or is read again and has no cursor.
        """
        for name in self._key:
            if batch.column(name).null_count:
                raise QueryError(
                    f"a row has NULL in {name}, by which rows are told apart", hint="name columns without NULL in key"
                )
        if self._rows == 0 or batch.num_rows == 0:
            return batch
        cursor = self._cursors(batch)
        if cursor.null_count:  # the database has one: what it compares as a date and is none is exported as NULL
            raise QueryError(
                f"a row within the run's window has a {self._cursor[0]} that is exported as NULL, so nothing tells "
                "whether it was delivered",
                hint="correct it, or leave such rows out in a query",
            )
        near = self._near(cursor)
        rows: Any = pc.indices_nonzero(near)
        candidates = self._identities(batch.take(rows), cursor.take(rows))
        with self._lock:
            known = [self._database.execute(self._find, row).fetchone() is not None for row in candidates]
        if not any(known):
            return batch
        new = [True] * batch.num_rows
        for row, is_known in zip(rows.to_pylist(), known, strict=True):
            new[row] = not is_known
        return batch.filter(pa.array(new, pa.bool_()))

    def _cursors(self, batch: pa.RecordBatch) -> pa.Array[Any]:
        columns = [plain(self._column(batch, name)) for name in self._cursor]
        if len(columns) == 1:
            return columns[0]
        if columns[0].type != columns[1].type and all(at.is_integer(column.type) for column in columns):
            columns = [column.cast(_ANY_INTEGER) for column in columns]
        either: pa.Array[Any] = pc.coalesce(columns[0], columns[1].cast(columns[0].type))
        return either

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array[Any]:
        index = batch.schema.get_field_index(name)
        if index < 0:
            raise _changed(f"the earlier parts have no column {name}")
        return batch.column(index)

    def _identities(self, batch: pa.RecordBatch, cursor: pa.Array[Any]) -> list[tuple[_Value, ...]]:
        columns = [_comparable(self._column(batch, name), self._type_of(name), name) for name in self._key]
        columns.append(_comparable(cursor, self._cursor_type(), self._cursor[0]))
        return list(zip(*columns, strict=True))

    def _type_of(self, name: str) -> pa.DataType:
        return plain_type(self._schema.field(name).type)

    def _cursor_type(self) -> pa.DataType:
        types = {self._type_of(name) for name in self._cursor}
        mixed = len(types) > 1 and all(map(at.is_integer, types))
        return _ANY_INTEGER if mixed else self._type_of(self._cursor[0])

    def _widen(self, cursor: pa.Array[Any]) -> None:
        """Keep the smallest and the largest cursor in the order of Arrow, whatever the database's is."""
        cursor = _cast(cursor, self._cursor_type(), self._cursor[0])
        bounds = pc.min_max(cursor)
        least, most = bounds["min"], bounds["max"]
        if not least.is_valid:
            return
        self._least = least if self._least is None or pc.less(least, self._least).as_py() else self._least
        self._most = most if self._most is None or pc.greater(most, self._most).as_py() else self._most

    def _near(self, cursor: pa.Array[Any]) -> pa.Array[Any]:
        """Tell which rows can be equal to a delivered one by their cursor: those between the outermost ones."""
        if self._least is None:
            return pa.repeat(pa.scalar(False), len(cursor))
        near: pa.Array[Any] = pc.and_(pc.greater_equal(cursor, self._least), pc.less_equal(cursor, self._most))
        return near


def _changed(what: str) -> SafetyError:
    return SafetyError(
        f"{what}, so the rows that were delivered cannot be told from new ones",
        hint="choose the key and the cursor that the dataset began with, or start a new dataset at another prefix",
    )


def _from(cursor: pa.Array[Any], low: KeyValue) -> pa.Array[Any] | None:
    """Return which cursors are ``low`` or above; ``None`` where that is for the database to say."""
    type_ = cursor.type
    certain = at.is_integer(type_) or at.is_decimal(type_) or at.is_date(type_) or at.is_timestamp(type_)
    if not certain or isinstance(low, str | bytes):
        return None
    try:
        above: pa.Array[Any] = pc.greater_equal(cursor, pa.scalar(low, type_))
    except (pa.ArrowException, OverflowError, TypeError, ValueError):  # the type has no such value
        return None
    return above


def _cast(array: pa.Array[Any], type_: pa.DataType, name: str) -> pa.Array[Any]:
    """Return values of an earlier part as the type that the column has now.

    Raises:
        SafetyError: it was another kind of type.
    """
    array = plain(array)
    if array.type == type_:
        return array
    if is_same_kind(array.type, type_):
        try:
            return array.cast(type_)
        except pa.ArrowException:
            pass
    raise _changed(f"the earlier parts have {name} as {type_name(array.type)}, now it is {type_name(type_)}")


def is_same_kind(before: pa.DataType, now: pa.DataType) -> bool:
    """Whether values of two types, without what is around them, are equal and in order as they were."""
    numbers = all(at.is_integer(type_) or at.is_decimal(type_) for type_ in (before, now))
    moments = at.is_timestamp(before) and at.is_timestamp(now) and before.tz == now.tz
    return before == now or numbers or moments or (_is_binary(before) and _is_binary(now))


def _is_binary(type_: pa.DataType) -> bool:
    return bool(at.is_binary(type_) or at.is_large_binary(type_) or at.is_fixed_size_binary(type_))


def _comparable(array: pa.Array[Any], type_: pa.DataType, name: str) -> list[Any]:
    """Return values in the form in which they are compared, one for each value of the type."""
    array = _cast(array, type_, name)
    form = next((form for matches, form in _FORMS if matches(type_)), type_)  # numbers, text and bytes as they are
    formed: Any = array.cast(form)
    values: list[Any] = formed.to_pylist()
    if at.is_uint64(type_):
        return [value if value in _INT64 else str(value) for value in values]
    return list(map(_digits, values)) if at.is_decimal(type_) else values


def _digits(value: Decimal) -> str:
    return format(value, "f")


_FORMS: Final[tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...]] = (
    (at.is_boolean, pa.int8()),
    (at.is_date32, pa.int32()),
    (at.is_time32, pa.int32()),
    (at.is_date, pa.int64()),
    (at.is_timestamp, pa.int64()),
    (at.is_time, pa.int64()),
    (at.is_duration, pa.int64()),
)
