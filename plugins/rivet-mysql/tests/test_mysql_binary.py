"""Rows of the binary protocol, without a server: values of every form, and what breaks the protocol."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import plain_binary
from fuzz.inputs import pieces
from fuzz.mysql import BINARY_FIELDS, Case, Outcome, fed, packets
from rivet_mysql._decoder import Decoder
from rivet_mysql.binary import Look, as_text
from rivet_mysql.fields import Field, Form, Kind, State

EOF = b"\xfe\x00\x00\x02\x00"
OK = b"\xfe\x00\x00\x02\x00\x00\x00"
#: The fields with a precision for the decimals, which ``BINARY_FIELDS`` leaves to its user.
FIELDS = [replace(field, precision=20, scale=4) if field.kind is Kind.DECIMAL else field for field, _ in BINARY_FIELDS]
SIZES = {Form.INT8: "b", Form.INT16: "h", Form.INT32: "i", Form.INT64: "q", Form.DOUBLE: "d"}
SIZES |= {Form.UINT8: "B", Form.UINT16: "H", Form.UINT32: "I", Form.UINT64: "Q"}


def value_of(field: Field) -> st.SearchStrategy[Any]:
    """Return values that the field can have, and for integers some that it cannot."""
    match field.form:
        case Form.DOUBLE:
            return st.floats(width=32, allow_nan=False, allow_infinity=False)
        case Form.DATE:
            return st.dates()
        case Form.DATETIME:
            return st.datetimes()
        case Form.TIME:
            return st.timedeltas(timedelta(hours=-839), timedelta(hours=839))
        case Form.TEXT:
            texts = {
                Kind.TEXT: st.text(st.characters(exclude_categories=("Cs",))),
                Kind.BYTES: st.binary(max_size=400),
                Kind.UUID: st.uuids().map(str),
                Kind.DECIMAL: st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: f"{Decimal(n).scaleb(-4):f}"),
            }
            return texts[field.kind]
    size = 8 * struct.calcsize(SIZES[field.form])
    if field.kind is Kind.BOOL:
        return st.integers(0, 2)
    return (
        st.integers(0, 2**size - 1) if field.form > Form.INT64 else st.integers(-(2 ** (size - 1)), 2 ** (size - 1) - 1)
    )


def raw(field: Field, value: Any) -> bytes:
    """Return a value as a server sends it, without a length."""
    match field.form:
        case Form.DATE:
            return struct.pack("<HBB", value.year, value.month, value.day)
        case Form.DATETIME:
            return moment(value)
        case Form.TIME:
            return span(value)
        case Form.TEXT:
            return value if isinstance(value, bytes) else value.encode()
    return struct.pack("<" + SIZES[field.form], value)


def moment(value: datetime) -> bytes:
    """Return a time with what it has of a clock."""
    parts = struct.pack(
        "<HBBBBBI", value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond
    )
    return parts if value.microsecond else parts[:7] if any(parts[4:7]) else parts[:4]


def span(value: timedelta) -> bytes:
    """Return a span; none has no bytes."""
    seconds, micros = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    parts = struct.pack("<BIBBBI", value < timedelta(), days, hours, minutes, seconds % 60, micros)
    return parts if micros else parts[:8] if value else b""


def row(fields: Sequence[Field], raws: Iterable[bytes | None]) -> bytes:
    """Return the payload of a row."""
    nulls, values = 0, b""
    for index, (field, value) in enumerate(zip(fields, raws, strict=True)):
        if value is None:
            nulls |= 1 << index + 2
        elif field.form in SIZES:
            values += value
        elif field.form is Form.TEXT:
            values += (bytes([len(value)]) if len(value) < 251 else b"\xfc" + struct.pack("<H", len(value))) + value
        else:
            values += bytes([len(value)]) + value
    return b"\0" + nulls.to_bytes((len(fields) + 9) // 8, "little") + values


def decoded(
    fields: Sequence[Field], stream: bytes, *, cuts: Sequence[int] = (), batch_bytes: int = 1 << 20, sequence: int = 0,
    deprecate_eof: bool = False,
) -> Outcome:  # fmt: skip
    """Feed a stream, cut anywhere."""
    types = tuple(
        next(type_ for known, type_ in BINARY_FIELDS if key(known) == key(field))
        if field.kind is not Kind.DECIMAL
        else DECIMALS[field.width](field.precision, field.scale)
        for field in fields
    )
    case = Case(tuple(fields), types, batch_bytes, 1 << 20, sequence, deprecate_eof, True, True, 0, stream)
    return fed(case, pieces(stream, sorted(cuts)))


DECIMALS = {16: pa.decimal128, 32: pa.decimal256}


def key(field: Field) -> tuple[Kind, int, Form]:
    """Return what a known field is found by."""
    return field.kind, field.width, field.form


@given(st.data())
def test_any_rows_cut_anywhere_come_back(data):
    fields = data.draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=12))
    rows = data.draw(st.lists(st.tuples(*(st.none() | value_of(field) for field in fields)), max_size=20))
    raws = [[None if v is None else raw(f, v) for f, v in zip(fields, values, strict=True)] for values in rows]
    end, deprecate_eof = data.draw(st.sampled_from([(EOF, False), (OK, True)]))
    sequence = data.draw(st.integers(0, 255))
    stream = packets([*(row(fields, values) for values in raws), end], sequence)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    batch_bytes = data.draw(st.integers(1, 2000))
    outcome = decoded(
        fields, stream, cuts=cuts, batch_bytes=batch_bytes, sequence=sequence, deprecate_eof=deprecate_eof
    )
    assert outcome.state == State.END
    assert outcome.count == len(rows)
    for found, values in zip(outcome.each_row(), raws, strict=True):
        if isinstance(found, list):  # an odd row, which comes as it is
            assert found == values
            assert any(f.kind in (Kind.INTEGER, Kind.UNSIGNED, Kind.BOOL) for f in fields)
        else:
            assert found == plain_binary.expected(fields, values)


@pytest.mark.parametrize("form", [form for form in Form if form in SIZES and form is not Form.DOUBLE])
@pytest.mark.parametrize("kind", [Kind.INTEGER, Kind.UNSIGNED])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_an_integer_is_taken_exactly_where_it_fits(form, kind, width):
    size = 8 * struct.calcsize(SIZES[form])
    low, high = (0, 2**size - 1) if form > Form.INT64 else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)
    least, most = (
        (0, 2 ** (8 * width) - 1) if kind is Kind.UNSIGNED else (-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    )
    field = Field(kind, width, form=form)
    for value in sorted(
        {v for edge in (low, high, least, most, 0) for v in (edge - 1, edge, edge + 1) if low <= v <= high}
    ):
        decoder = Decoder([field], batch_bytes=1000, binary=True)
        decoder.feed(packets([row([field], [struct.pack("<" + SIZES[form], value)]), EOF], 0))
        if least <= value <= most:
            assert decoder.state == State.END
            ((_, _, data),) = decoder.take()[1]
            assert int.from_bytes(data.to_pybytes(), "little", signed=kind is Kind.INTEGER) == value
        else:
            assert decoder.state == State.ODD


STAMP = Field(Kind.TIMESTAMP, 8, form=Form.DATETIME)
DAY = Field(Kind.DATE, 4, form=Form.DATE)
SPAN = Field(Kind.DURATION, 8, form=Form.TIME)
SINGLE = Field(Kind.DOUBLE, 4, form=Form.DOUBLE)
FLAG = Field(Kind.BOOL, form=Form.INT8)
TEXT = Field(Kind.TEXT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (STAMP, b""),
        (STAMP, struct.pack("<HBB", 0, 1, 1)),
        (STAMP, struct.pack("<HBB", 2026, 0, 1)),
        (STAMP, struct.pack("<HBB", 2026, 2, 29)),
        (STAMP, struct.pack("<HBB", 10000, 1, 1)),
        (STAMP, struct.pack("<HBBBBB", 2026, 1, 1, 24, 0, 0)),
        (STAMP, struct.pack("<HBBBBB", 2026, 1, 1, 0, 60, 0)),
        (STAMP, struct.pack("<HBBBBB", 2026, 1, 1, 0, 0, 60)),
        (STAMP, struct.pack("<HBBBBBI", 2026, 1, 1, 0, 0, 0, 1_000_000)),
        (DAY, b""),
        (DAY, struct.pack("<HBB", 2026, 13, 1)),
        (DAY, struct.pack("<HBBBBB", 2026, 1, 1, 0, 0, 0)),
        (SPAN, struct.pack("<BIBBB", 2, 0, 0, 0, 1)),
        (SPAN, struct.pack("<BIBBB", 0, 0, 24, 0, 0)),
        (SPAN, struct.pack("<BIBBB", 0, 41667, 0, 0, 0)),
        (SPAN, struct.pack("<BIBBB", 0, 0, 0, 60, 0)),
        (SPAN, struct.pack("<BIBBB", 0, 0, 0, 0, 60)),
        (SPAN, struct.pack("<BIBBBI", 0, 0, 0, 0, 0, 1_000_000)),
        (SINGLE, struct.pack("<d", 0.1)),
        (SINGLE, struct.pack("<d", 1e300)),
        (SINGLE, struct.pack("<d", float("nan"))),
        (FLAG, b"\2"),
        (FLAG, b"\xff"),
        (TEXT, b"\xff"),
    ],
)
def test_a_value_of_another_form_is_left_to_the_slow_path(field, value):
    after = Field(Kind.BYTES)
    outcome = decoded(
        [field, after], packets([row([field, after], values) for values in ([value, b"a"], [None, b"b"])], 0)
    )
    assert list(outcome.each_row()) == [[value, b"a"], (None, b"b")]


@pytest.mark.parametrize("value", [b"", bytes(4), bytes(7), bytes(11)])
def test_zero_dates_may_be_null(value):
    outcome = decoded([replace(STAMP, zero_is_null=True)], packets([row([STAMP], [value])], 0))
    assert list(outcome.each_row()) == [(None,)]


def test_null_where_none_may_be_and_a_value_above_its_bound_are_left_to_the_slow_path():
    fields = [Field(Kind.INTEGER, 4, nullable=False, form=Form.INT32), Field(Kind.TEXT, max_bytes=3)]
    for values in ([None, b"abc"], [bytes(4), b"abcd"]):
        assert list(decoded(fields, packets([row(fields, values)], 0)).each_row()) == [values]


@pytest.mark.parametrize("columns", [1, 5, 6, 7, 14, 15, 300])
def test_rows_of_many_columns_have_their_nulls_at_the_right_places(columns):
    fields = [Field(Kind.UNSIGNED, 1, form=Form.UINT8)] * columns
    values = [None if index % 3 else bytes([index % 256]) for index in range(columns)]
    found = list(decoded(fields, packets([row(fields, values), EOF], 0)).each_row())
    assert found == [tuple(value and value[0] for value in values)]


@pytest.mark.parametrize("size", [0xFFFFFF - 6, 0xFFFFFF - 5, 0xFFFFFF + 100])
def test_a_row_that_goes_on_in_further_packets(size):
    fields = [Field(Kind.BYTES)]
    large = b"\0\0\xfe" + struct.pack("<Q", size - 3) + b"x" * (size - 3)
    outcome = decoded(fields, packets([large, row(fields, [b"last"]), EOF], 0), cuts=[100])
    assert [len(values[0]) for values in outcome.each_row()] == [size - 3, 4]
    assert outcome.state == State.END


@pytest.mark.parametrize(
    "payload",
    [
        b"\0",
        b"\x01\0" + bytes(8),
        b"\xfb\0" + bytes(8),
        b"\0\0" + bytes(7),
        b"\0\0" + bytes(9),
        b"\0\4" + bytes(8),
    ],
)
def test_a_packet_that_is_no_row_is_an_error(payload):
    outcome = decoded([Field(Kind.INTEGER, 8, form=Form.INT64)], packets([payload], 0))
    assert outcome.state == -1, outcome


@pytest.mark.parametrize("field", [STAMP, DAY, SPAN, TEXT, Field(Kind.BYTES)])
@pytest.mark.parametrize(
    "value", [b"\1\0", b"\5" + bytes(5), b"\x0d" + bytes(13), b"\4" + bytes(3), b"\xfb", b"\xff", b""]
)
def test_a_length_that_no_value_has_is_an_error(field, value):
    outcome = decoded([field], packets([b"\0\0" + value], 0))
    text = field.form is Form.TEXT
    fits = value and value[0] == len(value) - 1 and text
    assert (outcome.state == -1) is not bool(fits), outcome


@settings(max_examples=300)
@given(st.binary(max_size=120), st.lists(st.sampled_from(FIELDS), min_size=1, max_size=5))
def test_any_bytes_as_a_row_are_values_or_an_error(payload, fields):
    outcome = decoded(fields, packets([b"\0" + payload, EOF], 0), batch_bytes=100)
    for found in outcome.each_row():
        values = plain_binary.raws(b"\0" + payload, fields)
        assert found == (values if isinstance(found, list) else plain_binary.expected(fields, values))


@pytest.mark.parametrize(
    ("form", "value", "decimals", "text"),
    [
        (Form.INT8, b"\xff", 0, "-1"),
        (Form.UINT8, b"\xff", 0, "255"),
        (Form.INT64, b"\xff" * 8, 0, "-1"),
        (Form.UINT64, b"\xff" * 8, 0, "18446744073709551615"),
        (Form.DOUBLE, struct.pack("<d", 0.1), 31, "0.1"),
        (Form.DATE, b"", 0, "0000-00-00"),
        (Form.DATE, struct.pack("<HBB", 2026, 2, 0), 0, "2026-02-00"),
        (Form.DATETIME, b"", 0, "0000-00-00 00:00:00"),
        (Form.DATETIME, b"", 3, "0000-00-00 00:00:00.000"),
        (Form.DATETIME, moment(datetime(2026, 11, 23, 5, 6, 7)), 0, "2026-11-23 05:06:07"),
        (Form.DATETIME, moment(datetime(2026, 11, 23, 5, 6, 7, 250_000)), 2, "2026-11-23 05:06:07.25"),
        (Form.DATETIME, moment(datetime(2026, 11, 23, 5, 6, 7, 250_000)), 31, "2026-11-23 05:06:07.250000"),
        (Form.DATETIME, moment(datetime(2026, 11, 23, 5, 6, 7)), 31, "2026-11-23 05:06:07"),
        (Form.TIME, b"", 0, "00:00:00"),
        (Form.TIME, b"", 6, "00:00:00.000000"),
        (Form.TIME, span(timedelta(hours=-838, microseconds=-1)), 6, "-838:00:00.000001"),
        (Form.TEXT, b"\xff", 0, None),
    ],
)  # fmt: skip
def test_the_text_of_a_value_is_the_servers(form, value, decimals, text):
    assert as_text(form, value, Look(decimals=decimals)) == (b"\xff" if text is None else text.encode())


def test_a_field_whose_form_has_no_such_values_is_refused():
    for wrong in (Field(Kind.DATE, 4, form=Form.DATETIME), Field(Kind.DOUBLE, 8), Field(Kind.TEXT, form=Form.INT8)):
        with pytest.raises(ValueError, match="form"):
            Decoder([wrong], batch_bytes=1000, binary=True)
    with pytest.raises(ValueError, match="form"):
        Decoder([DAY], batch_bytes=1000)


def test_dates_are_those_of_the_calendar():
    days = [date(1, 1, 1), date(1899, 12, 31), date(1970, 1, 1), date(2000, 2, 29), date(9999, 12, 31)]
    stream = packets([*(row([DAY], [raw(DAY, day)]) for day in days), EOF], 0)
    assert [values[0] for values in decoded([DAY], stream).each_row()] == days
