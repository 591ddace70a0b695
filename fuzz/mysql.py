"""An input of the MySQL decoder: columns, options and the bytes of a result; and what must hold for each.

However the bytes come, whole or in pieces, there is the same result: valid batches, odd rows as they came, one end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from fuzz import plain_binary
from fuzz.inputs import Reader, Writer, every_cut, pieces, random_cuts
from fuzz.memory import as_arrow, exact_copy
from fuzz.plain_rows import Texts, expected, payloads, texts
from rivet_mysql._decoder import Decoder
from rivet_mysql.fields import DamagedStream, Field, Form, Kind, State

MAX_PAYLOAD: Final = 0xFFFFFF
MOST_COLUMNS: Final = 8
BATCH_BYTES: Final = (20000, 1, 50, 300, 2000)
MAX_ROWS: Final = (1 << 20, 1, 3)
MAX_BYTES: Final = (0, 3, 40)

# What the options of an input say.
FRAMED: Final = 1  # each packet follows its length in one byte, or two; headers are made
DEPRECATE_EOF: Final = 2
SEQUENCE: Final = 4  # numbers begin shortly before 255
WITH_END: Final = 8
BINARY: Final = 16  # the rows are of the binary protocol

#: A field of each kind and width, and the Arrow type of what it makes.
FIELDS: Final[tuple[tuple[Field, pa.DataType], ...]] = (
    *((Field(Kind.INTEGER, bits // 8), getattr(pa, f"int{bits}")()) for bits in (8, 16, 32, 64)),
    *((Field(Kind.UNSIGNED, bits // 8), getattr(pa, f"uint{bits}")()) for bits in (8, 16, 32, 64)),
    (Field(Kind.BOOL), pa.bool_()),
    (Field(Kind.DATE, 4), pa.date32()),
    (Field(Kind.TIMESTAMP, 8), pa.timestamp("us")),
    (Field(Kind.DURATION, 8), pa.duration("us")),
    (Field(Kind.UUID, 16), pa.binary(16)),
    (Field(Kind.TEXT), pa.string()),
    (Field(Kind.BYTES), pa.binary()),
    (Field(Kind.DECIMAL, 16), pa.null()),  # of the precision that the input says
    (Field(Kind.DECIMAL, 32), pa.null()),
)
_SIGNED: Final = tuple(zip((Form.INT8, Form.INT16, Form.INT32, Form.INT64), (8, 16, 32, 64), strict=True))
_UNSIGNED: Final = tuple(zip((Form.UINT8, Form.UINT16, Form.UINT32, Form.UINT64), (8, 16, 32, 64), strict=True))
#: The same for rows of the binary protocol: as they come, made wider or narrower, and what has a length as in text.
BINARY_FIELDS: Final[tuple[tuple[Field, pa.DataType], ...]] = (
    *((Field(Kind.INTEGER, bits // 8, form=form), getattr(pa, f"int{bits}")()) for form, bits in _SIGNED),
    *((Field(Kind.UNSIGNED, bits // 8, form=form), getattr(pa, f"uint{bits}")()) for form, bits in _UNSIGNED),
    *((Field(Kind.INTEGER, 2, form=form), pa.int16()) for form in (Form.UINT16, Form.INT8, Form.INT64, Form.UINT64)),
    *((Field(Kind.UNSIGNED, 4, form=form), pa.uint32()) for form in (Form.UINT8, Form.INT16, Form.INT64)),
    (Field(Kind.INTEGER, 8, form=Form.UINT64), pa.int64()),
    (Field(Kind.UNSIGNED, 8, form=Form.INT64), pa.uint64()),
    *((Field(Kind.BOOL, form=form), pa.bool_()) for form in (Form.INT8, Form.UINT32)),
    (Field(Kind.DOUBLE, 8, form=Form.DOUBLE), pa.uint64()),
    (Field(Kind.DOUBLE, 4, form=Form.DOUBLE), pa.float32()),
    (Field(Kind.DATE, 4, form=Form.DATE), pa.date32()),
    (Field(Kind.TIMESTAMP, 8, form=Form.DATETIME), pa.timestamp("us")),
    (Field(Kind.DURATION, 8, form=Form.TIME), pa.duration("us")),
    *FIELDS[-5:],
)


@dataclass(frozen=True)
class Case:
    """What an input stands for."""

    fields: tuple[Field, ...]
    types: tuple[pa.DataType, ...]
    batch_bytes: int
    max_rows: int
    sequence: int
    deprecate_eof: bool
    binary: bool
    framed: bool
    seed: int
    stream: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of a stream: batches and odd rows in their order, the state at the end, an error.

    Batches between two odd rows count as one table.
    """

    rows: list[Any]
    state: int
    consumed: int
    error: str

    @property
    def count(self) -> int:
        """How many rows have come."""
        return sum(item.num_rows if isinstance(item, pa.Table) else 1 for item in self.rows)

    def each_row(self) -> Iterator[tuple[object, ...] | Texts]:
        """Yield values, and the texts of odd rows."""
        for item in self.rows:
            if isinstance(item, pa.Table):
                yield from zip(*(column.to_pylist() for column in item.columns), strict=True)
            else:
                yield item

    def agrees_with(self, other: Outcome) -> bool:
        """Whether both stand for the same."""
        return (
            (self.state, self.consumed, self.error) == (other.state, other.consumed, other.error)
            and len(self.rows) == len(other.rows)
            and all(
                left.equals(right) if isinstance(left, pa.Table) else left == right
                for left, right in zip(self.rows, other.rows, strict=True)
            )
        )


def case_of(data: bytes) -> Case:
    """Return what an input stands for; every input stands for something."""
    reader = Reader(data)
    options, batch, max_rows, seed = (
        reader.byte(),
        reader.below(len(BATCH_BYTES)),
        reader.below(len(MAX_ROWS)),
        reader.byte(),
    )
    binary = bool(options & BINARY)
    made = [_field(reader, BINARY_FIELDS if binary else FIELDS) for _ in range(1 + reader.below(MOST_COLUMNS))]
    stream, sequence = reader.rest(), 250 if options & SEQUENCE else 0
    deprecate_eof = bool(options & DEPRECATE_EOF)
    framed = bool(options & FRAMED)
    if framed:
        sent = _payloads(stream)
        if options & WITH_END:
            sent.append(b"\xfe\0\0\2\0\0\0" if deprecate_eof else b"\xfe\0\0\2\0")
        stream = packets(sent, sequence)
    fields, types = zip(*made, strict=True)
    return Case(
        fields, types, BATCH_BYTES[batch], MAX_ROWS[max_rows], sequence, deprecate_eof, binary, framed, seed, stream
    )


def _field(reader: Reader, among: Sequence[tuple[Field, pa.DataType]]) -> tuple[Field, pa.DataType]:
    (field, type_), more = among[reader.below(len(among))], reader.byte()
    field = replace(field, nullable=more & 1 == 0)
    if field.kind is Kind.DECIMAL:
        precision = 1 + reader.below(38 if field.width == 16 else 76)
        scale = reader.below(precision + 1)
        make = pa.decimal128 if field.width == 16 else pa.decimal256
        return replace(field, precision=precision, scale=scale), make(precision, scale)
    if field.kind in {Kind.TEXT, Kind.BYTES}:
        return replace(field, max_bytes=MAX_BYTES[(more >> 1) % len(MAX_BYTES)]), type_
    return replace(field, zero_is_null=more & 2 != 0 and field.kind in {Kind.DATE, Kind.TIMESTAMP}), type_


def _payloads(data: bytes) -> list[bytes]:
    """Cut bytes into payloads at the lengths that they say."""
    found = []
    at = 0
    while at < len(data):
        size = data[at]
        at += 1
        if size == 255:
            size = int.from_bytes(data[at : at + 2], "little")
            at += 2
        found.append(data[at : at + size])
        at += size
    return found


def packets(sent: Sequence[bytes], sequence: int) -> bytes:
    """Return payloads with their headers; a large one goes on in further packets."""
    stream = bytearray()
    for payload in sent:
        at = 0
        while True:
            piece = payload[at : at + MAX_PAYLOAD]
            stream += len(piece).to_bytes(3, "little") + bytes([sequence & 0xFF]) + piece
            sequence += 1
            at += len(piece)
            if len(piece) < MAX_PAYLOAD:
                break
    return bytes(stream)


def input_of(fields: Sequence[Field], sent: Sequence[bytes], options: int = 0) -> bytes:
    """Return the input that stands for packets of these columns."""
    writer = Writer()
    for value in (options | FRAMED, 0, 0, 0, len(fields) - 1):
        writer.byte(value)
    known = [(field.kind, field.width, field.form) for field, _ in (BINARY_FIELDS if options & BINARY else FIELDS)]
    for field in fields:
        writer.byte(known.index((field.kind, field.width, field.form)))
        writer.byte((not field.nullable) | 2 * field.zero_is_null)
        if field.kind is Kind.DECIMAL:
            writer.byte(field.precision - 1)
            writer.byte(field.scale)
    for payload in sent:
        size = len(payload)
        writer.data += (bytes([size]) if size < 255 else b"\xff" + size.to_bytes(2, "little")) + payload
    return bytes(writer.data)


def check(data: bytes, *, thorough: bool = False) -> None:
    """Decode an input in several ways; ``thorough`` is to cut it everywhere.

    Raises:
        AssertionError: the results differ, or are no valid batches.
    """
    case = case_of(data)
    whole = fed(case, [case.stream])
    assert not (case.framed and whole.error.startswith("a packet is missing")), (case, whole)
    _compare_values(case, whole)
    cuts = [random_cuts(len(case.stream), case.seed)]
    for places in [*cuts, *every_cut(len(case.stream), 20)] if thorough else cuts:
        found = fed(case, pieces(case.stream, places))
        assert found.agrees_with(whole), (case, places, found, whole)


def _compare_values(case: Case, outcome: Outcome) -> None:
    """Hold what was decoded, and the odd rows, to what plain Python reads; after an error both may end early."""
    for payload, found in zip(
        islice(payloads(case.stream, MAX_PAYLOAD), outcome.count), outcome.each_row(), strict=True
    ):
        row = plain_binary.raws(payload, case.fields) if case.binary else texts(payload, len(case.fields))
        plain = plain_binary.expected if case.binary else expected
        same = found == (row if isinstance(found, list) else plain(case.fields, row))
        assert same, (case, found, row)


def fed(case: Case, parts: Sequence[bytes]) -> Outcome:
    """Feed a decoder with the parts of a stream, as its user does: what it does not consume comes again."""
    decoder = Decoder(
        case.fields,
        batch_bytes=case.batch_bytes,
        max_rows=case.max_rows,
        sequence=case.sequence,
        deprecate_eof=case.deprecate_eof,
        binary=case.binary,
    )
    rows: list[Any] = []
    consumed, waiting = 0, b""
    try:
        for part in parts:
            waiting += part
            while decoder.state not in {State.END, State.FAILED}:
                used = decoder.feed(exact_copy(waiting))
                assert 0 <= used <= len(waiting)
                waiting = waiting[used:]
                consumed += used
                if decoder.state == State.MORE:
                    assert decoder.wanted > len(waiting), "it asks for what is there already"
                    break
                _take(case, decoder, rows)
        _take(case, decoder, rows)
    except DamagedStream as error:
        return Outcome(_joined(rows), -1, 0, str(error))
    return Outcome(_joined(rows), decoder.state, consumed, repr(decoder.error))


def _take(case: Case, decoder: Any, rows: list[Any]) -> None:
    """Append the decoder's batch, and then its odd row."""
    count, columns = decoder.take()
    if count:
        names = [str(number) for number in range(len(case.types))]
        arrays = [
            pa.Array.from_buffers(type_, count, _buffers(column))
            for type_, column in zip(case.types, columns, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        batch.validate(full=True)
        assert count <= case.max_rows
        assert count == 1 or batch.nbytes <= case.batch_bytes, (count, batch.nbytes)
        rows.append(batch)
    if decoder.state == State.ODD:
        rows.append(decoder.odd())


def _buffers(column: tuple[Any, Any, Any]) -> list[Any]:
    validity, offsets, data = (part and as_arrow(part) for part in column)
    return [validity, data] if offsets is None else [validity, offsets, data]


def _joined(rows: Sequence[Any]) -> list[Any]:
    joined: list[Any] = []
    for item in rows:
        if not isinstance(item, pa.RecordBatch):
            joined.append(item)
        elif joined and isinstance(joined[-1], pa.Table):
            joined[-1] = pa.concat_tables([joined[-1], pa.Table.from_batches([item])])
        else:
            joined.append(pa.Table.from_batches([item]))
    return joined
