"""The server's text becomes exactly the value that it stands for, or is refused."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_core.builtin.sqlalchemy import text
from rivet_core.builtin.sqlalchemy.postgres import decimal_type

REFUSALS = (ValueError, pa.ArrowException)


def postgres_array(items):
    """Quote every item, as PostgreSQL may."""
    escaped = [
        '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' if item is not None else "NULL" for item in items
    ]
    return "{" + ",".join(escaped) + "}"


@given(st.lists(st.none() | st.lists(st.none() | st.text(st.characters(exclude_categories=("Cs",))))))
def test_arrays_of_any_text_come_back(rows):
    column = [None if row is None else postgres_array(row) for row in rows]
    assert text.parse(column, pa.list_(pa.string())).to_pylist() == rows


@given(
    st.integers(1, 3).flatmap(
        lambda width: st.lists(
            st.none() | st.lists(st.lists(st.none() | st.text('a"\\{}, '), min_size=width, max_size=width))
        )
    )
)
def test_arrays_of_two_dimensions_come_back(rows):
    column = [None if row is None else "{" + ",".join(map(postgres_array, row)) + "}" for row in rows]
    assert text.parse(column, pa.list_(pa.list_(pa.string()))).to_pylist() == rows


@pytest.mark.parametrize("value", ["{1}", "{{{1}}}", "[0:0][1:1]={{1}}", '{"{1}"}'])
def test_arrays_of_other_dimensions_are_refused(value):
    with pytest.raises(text.Refused, match="other dimensions"):
        text.parse(["{{1}}", value], pa.list_(pa.list_(pa.int32())))


@pytest.mark.parametrize(
    "target",
    [pa.decimal128(38, 0), pa.decimal128(38, 9), pa.decimal128(38, 38), pa.decimal128(5, 2), pa.decimal256(76, 38)],
    ids=str,
)
@given(
    number=st.integers(-(10**4), 10**4) | st.integers(-(10**80), 10**80) | st.integers(-(10**200), 10**200),
    places=st.integers(0, 120),
    zeros=st.integers(0, 90),
)
def test_a_decimal_of_any_length_comes_back_or_is_refused(target, number, places, zeros):
    digits = f"{abs(number):0{places + 1}d}"
    sign = "-" if number < 0 else ""
    plain = sign + digits[: len(digits) - places] + (f".{digits[len(digits) - places :]}" if places else "")
    value = plain + ("0" * zeros if places else "")
    units = Fraction(value) * 10**target.scale
    if units.denominator == 1 and abs(units) < 10**target.precision:
        assert Fraction(text.parse([value], target)[0].as_py()) == Fraction(value)
    else:
        with pytest.raises(pa.ArrowException):
            text.parse([value], target)


@pytest.mark.parametrize("wrong", ["", "-", ".", "NaN", "1e", "0x1"])
def test_what_is_no_number_is_refused_beside_long_numbers_too(wrong):
    for beside in ([], ["0" * 60]):
        with pytest.raises(pa.ArrowException):
            text.parse([*beside, wrong], pa.decimal128(38, 9))


@given(st.lists(st.none() | st.decimals(-(10**35), 10**35, places=2)))
def test_decimals_come_back(values):
    column = [None if value is None else str(value) for value in values]
    assert text.parse(column, pa.decimal128(38, 2)).to_pylist() == values


@given(st.lists(st.none() | st.floats(allow_nan=False)))
def test_floats_come_back(values):
    assert text.parse([None if v is None else repr(v) for v in values], pa.float64()).to_pylist() == values


@given(st.lists(st.none() | st.datetimes()))
def test_timestamps_come_back(values):
    column = [None if v is None else v.isoformat(sep=" ") for v in values]
    assert text.parse(column, pa.timestamp("us")).to_pylist() == values
    instants = text.parse([None if v is None else v + "+00" for v in column], pa.timestamp("us", "UTC"))
    assert instants.cast(pa.timestamp("us")).to_pylist() == values


@given(st.lists(st.none() | st.uuids()))
def test_uuids_come_back(values):
    assert text.parse([None if v is None else str(v) for v in values], pa.uuid()).to_pylist() == values


@given(st.lists(st.none() | st.timedeltas(timedelta(hours=-838), timedelta(hours=838))))
def test_spans_come_back(values):
    def clock(value):
        micros = abs(value) // timedelta(microseconds=1)
        seconds, fraction = divmod(micros, 1_000_000)
        sign = "-" if value < timedelta() else ""
        return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"

    column = [None if v is None else clock(v) for v in values]
    assert text.parse(column, pa.duration("us")).to_pylist() == values


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("infinity", pa.timestamp("us")),
        ("2026-02-30", pa.date32()),
        ("0044-03-15 BC", pa.date32()),
        ("24:00:00", pa.time64("us")),
        ("NaN", pa.decimal128(10, 2)),
        ("1.005", pa.decimal128(10, 2)),
        ("123456789.00", pa.decimal128(10, 2)),
        ("128", pa.int8()),
        ("-1", pa.uint64()),
        ("maybe", pa.bool_()),
        ("2026-01-01 00:00:00+00", pa.timestamp("us")),
        ("2026-01-01 00:00:00", pa.timestamp("us", "UTC")),
        ("{{1,2},{3,4}}", pa.list_(pa.int32())),
        ("[0:1]={1,2}", pa.list_(pa.int32())),
        ("550e8400e29b41d4a716446655440000", pa.uuid()),
    ],
)
def test_what_does_not_fit_is_refused(value, target):
    with pytest.raises(REFUSALS):
        text.parse([value], target)


@pytest.mark.parametrize(
    ("natural", "target", "value", "expected"),
    [
        (pa.int64(), pa.int8(), "127", 127),
        (pa.int64(), pa.decimal128(5, 2), "127", Decimal("127.00")),
        (pa.int64(), pa.float64(), str(2**53), 2.0**53),
        (pa.int8(), pa.bool_(), "1", True),
        (pa.bool_(), pa.int8(), "t", 1),
        (pa.float32(), pa.float64(), "0.5", 0.5),
        (pa.float64(), pa.float32(), "0.5", 0.5),
        (pa.decimal128(10, 2), pa.decimal128(12, 4), "1.50", Decimal("1.5000")),
        (pa.decimal128(10, 2), pa.int32(), "7.00", 7),
        (None, pa.decimal128(38, 9), "0.000000001", Decimal("1e-9")),
        (None, pa.int64(), "5.0", 5),
        (pa.date32(), pa.timestamp("us"), "2026-01-02", datetime(2026, 1, 2)),
        (pa.timestamp("us"), pa.date32(), "2026-01-02 00:00:00", date(2026, 1, 2)),
        (pa.timestamp("us"), pa.timestamp("ms"), "2026-01-02 00:00:00.001", datetime(2026, 1, 2, 0, 0, 0, 1000)),
        (pa.string(), pa.int32(), "42", 42),
        (pa.string(), pa.json_(pa.string()), "[1]", "[1]"),
        (pa.binary(), pa.string(), "é".encode(), "é"),
        (pa.binary(), pa.binary(2), b"ab", b"ab"),
        (pa.timestamp("us"), pa.string(), "infinity", "infinity"),
    ],
)
def test_overrides_keep_the_value(natural, target, value, expected):
    assert text.convertible(natural, target)
    assert text.decoder(natural, target)([value, None]).to_pylist() == [expected, None]


@pytest.mark.parametrize(
    ("natural", "target", "value"),
    [
        (pa.int64(), pa.int8(), "128"),
        (pa.int64(), pa.float64(), str(2**53 + 1)),
        (pa.int8(), pa.bool_(), "2"),
        (pa.float64(), pa.float32(), "0.1"),
        (pa.decimal128(10, 2), pa.decimal128(12, 1), "1.55"),
        (pa.decimal128(10, 2), pa.int32(), "7.50"),
        (pa.timestamp("us"), pa.date32(), "2026-01-02 00:00:01"),
        (pa.timestamp("us"), pa.timestamp("ms"), "2026-01-02 00:00:00.000001"),
        (pa.string(), pa.int32(), "042"),
        (pa.string(), pa.json_(pa.string()), "{"),
        (pa.string(), pa.json_(pa.string()), "NaN"),
        (pa.binary(), pa.string(), b"\xff"),
        (pa.binary(), pa.uuid(), b"short"),
    ],
)
def test_overrides_refuse_a_value_that_would_change(natural, target, value):
    assert text.convertible(natural, target)
    with pytest.raises(REFUSALS):
        text.decoder(natural, target)([value])


@pytest.mark.parametrize(
    ("natural", "target"),
    [
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us")),
        (pa.decimal128(10, 2), pa.float64()),
        (None, pa.float64()),
        (pa.string(), pa.float64()),
        (pa.date32(), pa.int32()),
        (pa.json_(pa.string()), pa.list_(pa.string())),
    ],
)
def test_overrides_that_change_the_meaning_are_no_choice(natural, target):
    assert not text.convertible(natural, target)


def test_nan_is_itself_after_a_cast():
    cast = text.decoder(pa.float32(), pa.float64())(["NaN", "-Infinity"]).to_pylist()
    assert str(cast) == "[nan, -inf]"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_every_json_text_is_accepted(value):
    text.check_json([json.dumps(value), None])


@pytest.mark.parametrize(
    ("precision", "scale", "expected"),
    [
        (10, 2, pa.decimal128(10, 2)),
        (38, 38, pa.decimal128(38, 38)),
        (39, 0, pa.decimal256(39, 0)),
        (3, 5, pa.decimal128(5, 5)),
        (5, -2, pa.decimal128(7, 0)),
        (77, 0, None),
    ],
)
def test_the_type_modifier_of_numeric(precision, scale, expected):
    assert decimal_type(((precision << 16) | (scale & 0x7FF)) + 4) == expected
    assert decimal_type(-1) is None
