"""Values decoded a column at a time are the same as one by one, or are refused."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rivet_core.builtin.sqlalchemy import text, values

REFUSALS = (ValueError, pa.ArrowException)
DECIMALS = [
    pa.decimal128(5, 2),
    pa.decimal128(15, 0),
    pa.decimal128(38, 15),
    pa.decimal256(60, 22),
    pa.decimal256(76, 40),
]
CENTS = st.integers(-(10**17), 10**17).map(lambda cents: cents / 100)
NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-999, 999) | st.floats() | CENTS


def fits(number: Decimal, target: pa.DataType) -> bool:
    """Whether the decimal has the number exactly."""
    if not number.is_finite():
        return False
    scaled = number.scaleb(target.scale)
    return scaled == int(scaled) and abs(scaled) < 10**target.precision


@pytest.mark.parametrize("target", DECIMALS, ids=str)
@given(column=st.lists(NUMBERS, max_size=4))
@example(column=[0.1 + 0.2])
@example(column=[0.07, 4.35, -0.0, None, 1e15, 999999999999999.9])
@example(column=[2**53 + 1])
def test_a_number_becomes_the_decimal_of_its_shortest_digits_or_is_refused(target, column):
    wanted = [None if number is None else Decimal(str(number)) for number in column]
    if all(number is None or fits(number, target) for number in wanted):
        array = values.decode(column, target)
        array.validate(full=True)
        assert array.to_pylist() == wanted
    else:
        with pytest.raises(REFUSALS):
            values.decode(column, target)


@pytest.mark.parametrize("digits", range(1, 16))
@pytest.mark.parametrize("target", [pa.decimal128(38, 2), pa.decimal128(38, 9), pa.decimal256(50, 22)], ids=str)
def test_decimals_of_every_length_come_back_from_floats(target, digits):
    units = [10**digits - 1, 10 ** (digits - 1), 123456789012345 // 10 ** (15 - digits)]
    exact = [Decimal(unit).scaleb(-target.scale) for unit in units]
    assert values.decode([float(number) for number in exact], target).to_pylist() == exact


@pytest.mark.parametrize("wrong", [2, -1, 256, 2**70])
def test_a_boolean_is_stored_as_0_or_1(wrong):
    assert values.decode([None, 0, 1, True], pa.bool_()).to_pylist() == [None, False, True, True]
    assert values.decode([None], pa.bool_()).to_pylist() == [None]
    with pytest.raises(values.Refused, match="neither 0 nor 1"):
        values.decode([0, None, wrong], pa.bool_())


GOOD = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize(
    "wrong",
    [
        ["", GOOD],
        [GOOD[:-1], GOOD + "0"],
        [GOOD[:-1] + "-"],
        [GOOD[:-2] + "  "],
        [GOOD[:-1] + "g"],
        [GOOD[:-1] + "٣"],
        [GOOD.replace("-", "0")],
        ["-" * 36],
    ],
)
def test_what_is_no_uuid_is_refused_beside_others(wrong):
    for column in (wrong, [GOOD, None, *wrong]):
        with pytest.raises(values.Refused, match="is no UUID"):
            text.parse(column, pa.uuid())


@given(st.lists(st.none() | st.timedeltas(timedelta(0), timedelta(hours=23, minutes=59, seconds=59))))
def test_durations_within_a_day_come_back(column):
    texts = [
        None if span is None else f"{span!s:0>8}" if span.microseconds == 0 else f"{span!s:0>15}" for span in column
    ]
    assert text.parse(texts, pa.duration("us")).to_pylist() == column


@pytest.mark.parametrize(
    "wrong", ["", "12", "12:34", "12:34:5", "12:34:56Z", "12:34:56+00", "12:34:60", "12:34:56.1234567"]
)
def test_what_is_no_duration_is_refused_beside_others(wrong):
    for beside in ([], ["23:59:59"], ["-838:59:59.999999"]):
        with pytest.raises(values.Refused):
            text.parse([*beside, wrong], pa.duration("us"))


@pytest.mark.parametrize(
    ("column", "target"),
    [
        ([1, 2.0], pa.int64()),
        ([1, True], pa.int64()),
        ([None, 1, "2"], pa.int64()),
        ([1, Decimal(2)], pa.int64()),
        ([1, 2**63], pa.int64()),
        ([1, -1], pa.uint64()),
        ([1, 300], pa.int8()),
        ([1.0, True], pa.float64()),
        ([1.5, 2**53 + 1], pa.float64()),
        (["a", b"b"], pa.string()),
        (["a", 1], pa.string()),
        (["2024-01-01", b"2024-01-01"], pa.date32()),
        (["2024-01-01", 19000], pa.date32()),
        (["2024-01-01 00:00:00", b"2024-01-01 00:00:00"], pa.timestamp("us")),
        (["2024-02-30"], pa.date32()),
    ],
)
def test_a_value_of_another_class_is_refused_among_others(column, target):
    for turned in (column, [None, *column], column[::-1]):
        with pytest.raises((*REFUSALS, OverflowError)):
            values.decode(turned, target)


def test_columns_of_one_class_keep_their_values():
    assert values.decode([None, -128, 127], pa.int8()).to_pylist() == [None, -128, 127]
    assert values.decode([1, 2**64 - 1], pa.uint64()).to_pylist() == [1, 2**64 - 1]
    assert values.decode([None, "", "é"], pa.string()).to_pylist() == [None, "", "é"]
    assert values.decode([None, "2024-02-29"], pa.date32()).to_pylist() == [None, date(2024, 2, 29)]
    assert values.decode([None, None], pa.string()).to_pylist() == [None, None]
