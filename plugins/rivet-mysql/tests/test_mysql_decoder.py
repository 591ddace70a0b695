"""The decoder alone, without a server: packets of every shape become the values that they stand for, or an error."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivet_mysql._decoder import Decoder
from rivet_mysql.fields import DamagedStream, Field, Kind, State

MAX_PAYLOAD = 0xFFFFFF
EOF = b"\xfe\x00\x00\x02\x00"
OK = b"\xfe\x00\x00\x02\x00\x00\x00"


def length_encoded(size: int) -> bytes:
    """Return a length as the protocol writes it."""
    if size < 0xFB:
        return bytes([size])
    if size < 1 << 16:
        return b"\xfc" + struct.pack("<H", size)
    if size < 1 << 24:
        return b"\xfd" + struct.pack("<I", size)[:3]
    return b"\xfe" + struct.pack("<Q", size)


def row(values: Iterable[bytes | None]) -> bytes:
    """Return the payload of a row."""
    return b"".join(b"\xfb" if value is None else length_encoded(len(value)) + value for value in values)


def error(number: int, message: str) -> bytes:
    """Return the payload of an error."""
    return b"\xff" + struct.pack("<H", number) + b"#HY000" + message.encode()


def packets(payloads: Iterable[bytes], sequence: int = 0) -> bytes:
    """Return payloads with their headers; one of 16 MB or more goes on in further packets."""
    stream = bytearray()
    for payload in payloads:
        at = 0
        while True:
            piece = payload[at : at + MAX_PAYLOAD]
            stream += struct.pack("<I", len(piece))[:3] + bytes([sequence & 0xFF]) + piece
            sequence += 1
            at += len(piece)
            if len(piece) < MAX_PAYLOAD:
                break
    return bytes(stream)


def result(rows: Iterable[Sequence[bytes | None]], end: bytes = EOF) -> bytes:
    """Return the stream of a result's rows and its end."""
    return packets([*map(row, rows), end])


#: A field of each kind, the type of its array, and texts that the server may send for it.
FIELDS: dict[str, tuple[Field, pa.DataType]] = {
    **{f"int{bits}": (Field(Kind.INTEGER, bits // 8), getattr(pa, f"int{bits}")()) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (Field(Kind.UNSIGNED, bits // 8), getattr(pa, f"uint{bits}")()) for bits in (8, 16, 32, 64)},
    "bool": (Field(Kind.BOOL), pa.bool_()),
    "decimal128": (Field(Kind.DECIMAL, 16, precision=38, scale=10), pa.decimal128(38, 10)),
    "decimal256": (Field(Kind.DECIMAL, 32, precision=65, scale=30), pa.decimal256(65, 30)),
    "date": (Field(Kind.DATE, 4), pa.date32()),
    "timestamp": (Field(Kind.TIMESTAMP, 8), pa.timestamp("us")),
    "duration": (Field(Kind.DURATION, 8), pa.duration("us")),
    "uuid": (Field(Kind.UUID, 16), pa.binary(16)),
    "text": (Field(Kind.TEXT), pa.string()),
    "bytes": (Field(Kind.BYTES), pa.binary()),
}


CONTEXT = Context(prec=80)
#: First bytes that mean something else than a short length, and their neighbours.
MARKS = (0, 0x7F, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF)


def clock(value: timedelta) -> str:
    """Return a span as MySQL writes it."""
    seconds, micros = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
    sign = "-" if value < timedelta() else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}"


def plain(places: int) -> st.SearchStrategy[tuple[str, Decimal]]:
    """Return decimals with so many digits behind the point, as the server writes them."""
    digits = 38 if places == 10 else 65
    numbers = st.integers(-(10**digits) + 1, 10**digits - 1) | st.integers(-(10**20), 10**20)
    return numbers.map(lambda number: Decimal(number).scaleb(-places, CONTEXT)).map(lambda d: (f"{d:f}", d))


ALL_TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES: dict[str, st.SearchStrategy[tuple[str | bytes, Any]]] = {
    **{
        f"int{bits}": st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(lambda n: (str(n), n))
        for bits in (8, 16, 32, 64)
    },
    **{f"uint{bits}": st.integers(0, 2**bits - 1).map(lambda n: (str(n), n)) for bits in (8, 16, 32, 64)},
    "bool": st.booleans().map(lambda b: (str(int(b)), b)),
    "decimal128": plain(10),
    "decimal256": plain(30),
    "date": st.dates().map(lambda d: (d.isoformat(), d)),
    "timestamp": st.datetimes().map(lambda d: (d.isoformat(" "), d)),
    "duration": st.timedeltas(timedelta(hours=-839), timedelta(hours=839)).map(lambda d: (clock(d), d)),
    "uuid": st.uuids().map(lambda u: (str(u), u.bytes)),
    "text": ALL_TEXT.map(lambda s: (s, s)),
    "bytes": st.binary().map(lambda b: (b, b)),
}


def encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def arrays(types: Sequence[pa.DataType], taken: tuple[int, Sequence[Any]]) -> list[Any]:
    """Return the arrays of a batch, validated."""
    rows, columns = taken
    made = []
    for type_, (validity, offsets, data) in zip(types, columns, strict=True):
        buffers = [validity, data] if offsets is None else [validity, offsets, data]
        array = pa.Array.from_buffers(type_, rows, buffers)
        array.validate(full=True)
        made.append(array)
    return made


def decoded(
    names: Sequence[str], stream: bytes, *, cuts: Iterable[int] = (), batch_bytes: int = 1 << 20, **options: Any
) -> tuple[list[Sequence[Any]], Decoder]:
    """Feed a stream, cut anywhere, and return rows of Python values; odd rows come as bytes."""
    types = [FIELDS[name][1] for name in names]
    decoder = Decoder([FIELDS[name][0] for name in names], batch_bytes=batch_bytes, **options)
    rows: list[Sequence[Any]] = []
    ends = [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    at = 0
    for end in ends:
        while decoder.state not in (State.END, State.FAILED):
            at += decoder.feed(stream[at:end])
            if decoder.state == State.MORE:
                assert decoder.wanted > end - at, "it asks for what is there already"
                break
            columns = arrays(types, decoder.take())
            rows += zip(*(column.to_pylist() for column in columns), strict=True)
            if decoder.state == State.ODD:
                rows.append(decoder.odd())
    columns = arrays(types, decoder.take()) if decoder.rows else []
    rows += zip(*(column.to_pylist() for column in columns), strict=True)
    return rows, decoder


@given(st.data())
def test_any_rows_cut_anywhere_come_back(data):
    names = data.draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=6))
    rows = data.draw(st.lists(st.tuples(*(st.none() | VALUES[name] for name in names)), max_size=30))
    texts = [[None if value is None else encoded(value[0]) for value in row] for row in rows]
    expected = [tuple(None if value is None else value[1] for value in row) for row in rows]
    end, deprecate_eof = data.draw(st.sampled_from([(EOF, False), (OK, True)]))
    sequence = data.draw(st.integers(0, 255))
    stream = packets([*map(row, texts), end], sequence)
    cuts = data.draw(st.lists(st.integers(0, len(stream))))
    batch_bytes = data.draw(st.integers(1, 2000))
    got, decoder = decoded(
        names, stream, cuts=cuts, batch_bytes=batch_bytes, sequence=sequence, deprecate_eof=deprecate_eof
    )
    assert got == expected
    assert decoder.state == State.END


@given(st.lists(st.binary(max_size=300) | st.none(), max_size=200), st.integers(100, 5000))
def test_batches_are_bounded(values, batch_bytes):
    decoder = Decoder([FIELDS["bytes"][0], FIELDS["int64"][0]], batch_bytes=batch_bytes)
    stream = result([value, b"7"] for value in values)
    at = 0
    while decoder.state != State.END:
        at += decoder.feed(stream[at:])
        batch = pa.RecordBatch.from_arrays(arrays([pa.binary(), pa.int64()], decoder.take()), names=["b", "i"])
        assert batch.num_rows <= 1 or batch.nbytes <= batch_bytes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("int8", "128"),
        ("int8", "-129"),
        ("int64", "9223372036854775808"),
        ("int64", "-9223372036854775809"),
        ("uint64", "18446744073709551616"),
        ("uint64", "184467440737095516150"),
        ("uint8", "-1"),
        ("uint8", "256"),
        ("int32", ""),
        ("int32", "-"),
        ("int32", "+1"),
        ("int32", "1.0"),
        ("int32", "0x1"),
        ("bool", "2"),
        ("bool", ""),
        ("bool", "01"),
        ("decimal128", "1.00000000001"),
        ("decimal128", "1" * 29),
        ("decimal128", ""),
        ("decimal128", "."),
        ("decimal128", "-"),
        ("decimal128", "1."),
        ("decimal128", "1.1.1"),
        ("decimal128", "1e5"),
        ("decimal256", "1" * 36),
        ("date", "0000-00-00"),
        ("date", "0000-01-01"),
        ("date", "2026-00-10"),
        ("date", "2026-13-10"),
        ("date", "2026-02-29"),
        ("date", "1900-02-29"),
        ("date", "2026-1-01"),
        ("date", "2026-01-0x"),
        ("timestamp", "2026-01-01"),
        ("timestamp", "2026-01-01 24:00:00"),
        ("timestamp", "2026-01-01 00:60:00"),
        ("timestamp", "2026-01-01 00:00:60"),
        ("timestamp", "2026-01-01 00:00:00."),
        ("timestamp", "2026-01-01 00:00:00.1234567"),
        ("timestamp", "2026-01-01T00:00:00"),
        ("duration", "1:00:00"),
        ("duration", "01:60:00"),
        ("duration", "01:00"),
        ("duration", "01:00:00.1234567"),
        ("duration", "1234567:00:00"),
        ("duration", ""),
        ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430cg"),
        ("uuid", "6ba7b8109dad11d180b400c04fd430c8"),
        ("text", b"\xff"),
        ("text", b"\xc0\x80"),
        ("text", b"\xed\xa0\x80"),
        ("text", b"\xf4\x90\x80\x80"),
        ("text", b"abcdefgh\xe2\x82"),
    ],
)
def test_a_value_of_another_form_is_left_to_the_slow_path(name, text):
    fine = b"2026-01-01" if name == "date" else None
    rows, _ = decoded(["int8", name], result([[b"1", fine], [b"2", encoded(text)], [b"3", None]]))
    assert rows[1] == [b"2", encoded(text)]
    assert [row[0] for row in (rows[0], rows[2])] == [1, 3]


@given(st.binary(max_size=40))
def test_text_is_taken_only_if_python_takes_it_as_utf8(value):
    rows, _ = decoded(["text"], result([[value]]))
    try:
        assert rows == [(value.decode(),)]
    except UnicodeDecodeError:
        assert rows == [[value]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1", "0.1000000000"),
        ("5", "5.0000000000"),
        ("-0.00", "0E-10"),
        ("000000000000000000000000000000001.5", "1.5"),
    ],
)
def test_decimals_are_filled_up_to_their_scale(text, expected):
    assert decoded(["decimal128"], result([[text.encode()]]))[0] == [(Decimal(expected),)]


def test_numbers_with_leading_zeros_come_as_numbers():
    assert decoded(["uint32"], result([[b"0" * 200 + b"42"]]))[0] == [(42,)]


@pytest.mark.parametrize("text", ["0000-00-00", "0000-00-00 00:00:00", "0000-00-00 00:00:00.000"])
def test_zero_dates_may_be_null(text):
    decoder = Decoder([Field(Kind.TIMESTAMP, 8, zero_is_null=True)], batch_bytes=1000)
    decoder.feed(result([[text.encode()]]))
    assert arrays([pa.timestamp("us")], decoder.take())[0].to_pylist() == [None]


def test_null_where_none_may_be_and_a_value_above_its_bound_are_left_to_the_slow_path():
    fields = [Field(Kind.INTEGER, 4, nullable=False), Field(Kind.TEXT, max_bytes=3)]
    for values in ([None, b"abc"], [b"1", b"abcd"]):
        decoder = Decoder(fields, batch_bytes=1000)
        decoder.feed(result([values]))
        assert decoder.state == State.ODD
        assert decoder.take()[0] == 0
        assert decoder.odd() == values


@pytest.mark.parametrize("size", [MAX_PAYLOAD - 5, MAX_PAYLOAD - 4, MAX_PAYLOAD + 100, 2 * MAX_PAYLOAD - 9])
def test_a_row_that_goes_on_in_further_packets(size):
    value = random.Random(size).randbytes(size)
    stream = result([[b"first", b"1"], [value, b"2"], [b"last", b"3"]])
    rows, decoder = decoded(["bytes", "int8"], stream, cuts=[10, 5000, MAX_PAYLOAD + 2, len(stream) - 20])
    assert [row[0] for row in rows] == [b"first", value, b"last"]
    assert decoder.state == State.END


def test_a_large_row_that_is_odd_comes_whole():
    value = b"x" * (MAX_PAYLOAD + 7)
    decoder = Decoder([Field(Kind.BYTES, max_bytes=100)], batch_bytes=1000)
    decoder.feed(result([[value]]))
    decoder.take()
    assert decoder.odd() == [value]


def test_an_error_in_the_middle_keeps_the_rows_before_it():
    stream = packets([row([b"1"]), row([b"2"]), error(1317, "Query execution was interrupted")])
    rows, decoder = decoded(["int8"], stream)
    assert rows == [(1,), (2,)]
    assert decoder.state == State.FAILED
    assert decoder.error == error(1317, "Query execution was interrupted")


def test_an_end_packet_of_the_other_protocol_is_no_end():
    value = b"y" * 20
    with pytest.raises(DamagedStream):
        decoded(["bytes"], packets([row([value]), OK[:5]]), deprecate_eof=True)
    # A long OK packet is not taken for an end where EOF packets end results.
    with pytest.raises(DamagedStream):
        decoded(["bytes"], packets([row([value]), OK + b"abc"]))
    assert decoded(["bytes"], packets([row([value]), OK + b"\x05info!"]), deprecate_eof=True)[1].state == State.END


@pytest.mark.parametrize(
    "stream",
    [
        packets([row([b"1"])], sequence=1),
        packets([b""]),
        packets([b"\xff\x01"]),
        packets([b"\xfe\x00"]),
        packets([row([b"1", b"2"])]),
        packets([b"\x05abc"]),
        packets([b"\xfc\x01"]),
        packets([b"\xfd\x01\x00"]),
        packets([b"\xfe" + b"\xff" * 8]),
        packets([b"\xfe" + struct.pack("<Q", 2**63) + b"abc"]),
    ],
)
def test_what_breaks_the_protocol_is_an_error(stream):
    with pytest.raises(DamagedStream):
        decoded(["int8"], stream)


def test_a_row_without_end_is_refused_before_it_is_gathered():
    packet = b"\xff\xff\xff"
    claimed = b"".join(packet + bytes([number]) + b"\xfd" + b"\x00" * (MAX_PAYLOAD - 1) for number in range(66))
    with pytest.raises(DamagedStream, match="larger"):
        decoded(["bytes"], claimed)


@settings(max_examples=500)
@given(st.data())
def test_mutated_streams_are_rows_or_an_error(data):
    names = data.draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4))
    rows = data.draw(st.lists(st.tuples(*(st.none() | VALUES[name] for name in names)), max_size=8))
    texts = [[None if value is None else encoded(value[0]) for value in row] for row in rows]
    stream = bytearray(result(texts))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(stream) - 1)))
        change = data.draw(st.sampled_from(["set", "cut", "insert", "drop"]))
        if change == "set":
            stream[at : at + 1] = bytes([data.draw(st.sampled_from(MARKS) | st.integers(0, 255))])
        elif change == "insert":
            stream[at:at] = data.draw(st.binary(max_size=9))
        else:
            del stream[at : at + 1 if change == "drop" else len(stream)]
    try:
        decoded(names, bytes(stream), batch_bytes=data.draw(st.integers(1, 500)))
    except DamagedStream:
        return


@given(st.binary(max_size=200), st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4))
def test_any_bytes_as_a_row_are_values_or_an_error(payload, names):
    try:
        decoded(names, packets([payload, EOF]))
    except DamagedStream:
        return


def test_it_is_used_in_order_or_not_at_all():
    decoder = Decoder([FIELDS["int8"][0]], batch_bytes=1000)
    with pytest.raises(RuntimeError):
        decoder.odd()
    decoder.feed(result([[b"1"]]))
    with pytest.raises(RuntimeError):
        decoder.feed(b"")
    for wrong in (
        Field(Kind.INTEGER, 3),
        Field(Kind.DATE, 8),
        Field(Kind.DECIMAL, 16, precision=39),
        Field(Kind.TEXT, 1),
    ):
        with pytest.raises(ValueError, match="width"):
            Decoder([wrong], batch_bytes=1000)
