"""Which rows count as delivered: exactly those whose key and cursor are, whatever their types and their order."""

from __future__ import annotations

import resource
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivet_core.api import QueryError, SafetyError
from rivet_core.engine.selecting.delivered import Delivered

#: A type, and few values of it that are close to each other or at the ends.
TYPES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int64(), [-(2**63), -1, 0, 1, 2**63 - 1]),
    (pa.uint64(), [0, 1, 2**63 - 1, 2**63, 2**64 - 1]),
    (pa.int8(), [-128, 0, 127]),
    (pa.decimal128(20, 2), [Decimal("-0.01"), Decimal("0.00"), Decimal("1.50"), Decimal("15.00")]),
    (pa.decimal256(50, 5), [Decimal("1e40"), Decimal("1.00001")]),
    (pa.string(), ["", "a", "A", "a ", "ä", "a\u0308", "1", "\0", "\U0010ffff"]),
    (pa.binary(), [b"", b"\0", b"a", b"\xff"]),
    (pa.date32(), [date(1, 1, 1), date(1969, 12, 31), date(9999, 12, 31)]),
    (pa.timestamp("us"), [datetime(1, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 1)]),
    (pa.uuid(), [UUID(int=0), UUID(int=1), UUID(int=2**128 - 1)]),
]
columns = st.sampled_from(TYPES)


def batch(types: list[pa.DataType], rows: list[tuple[Any, ...]], names: str = "abc") -> pa.RecordBatch:
    arrays = []
    for index, type_ in enumerate(types):
        values = [row[index] for row in rows]
        if isinstance(type_, pa.UuidType):
            raw = pa.array([None if value is None else value.bytes for value in values], pa.binary(16))
            arrays.append(pa.ExtensionArray.from_storage(type_, raw))
        else:
            arrays.append(pa.array(values, type_))
    return pa.RecordBatch.from_arrays(arrays, names=list(names[: len(types)]))


def test_keys_that_come_as_a_dictionary_are_the_values_in_it():
    words = pa.dictionary(pa.int8(), pa.string())
    read = batch([words, words], [("a", "x"), ("b", "x"), ("a", "y")], "kt")
    for earlier in (words, pa.string()):
        with closing(Delivered(read.schema, ["k"], ["t"])) as delivered:
            delivered.add(batch([earlier, earlier], [("b", "x"), ("a", "y")], "kt"))
            assert delivered.admit(read).to_pylist() == [{"k": "a", "t": "x"}]


@given(st.data())
@settings(deadline=None)
def test_a_row_is_dropped_if_its_key_and_cursor_were_delivered_and_only_then(data: st.DataObject):
    chosen = [data.draw(columns) for _ in range(3)]
    types = [type_ for type_, _ in chosen]
    rows = st.lists(st.tuples(*(st.sampled_from(values) for _, values in chosen)), max_size=20)
    before, now = data.draw(rows), data.draw(rows)
    read = batch(types, now)
    with closing(Delivered(read.schema, ["a", "b"], ["c"])) as delivered:
        delivered.add(batch(types, before))
        left = delivered.admit(read)
        assert left.equals(batch(types, [row for row in now if row not in before]))
        assert delivered.admit(read).equals(left)  # a chunk may be read again


def test_a_fallback_is_the_cursor_where_there_is_none():
    types = [pa.int64(), pa.int64(), pa.int64()]
    read = batch(types, [(1, None, 5), (1, 5, None), (1, None, 6), (1, 6, 5)])
    with closing(Delivered(read.schema, ["a"], ["b", "c"])) as delivered:
        delivered.add(batch(types, [(1, None, 5)]))
        assert delivered.admit(read).to_pylist() == [{"a": 1, "b": None, "c": 6}, {"a": 1, "b": 6, "c": 5}]


@pytest.mark.parametrize(
    ("before", "now", "value"),
    [
        (pa.int32(), pa.int64(), 7),
        (pa.int64(), pa.decimal128(25, 2), 7),
        (pa.decimal128(10, 1), pa.decimal128(12, 2), Decimal("7.5")),
        (pa.timestamp("ms"), pa.timestamp("us"), datetime(2026, 1, 1)),
        (pa.binary(16), pa.uuid(), b"x" * 16),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), "a"),
    ],
    ids=str,
)
def test_a_type_that_has_grown_is_compared_all_the_same(before: pa.DataType, now: pa.DataType, value: Any):
    read = batch([now, pa.int64()], [(UUID(bytes=value) if now == pa.uuid() else value, 1)])
    with closing(Delivered(read.schema, ["a"], ["b"])) as delivered:
        delivered.add(batch([before, pa.int64()], [(value, 1)]))
        assert delivered.admit(read).num_rows == 0


@pytest.mark.parametrize("before", [pa.string(), pa.date32(), pa.timestamp("us", "UTC")], ids=str)
def test_a_type_that_is_another_one_is_refused(before: pa.DataType):
    read = batch([pa.int64(), pa.timestamp("us")], [(1, datetime(2026, 1, 1))])
    value: Any = "2026-01-01" if before == pa.string() else datetime(2026, 1, 1)
    with closing(Delivered(read.schema, ["a"], ["b"])) as delivered, pytest.raises(SafetyError, match="earlier parts"):
        delivered.add(batch([pa.int64(), before], [(1, value)]))


def test_a_column_that_was_not_there_is_refused():
    read = batch([pa.int64(), pa.int64()], [(1, 1)])
    with closing(Delivered(read.schema, ["a"], ["b"])) as delivered, pytest.raises(SafetyError, match="no column a"):
        delivered.add(batch([pa.int64(), pa.int64()], [(1, 1)], "xb"))


def test_a_key_must_not_be_null():
    read = batch([pa.int64(), pa.int64()], [(None, 1)])
    with closing(Delivered(read.schema, ["a"], ["b"])) as delivered, pytest.raises(QueryError, match="NULL in a"):
        delivered.admit(read)


def test_rows_below_the_window_are_not_kept():
    read = batch([pa.int64(), pa.int64()], [(1, 1), (2, 2), (3, 3)])
    with closing(Delivered(read.schema, ["a"], ["b"])) as delivered:
        delivered.add(read, low=2)
        assert delivered.admit(read).to_pylist() == [{"a": 1, "b": 1}]


def test_memory_does_not_grow_with_the_rows():
    rows, steps = 50_000, 20
    types = [pa.binary(), pa.int64()]
    read = batch(types, [(number.to_bytes(200, "big"), number) for number in range(rows)])
    with closing(Delivered(read.schema, ["a"], ["b"])) as delivered:
        delivered.add(read)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for step in range(1, steps):
            more = batch(
                types, [(number.to_bytes(200, "big"), number) for number in range(step * rows, (step + 1) * rows)]
            )
            delivered.add(more)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < rows * steps * 200 / 2
        assert delivered.admit(read).num_rows == 0


def test_cursors_that_are_null_at_first_hide_no_others():
    read = batch([pa.int64(), pa.string()], [(2, "b"), (3, "c")])
    with closing(Delivered(read.schema, ["a"], ["b"])) as delivered:
        delivered.add(batch([pa.int64(), pa.string()], [(1, None)]))
        assert delivered.admit(read).num_rows == 2
        delivered.add(batch([pa.int64(), pa.string()], [(2, "b")]))
        assert delivered.admit(read).to_pylist() == [{"a": 3, "b": "c"}]


def test_a_row_that_is_read_again_without_a_cursor_is_refused():
    read = batch([pa.int64(), pa.date32()], [(1, None)])
    with closing(Delivered(read.schema, ["a"], ["b"])) as delivered:
        assert delivered.admit(read).num_rows == 1
        delivered.add(read, date(2026, 11, 1))
        with pytest.raises(QueryError, match="b that is exported as NULL"):
            delivered.admit(read)


@pytest.mark.parametrize(
    ("cursor", "fallback", "value"),
    [
        (pa.int32(), pa.int64(), 5_000_000_000),
        (pa.uint64(), pa.int64(), -5),
        (pa.int64(), pa.uint64(), 2**64 - 1),
        (pa.int64(), pa.int8(), -1),
    ],
    ids=str,
)
def test_a_fallback_may_be_of_other_whole_numbers(cursor: pa.DataType, fallback: pa.DataType, value: int):
    types = [pa.int64(), cursor, fallback]
    read = batch(types, [(1, None, value), (2, None, value), (3, 5, 1)])
    with closing(Delivered(read.schema, ["a"], ["b", "c"])) as delivered:
        delivered.add(batch(types, [(1, None, value), (3, 5, 2)]), value)
        delivered.add(batch(types, [(3, 5, 2)]), Decimal(-5))
        assert delivered.admit(read).to_pylist() == [{"a": 2, "b": None, "c": value}]
