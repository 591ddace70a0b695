"""The native decoder by itself: PostgreSQL's binary COPY in, Arrow buffers out, whatever the bytes are."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_postgres._decoder import Decoder
from rivet_postgres.fields import Field, Kind, MalformedStream, Reason, RefusedField, Rows

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!II", 0, 0)
TRAILER = struct.pack("!h", -1)
LARGE = 1 << 20

#: How each kind looks on the wire and in Arrow, with a strategy of its values.
INT64 = st.integers(-(2**63), 2**63 - 1)
ARROW = {
    Kind.BOOL: pa.bool_(),
    Kind.WORD16: pa.int16(),
    Kind.WORD32: pa.int32(),
    Kind.WORD64: pa.int64(),
    Kind.DATE: pa.int32(),
    Kind.TIME: pa.int64(),
    Kind.TIMESTAMP: pa.int64(),
    Kind.UUID: pa.binary(16),
    Kind.DECIMAL128: pa.decimal128(38, 9),
    Kind.DECIMAL256: pa.decimal256(76, 30),
    Kind.BYTES: pa.binary(),
    Kind.JSONB: pa.binary(),
}
VALUES = {
    Kind.BOOL: st.booleans(),
    Kind.WORD16: st.integers(-(2**15), 2**15 - 1),
    Kind.WORD32: st.integers(-(2**31), 2**31 - 1),
    Kind.WORD64: INT64,
    Kind.DATE: st.integers(-719162, 2932896),
    Kind.TIME: st.integers(0, 86_400_000_000 - 1),
    Kind.TIMESTAMP: st.integers(-62135596800000000, 253402300799999999),
    Kind.UUID: st.binary(min_size=16, max_size=16),
    Kind.DECIMAL128: st.integers(-(10**38) + 1, 10**38 - 1).map(lambda units: scaled(units, 9)),
    Kind.DECIMAL256: st.integers(-(10**76) + 1, 10**76 - 1).map(lambda units: scaled(units, 30)),
    Kind.BYTES: st.binary(max_size=60),
    Kind.JSONB: st.binary(max_size=60),
}


def scaled(units: int, scale: int) -> Decimal:
    return Decimal((units < 0, tuple(map(int, str(abs(units)))), -scale))


def numeric(value: Decimal, *, leading: int = 0, trailing: int = 0) -> bytes:
    """Return a numeric as ``numeric_send`` writes it, and with further groups of zeros."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    whole, fraction = (
        (text + "0" * exponent, "") if exponent >= 0 else (text[:exponent], text[exponent:].zfill(-exponent))
    )
    whole = whole.zfill(math.ceil(len(whole) / 4) * 4)
    fraction = fraction.ljust(math.ceil(len(fraction) / 4) * 4, "0")
    groups = [0] * leading + [int((whole + fraction)[i : i + 4]) for i in range(0, len(whole + fraction), 4)]
    weight = len(whole) // 4 - 1 + leading
    groups += [0] * trailing
    return struct.pack(f"!hhHh{len(groups)}H", len(groups), weight, 0x4000 if sign else 0, max(-exponent, 0), *groups)


def wire(kind: Kind, value: object) -> bytes:
    """Return a value's bytes as PostgreSQL sends them."""
    match kind:
        case Kind.BOOL:
            return struct.pack("!?", value)
        case Kind.WORD16:
            return struct.pack("!h", value)
        case Kind.WORD32:
            return struct.pack("!i", value)
        case Kind.DATE:
            return struct.pack("!i", value - 10957)
        case Kind.WORD64 | Kind.TIME:
            return struct.pack("!q", value)
        case Kind.TIMESTAMP:
            return struct.pack("!q", value - 946684800000000)
        case Kind.DECIMAL128 | Kind.DECIMAL256:
            return numeric(value)
        case Kind.JSONB:
            return b"\1" + value
        case _:
            return bytes(value)


def field(kind: Kind, **more: object) -> Field:
    type_ = ARROW[kind]
    if isinstance(type_, pa.Decimal128Type | pa.Decimal256Type):
        more = {"precision": type_.precision, "scale": type_.scale, **more}
    return Field(kind, **more)


def row(*values: bytes | None) -> bytes:
    fields = (struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in values)
    return struct.pack("!h", len(values)) + b"".join(fields)


def stream(*rows: bytes) -> bytes:
    return HEADER + b"".join(rows) + TRAILER


def table(kinds: Sequence[Kind], batches: Sequence[Rows], types: Sequence[pa.DataType] = ()) -> pa.Table:
    """Return the batches as Arrow sees them, thoroughly validated."""
    types = types or [ARROW[kind] for kind in kinds]
    names = [str(index) for index in range(len(kinds))]
    made = [
        pa.RecordBatch.from_arrays(
            [
                pa.Array.from_buffers(
                    type_,
                    rows.count,
                    [column.validity, *([column.offsets] if column.offsets is not None else []), column.data],
                )
                for type_, column in zip(types, rows.columns, strict=True)
            ],
            names=names,
        )
        for rows in batches
    ]
    for batch in made:
        batch.validate(full=True)
    return pa.Table.from_batches(made, pa.schema(list(zip(names, types, strict=True))))


def decode(fields: Sequence[Field], pieces: Sequence[bytes], batch_bytes: int = LARGE) -> list[Rows]:
    decoder = Decoder(fields, batch_bytes)
    batches = [rows for piece in pieces for rows in decoder.feed(piece)]
    decoder.end_stream()
    rest = decoder.finish()
    return [*batches, rest] if rest is not None else batches


@st.composite
def streams(draw):
    """Rows of any kinds, and the stream that holds them."""
    kinds = draw(st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=8))
    rows = draw(st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in kinds)), max_size=30))
    sent = [
        row(*(None if value is None else wire(kind, value) for kind, value in zip(kinds, values, strict=True)))
        for values in rows
    ]
    return kinds, rows, stream(*sent)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


@given(streams(), st.lists(st.integers(0, 10_000)), st.sampled_from([1, 50, 300, LARGE]))
def test_rows_come_back_however_the_stream_is_cut(made, places, batch_bytes):
    kinds, rows, data = made
    batches = decode([field(kind) for kind in kinds], cut(data, places), batch_bytes)
    found = table(kinds, batches)
    assert list(zip(*(column.to_pylist() for column in found.columns), strict=True)) == rows
    for batch in found.to_batches():
        assert batch.num_rows == 1 or batch.nbytes <= batch_bytes


@given(streams())
def test_a_stream_byte_by_byte(made):
    kinds, rows, data = made
    batches = decode([field(kind) for kind in kinds], [data[i : i + 1] for i in range(len(data))])
    assert sum(batch.count for batch in batches) == len(rows)


@given(streams(), st.integers(0, 10_000))
def test_a_stream_that_is_cut_off_is_malformed(made, place):
    kinds, _, data = made
    decoder = Decoder([field(kind) for kind in kinds], LARGE)
    decoder.feed(data[: place % len(data)])
    with pytest.raises(MalformedStream, match="trailer"):
        decoder.end_stream()


@given(streams(), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_stream_never_does_more_than_raise(made, damages):
    kinds, _, data = made
    damaged = bytearray(data)
    for place, byte in damages:
        damaged[place % len(data)] = byte
    check_harmless([field(kind, max_bytes=50) for kind in kinds], bytes(damaged))


@given(st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=4), st.binary(max_size=300))
def test_any_bytes_never_do_more_than_raise(kinds, data):
    check_harmless([field(kind, nullable=False) for kind in kinds], HEADER + struct.pack("!h", len(kinds)) + data)


def check_harmless(fields: Sequence[Field], data: bytes) -> None:
    try:
        batches = decode(fields, [data], 300)
    except (MalformedStream, RefusedField):
        return
    kinds = [item.kind for item in fields]
    table(kinds, batches, [pa.binary(32) if kind == Kind.DECIMAL256 else ARROW[kind] for kind in kinds])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PGCOPY\n\xff\r\n\1" + bytes(8), "does not begin"),
        (HEADER[:11] + struct.pack("!II", 1 << 16, 0), "came after this decoder"),
        (HEADER[:11] + struct.pack("!Ii", 0, -1), "header has an impossible length"),
        (HEADER + struct.pack("!h", 2), "another number of fields"),
        (HEADER + struct.pack("!h", -2), "another number of fields"),
        (HEADER + struct.pack("!hi", 1, -2), "field has an impossible length"),
        (HEADER + struct.pack("!hi", 1, 5), "field has an impossible length"),
        (stream(row(bytes(4))) + b"\0", "bytes follow its trailer, after row 1"),
    ],
)
def test_what_is_wrong_with_a_stream_is_said(data, message):
    with pytest.raises(MalformedStream, match=message):
        Decoder([field(Kind.WORD32)], LARGE).feed(data)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (Kind.BOOL, b"\2"),
        (Kind.UUID, bytes(15)),
        (Kind.JSONB, b"\2{}"),
        (Kind.JSONB, b""),
        (Kind.DECIMAL128, bytes(7)),
        (Kind.DECIMAL128, struct.pack("!hhHh", 1, 0, 0, 0)),
        (Kind.DECIMAL128, struct.pack("!hhHh", -1, 0, 0, 0)),
        (Kind.DECIMAL128, struct.pack("!hhHhH", 1, 0, 0, 0, 10000)),
        (Kind.DECIMAL128, struct.pack("!hhHh", 0, 0, 1, 0)),
    ],
)
def test_values_of_an_impossible_form_are_malformed(kind, sent):
    with pytest.raises(MalformedStream):
        Decoder([field(kind)], LARGE).feed(stream(row(sent)))


def test_a_field_longer_than_the_server_can_send_is_not_waited_for():
    with pytest.raises(MalformedStream, match="impossible length"):
        Decoder([field(Kind.BYTES)], LARGE).feed(HEADER + struct.pack("!hi", 1, 2**31 - 1))


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (Kind.DATE, struct.pack("!i", 2**31 - 1)),
        (Kind.DATE, struct.pack("!i", -(2**31))),
        (Kind.DATE, wire(Kind.DATE, 2932897)),
        (Kind.DATE, wire(Kind.DATE, -719163)),
        (Kind.TIMESTAMP, struct.pack("!q", 2**63 - 1)),
        (Kind.TIMESTAMP, struct.pack("!q", -(2**63))),
        (Kind.TIMESTAMP, wire(Kind.TIMESTAMP, 253402300800000000)),
        (Kind.TIME, struct.pack("!q", 86_400_000_000)),
        (Kind.TIME, struct.pack("!q", -1)),
        (Kind.DECIMAL128, struct.pack("!hhHh", 0, 0, 0xC000, 0)),
        (Kind.DECIMAL128, struct.pack("!hhHh", 0, 0, 0xD000, 0)),
        (Kind.DECIMAL128, struct.pack("!hhHh", 0, 0, 0xF000, 0)),
        (Kind.DECIMAL128, numeric(Decimal(10**29))),
        (Kind.DECIMAL128, numeric(Decimal("1e-10"))),
        (Kind.DECIMAL128, struct.pack("!hhHhH", 1, 32767, 0, 0, 1)),
        (Kind.DECIMAL128, struct.pack("!hhHhH", 1, -32768, 0, 0, 1)),
        (Kind.DECIMAL256, numeric(Decimal(10**46))),
        (Kind.DECIMAL256, numeric(Decimal("1e-31"))),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_row(kind, sent):
    good = wire(Kind.WORD64, 7)
    fine = {Kind.DATE: 1, Kind.TIMESTAMP: 1, Kind.TIME: 1}.get(kind, Decimal("1.5"))
    rows = [row(good, wire(kind, fine))] * 3 + [row(wire(Kind.WORD64, 42), sent)]
    decoder = Decoder([field(Kind.WORD64), field(kind)], LARGE)
    with pytest.raises(RefusedField) as caught:
        decoder.feed(stream(*rows))
    refused = caught.value
    assert (refused.column, refused.row, refused.reason) == (1, 4, Reason.UNFIT)
    assert table([Kind.WORD64, kind], [refused.rows]).to_pydict() == {"0": [42], "1": [None]}
    with pytest.raises(MalformedStream):
        decoder.feed(b"\0")


@given(st.decimals(-(10**12), 10**12, places=9), st.integers(0, 3), st.integers(0, 3))
def test_numerics_with_further_zeros_are_the_same(value, leading, trailing):
    sent = numeric(value, leading=leading, trailing=trailing)
    for kind in (Kind.DECIMAL128, Kind.DECIMAL256):
        found = table([kind], decode([field(kind)], [stream(row(sent), row(sent))]))
        assert found["0"].to_pylist() == [value, value]


@given(
    st.integers(1, 76).flatmap(lambda precision: st.tuples(st.just(precision), st.integers(0, precision))),
    st.integers(-(10**80), 10**80) | st.integers(-(10**20), 10**20) | st.integers(-(10**7), 10**7),
    st.integers(0, 80) | st.integers(0, 8),
    st.booleans(),
)
def test_a_numeric_fits_or_is_refused_by_arithmetic(shape, digits, places, in_front):
    precision, scale = shape
    value = scaled(digits, places)
    kind, type_ = (Kind.DECIMAL128, pa.decimal128) if precision <= 38 else (Kind.DECIMAL256, pa.decimal256)
    units, rest = divmod(abs(digits) * 10**scale, 10**places)
    # A short one is read in another way where there is something behind it.
    behind = [Kind.UUID] * in_front
    fields = [Field(kind, precision=precision, scale=scale), *map(field, behind)]
    sent = stream(row(numeric(value), *(bytes(16) for _ in behind)))
    if rest or units >= 10**precision:
        with pytest.raises(RefusedField):
            decode(fields, [sent])
        return
    types = [type_(precision, scale), *(ARROW[other] for other in behind)]
    found = table([kind, *behind], decode(fields, [sent]), types)["0"][0].as_py()
    assert found == scaled(units if digits >= 0 else -units, scale)


def test_null_in_a_column_without_null_is_refused():
    with pytest.raises(RefusedField) as caught:
        Decoder([field(Kind.WORD32), field(Kind.BYTES, nullable=False)], LARGE).feed(stream(row(bytes(4), None)))
    assert (caught.value.column, caught.value.row, caught.value.reason) == (1, 1, Reason.NULL)


@pytest.mark.parametrize("kind", [Kind.BYTES, Kind.JSONB])
def test_a_large_value_is_refused_before_it_has_come(kind):
    fits = wire(kind, b"x" * 100)
    assert decode([field(kind, max_bytes=100)], [stream(row(fits))])[0].count == 1
    decoder = Decoder([field(kind, max_bytes=100)], LARGE)
    prefix = stream(row(fits))[: -len(TRAILER)] + struct.pack("!hi", 1, len(fits) + 1)
    with pytest.raises(RefusedField) as caught:
        decoder.feed(prefix)
    assert (caught.value.reason, caught.value.size, caught.value.row, caught.value.rows) == (Reason.LARGE, 101, 2, None)


def test_a_row_larger_than_a_batch_comes_alone():
    sizes = [10, 5000, 10, 10, 3000, 2000]
    batches = decode([field(Kind.BYTES)], [stream(*(row(b"x" * size) for size in sizes))], 1000)
    assert [batch.count for batch in batches] == [1, 1, 2, 1, 1]
    assert table([Kind.BYTES], batches)["0"].to_pylist() == [b"x" * size for size in sizes]


def test_rows_go_on_from_one_stream_to_the_next():
    decoder = Decoder([field(Kind.WORD64)], LARGE)
    for start in (0, 3):
        assert decoder.feed(stream(*(row(wire(Kind.WORD64, start + i)) for i in range(3)))) == []
        decoder.end_stream()
    rest = decoder.finish()
    assert rest is not None
    assert table([Kind.WORD64], [rest])["0"].to_pylist() == list(range(6))
    assert decoder.finish() is None


def test_a_header_extension_is_skipped():
    data = HEADER[:15] + struct.pack("!I", 5) + b"extra" + row(wire(Kind.UUID, UUID(int=7).bytes)) + TRAILER
    assert table([Kind.UUID], decode([field(Kind.UUID)], [data]))["0"].to_pylist() == [UUID(int=7).bytes]


@pytest.mark.parametrize("kind", [Kind.BYTES, Kind.JSONB])
@pytest.mark.parametrize("size", [1, 7, 1023, 1024, 1025, 3000])
def test_a_column_is_ascii_unless_any_byte_is_not(kind, size):
    def told(*values: bytes) -> bool:
        (rows,) = decode([field(kind)], [stream(*(row(wire(kind, value)) for value in values))])
        return rows.columns[0].ascii

    plain = b"\x7f" * size
    assert told(plain)
    assert told(b"", plain, b"")
    for place in {0, size // 2, size - 1}:
        assert not told(plain[:place] + b"\x80" + plain[place + 1 :])
        assert not told(plain, plain[:place] + b"\xff" + plain[place + 1 :], plain)


def test_a_column_of_fixed_width_is_not_told_to_be_ascii():
    (rows,) = decode([field(Kind.WORD32)], [stream(row(bytes(4)))])
    assert not rows.columns[0].ascii


@pytest.mark.parametrize("max_bytes", [0, 15, 100])
def test_texts_of_any_length_are_copied_exactly(max_bytes):
    values = [bytes((place + size) % 256 for place in range(size)) for size in [*range(16), *range(100, 0, -1)]]
    values = [value for value in values if len(value) <= (max_bytes or 100)]
    item = field(Kind.BYTES, max_bytes=max_bytes)
    for batch_bytes in (LARGE, 1000):
        batches = decode([item, item], [stream(*(row(value, value[::-1]) for value in values))], batch_bytes)
        found = table([Kind.BYTES] * 2, batches)
        assert found["0"].to_pylist() == values
        assert found["1"].to_pylist() == [value[::-1] for value in values]


def test_a_numeric_longer_than_a_bound_is_refused():
    item = Field(Kind.DECIMAL128, max_bytes=9, precision=9, scale=2)
    with pytest.raises(RefusedField) as caught:
        decode([item], [stream(row(numeric(Decimal("1.5"))), row(numeric(Decimal(2))))])
    assert (caught.value.reason, caught.value.row) == (Reason.LARGE, 1)
