"""Digests of rows: equal exactly where the rows are."""

from __future__ import annotations

import math
from decimal import Decimal

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rivet_core.engine.comparing.row_digests import key_digests, row_digests

TEXTS = st.none() | st.text("0:-1a", max_size=4)
ROWS = st.lists(st.tuples(TEXTS, TEXTS, st.none() | st.integers(-2, 2)), min_size=1, max_size=30)
NAMES = ["a", "b", "n"]


def batch(rows: list[tuple[str | None, str | None, int | None]]) -> pa.RecordBatch:
    texts, others, numbers = zip(*rows, strict=True)
    return pa.record_batch([pa.array(texts, pa.string()), pa.array(others, pa.string()), pa.array(numbers)], NAMES)


@settings(deadline=None)
@given(rows=ROWS, offset=st.integers(0, 5))
def test_rows_are_equal_exactly_where_their_digests_are(
    rows: list[tuple[str | None, str | None, int | None]], offset: int
):
    whole = batch(rows)
    digests = list(row_digests(whole, NAMES, ["a"]))
    for one, row in zip(digests, rows, strict=True):
        for other, another in zip(digests, rows, strict=True):
            assert (one == other) == (row == another)
            assert (one[:16] == other[:16]) == (row[0] == another[0])
    assert [digest[:16] for digest in digests] == key_digests(whole, ["a"])
    assert list(row_digests(whole.slice(offset), NAMES, ["a"])) == digests[offset:]


def test_the_type_that_holds_a_value_makes_no_difference():
    values = ["a", None, "a"]
    plain = pa.record_batch([pa.array(values)], ["a"])
    for dtype in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        other = pa.record_batch([pa.array(values).cast(dtype)], ["a"])
        assert list(row_digests(other, ["a"], [])) == list(row_digests(plain, ["a"], []))
    seconds = pa.record_batch([pa.array([1, None], pa.timestamp("s"))], ["a"])
    millis = pa.record_batch([pa.array([1000, None], pa.timestamp("ms"))], ["a"])
    assert list(row_digests(seconds, ["a"], [])) == list(row_digests(millis, ["a"], []))


def test_zeros_and_nan_are_equal_and_decimals_are_exact():
    floats = pa.record_batch([pa.array([0.0, -0.0, math.nan, -math.nan, 1.0, None])], ["a"])
    zero, other_zero, nan, other_nan, one, null = row_digests(floats, ["a"], [])
    assert zero == other_zero
    assert nan == other_nan
    assert len({zero, nan, one, null}) == 4
    decimals = pa.record_batch([pa.array([Decimal("1.50"), Decimal("1.51"), None], pa.decimal128(38, 2))], ["a"])
    assert len(set(row_digests(decimals, ["a"], []))) == 3


def test_nested_values_are_compared():
    lists = pa.record_batch([pa.array([[1, 2], [1], [], None, [None], [1, 2]])], ["a"])
    digests = list(row_digests(lists, ["a"], []))
    assert digests[0] == digests[-1]
    assert len(set(digests)) == 5
