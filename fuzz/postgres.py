"""An input of the PostgreSQL decoder: columns, options and the bytes of a COPY; and what must hold for each.

However the bytes come, whole or in pieces, through ``feed``, from libpq or in the messages of a server, there is the
same result: rows that are valid Arrow data, or the same error. An input may also be those messages themselves.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from fuzz.inputs import Reader, Writer, every_cut, pieces, random_cuts
from fuzz.memory import allocate, as_arrow, release
from fuzz.plain_copy import rows
from fuzz.postgres_server import BEGUN, NOTICE, dialog, message, sending
from rivet_postgres._decoder import Decoder
from rivet_postgres.fields import Field, Kind, MalformedStream, RefusedField, Rows

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack("!II", 0, 0)
TRAILER: Final = struct.pack("!h", -1)
MOST_COLUMNS: Final = 8
BATCH_BYTES: Final = (20000, 1, 50, 300, 2000)
MAX_BYTES: Final = (0, 3, 40)
#: Of the decoder's buffer; the target with small bounds has another one.
RECEIVE_BYTES = 1 << 18
_MANY_BYTES: Final = 1 << 12  # more than an input has

# What the options of an input say.
WITH_HEADER: Final = 1
WITH_TRAILER: Final = 2
TWICE: Final = 4
TLS: Final = 8
LOSES: Final = 16
HESITANT: Final = 64  # libpq has to be asked again and again
RAW: Final = 128  # what a server sends, and not only the rows in it
FRAMED: Final = 32  # what frames fields and rows is made, see _framed

_ARROW: Final[dict[Kind, pa.DataType]] = {
    Kind.BOOL: pa.bool_(),
    Kind.WORD16: pa.int16(),
    Kind.WORD32: pa.int32(),
    Kind.WORD64: pa.int64(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.UUID: pa.binary(16),
    Kind.BYTES: pa.binary(),
    Kind.JSONB: pa.binary(),
}
_WIDTHS: Final = {kind: type_.bit_width // 8 or 1 for kind, type_ in _ARROW.items() if kind < Kind.BYTES}
_SIGNS: Final = (0, 0x4000, 0, 0x4000, 0xC000, 0xF000, 1)
_NULL_MARK: Final = 255
_ODD_MARK: Final = 254
KINDS: Final = (*_ARROW, Kind.DECIMAL128, Kind.DECIMAL256)


@dataclass(frozen=True)
class Case:
    """What an input stands for."""

    fields: tuple[Field, ...]
    types: tuple[pa.DataType, ...]
    batch_bytes: int
    options: int
    seed: int
    stream: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of a stream: all rows, or the error and the row that came with it."""

    table: pa.Table
    error: str
    row: pa.Table | None = None

    def agrees_with(self, other: Outcome) -> bool:
        """Whether both stand for the same; which rows came before an error depends on how the stream was cut."""
        if self.error != other.error:
            return False
        rows_agree = self.row is None or other.row is None or bool(self.row.equals(other.row))
        return rows_agree and (bool(self.error) or bool(self.table.equals(other.table)))


def case_of(data: bytes) -> Case:
    """Return what an input stands for; every input stands for something."""
    reader = Reader(data)
    options, batch, seed = reader.byte(), reader.below(len(BATCH_BYTES)), reader.byte()
    made = [_field(reader) for _ in range(1 + reader.below(MOST_COLUMNS))]
    stream = _framed(reader, [field.kind for field, _ in made]) if options & FRAMED else reader.rest()
    raw = bool(options & RAW)
    if options & WITH_HEADER:
        stream = (BEGUN + message(b"d", HEADER) if raw else HEADER) + stream
    if options & WITH_TRAILER:
        stream += dialog([TRAILER])[len(BEGUN) :] if raw else TRAILER
    fields, types = zip(*made, strict=True)
    return Case(fields, types, BATCH_BYTES[batch], options, seed, stream)


def _field(reader: Reader) -> tuple[Field, pa.DataType]:
    kind, more = KINDS[reader.below(len(KINDS))], reader.byte()
    nullable, max_bytes = more & 1 == 0, MAX_BYTES[(more >> 1) % len(MAX_BYTES)]
    if kind not in {Kind.DECIMAL128, Kind.DECIMAL256}:
        return Field(kind, nullable, max_bytes if kind >= Kind.BYTES else 0), _ARROW[kind]
    precision = 1 + reader.below(38 if kind == Kind.DECIMAL128 else 76)
    scale = reader.below(precision + 1)
    make = pa.decimal128 if kind == Kind.DECIMAL128 else pa.decimal256
    return Field(kind, nullable, 0, precision, scale), make(precision, scale)


def _framed(reader: Reader, kinds: Sequence[Kind]) -> bytes:
    """Return rows in which every length is right, unless the input wants one to be wrong.

    A mutation moves bytes from one field to the next, and the rows stay rows.
    """
    stream = bytearray()
    while not reader.at_end:
        stream += struct.pack("!h", len(kinds))
        for kind in kinds:
            mark = reader.byte()
            if mark == _NULL_MARK:
                stream += struct.pack("!i", -1)
            elif mark == _ODD_MARK:
                stream += reader.take(4) + reader.take(reader.byte())
            else:
                value = _value(reader, kind, mark)
                stream += struct.pack("!i", len(value)) + value
    return bytes(stream)


def _value(reader: Reader, kind: Kind, mark: int) -> bytes:
    if kind in {Kind.DECIMAL128, Kind.DECIMAL256}:
        count = mark % 24
        weight, sign = reader.byte() % 64 - 32, _SIGNS[reader.below(len(_SIGNS))]
        groups = [int.from_bytes(reader.take(2), "little") % 10001 for _ in range(count)]
        return struct.pack(f"!hhHh{count}H", count, weight, sign, 0, *groups)
    if kind in _WIDTHS:
        return reader.take(_WIDTHS[kind])
    return (b"\1" if kind is Kind.JSONB else b"") + reader.take(mark)


def input_of(fields: Sequence[Field], stream: bytes, options: int = 0) -> bytes:
    """Return the input that stands for a stream of these columns; the inverse of ``case_of``."""
    writer = Writer()
    for value in (options, 0, 0, len(fields) - 1):
        writer.byte(value)
    for field in fields:
        writer.byte(KINDS.index(field.kind))
        writer.byte(not field.nullable)
        if field.precision:
            writer.byte(field.precision - 1)
            writer.byte(field.scale)
    return bytes(writer.data) + stream


def check(data: bytes, *, thorough: bool = False) -> None:
    """Decode an input in several ways; ``thorough`` is to cut it everywhere, and not in one way of two.

    Raises:
        AssertionError: the results differ, or are no valid batches.
    """
    case = case_of(data)
    cuts = random_cuts(len(case.stream), case.seed)
    if case.options & RAW:
        _check_dialog(case, pieces(case.stream, cuts))
        return
    whole = fed(case, [case.stream])
    if not whole.error:
        _compare_values(case, whole.table)
    way = case.seed % 3
    if thorough or way == 0:
        for places in [cuts, *every_cut(len(case.stream), 20)] if thorough else [cuts]:
            found = fed(case, pieces(case.stream, places))
            assert found.agrees_with(whole), (case, places, found, whole)
    if thorough or way == 1:
        drained = _drained(case, pieces(case.stream, cuts))
        assert drained is None or drained.agrees_with(whole), (case, cuts, drained, whole)
    if thorough or way == 2:
        _check_messages(case, pieces(case.stream, cuts), whole)


def _check_messages(case: Case, parts: Sequence[bytes], whole: Outcome) -> None:
    """Let a server send the parts, each in a message of its own."""
    complete = not case.options & LOSES
    sent = dialog(parts, complete=complete)
    found, aside, lost = _received(case, pieces(sent, random_cuts(len(sent), case.seed + 1)))
    if lost:
        assert not complete, case
    else:
        assert found.agrees_with(whole), (case, parts, found, whole)
        assert found.error or aside.count(NOTICE) == (2 if case.options & TWICE else 1), (case, aside)


def _check_dialog(case: Case, parts: Sequence[bytes]) -> None:
    """Let a server send the bytes, which may be anything."""
    whole, aside, lost = _received(case, [b"".join(parts)])
    found, as_pieces, also_lost = _received(case, parts)
    assert lost == also_lost, case
    assert found.agrees_with(whole), (case, parts, found, whole)
    # How much has come of what is behind the dialog depends on the cuts.
    assert whole.error or aside.startswith(as_pieces) or as_pieces.startswith(aside), (case, aside, as_pieces)


def _received(case: Case, sent: Sequence[bytes]) -> tuple[Outcome, bytes, bool]:
    """Return what comes of the rows and of the other messages, and whether the connection was lost."""
    decoder = Decoder(case.fields, case.batch_bytes)
    batches: list[Rows] = []
    aside = bytearray()
    try:
        for _ in range(2 if case.options & TWICE else 1):
            with sending(sent, together=RECEIVE_BYTES < _MANY_BYTES) as fd:
                decoder.attach_socket(fd, aside=aside.extend, patience=1000)
                while (part := decoder.drain()) is not None:
                    batches.append(part)
            if decoder.failed:
                return Outcome(_table(case, batches), ""), bytes(aside), True
            decoder.end_stream()
        batches += filter(None, [decoder.finish()])
    except (MalformedStream, RefusedField) as error:
        return _failed(case, batches, error), bytes(aside), False
    return Outcome(_table(case, batches), ""), bytes(aside), False


def _compare_values(case: Case, table: pa.Table) -> None:
    plain = list(rows(case.stream, [field.kind for field in case.fields])) * (2 if case.options & TWICE else 1)
    found = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert found == plain, (case, found, plain)


def fed(case: Case, parts: Sequence[bytes]) -> Outcome:
    """Feed a decoder with the parts of a stream."""
    decoder = Decoder(case.fields, case.batch_bytes)
    batches: list[Rows] = []
    try:
        for _ in range(2 if case.options & TWICE else 1):
            for part in parts:
                batches += decoder.feed(part)
            decoder.end_stream()
        batches += filter(None, [decoder.finish()])
    except (MalformedStream, RefusedField) as error:
        return _failed(case, batches, error)
    return Outcome(_table(case, batches), "")


def _failed(case: Case, batches: Sequence[Rows], error: MalformedStream | RefusedField) -> Outcome:
    row = getattr(error, "rows", None)
    name = f"{type(error).__name__} {error} {getattr(error, 'size', '')}"
    return Outcome(_table(case, batches), name, row and _table(case, [row]))


def _table(case: Case, batches: Sequence[Rows]) -> pa.Table:
    names = [str(number) for number in range(len(case.types))]
    made = []
    for part in batches:
        arrays = [_array(type_, column, part.count) for type_, column in zip(case.types, part.columns, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        batch.validate(full=True)
        assert batch.num_rows == 1 or batch.nbytes <= case.batch_bytes, (batch.num_rows, batch.nbytes)
        made.append(batch)
    return pa.Table.from_batches(made, pa.schema(list(zip(names, case.types, strict=True))))


def _array(type_: pa.DataType, column: Any, count: int) -> Any:
    buffers = (
        [column.validity, column.data] if column.offsets is None else [column.validity, column.offsets, column.data]
    )
    return pa.Array.from_buffers(type_, count, [buffer and as_arrow(buffer) for buffer in buffers])


def _drained(case: Case, parts: Sequence[bytes]) -> Outcome | None:
    """Let a decoder take the parts from what looks like libpq; ``None`` where that lost its connection."""
    libpq = _Libpq(parts, case.options)
    decoder = Decoder(case.fields, case.batch_bytes)
    batches: list[Rows] = []
    try:
        for _ in range(2 if case.options & TWICE else 1):
            libpq.attach(decoder)
            while (part := decoder.drain()) is not None:
                batches.append(part)
            if decoder.failed:
                return None
            decoder.end_stream()
        batches += filter(None, [decoder.finish()])
    except (MalformedStream, RefusedField) as error:
        return _failed(case, batches, error)
    finally:
        del decoder
        assert not libpq.unreleased, f"{len(libpq.unreleased)} messages were not released"
    return Outcome(_table(case, batches), "")


class _Libpq:
    """The four functions of libpq that the decoder calls, over a stream in memory.

    Each message is memory of its own and of exactly its size, and counts until it is released.
    """

    def __init__(self, parts: Sequence[bytes], options: int) -> None:
        self.unreleased: set[int] = set()
        self._parts = [part for part in parts if part]
        self._options = options
        self._left: list[bytes] = []
        self._hesitation = 3 if options & HESITANT else 1
        self._asked = 0
        # libpq's own signatures.
        self._get_copy_data = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int
        )(self._next)
        self._free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._release)
        self._consume_input = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._consume)
        self._socket = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: _READABLE)

    def attach(self, decoder: Any) -> None:
        """Let the decoder drain the stream from its beginning."""
        self._left = self._parts[::-1]
        decoder.attach(
            1,
            get_copy_data=_address(self._get_copy_data),
            free=_address(self._free),
            consume_input=_address(self._consume_input),
            socket=_address(self._socket),
            tls=bool(self._options & TLS),
            patience=1000,
        )

    def _next(self, _connection: int | None, buffer: Any, _asynchronous: int) -> int:
        self._asked += 1
        if self._asked % (self._hesitation + 1):
            return 0  # nothing yet
        if not self._left:
            return -1
        part = self._left.pop()
        address = allocate(len(part))
        ctypes.memmove(address, part, len(part))
        self.unreleased.add(address)
        buffer[0] = address
        return len(part)

    def _release(self, address: int) -> None:
        self.unreleased.remove(address)
        release(address)

    def _consume(self, _connection: int | None) -> int:
        return 0 if self._options & LOSES and len(self._left) <= 1 else 1


def _address(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


#: A file that can always be read.
_READABLE: Final = os.open(os.devnull, os.O_RDONLY)
