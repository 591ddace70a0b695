"""Thrift's compact protocol, as much of it as Parquet's metadata takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

TRUE: Final = 1
FALSE: Final = 2
I32: Final = 5
I64: Final = 6
BINARY: Final = 8
LIST: Final = 9
STRUCT: Final = 12

_WIDTHS: Final = {1: 0, 2: 0, 3: 1, 7: 8}  # of what is no number, no text and no container


@dataclass(frozen=True)
class Raw:
    """A value that is encoded already.

    Attributes:
        kind: its type in the protocol.
    """

    kind: int
    data: bytes


@dataclass(frozen=True)
class Long:
    """An integer whose field is one of 64 bits; a plain ``int`` stands for 32."""

    value: int


Value: TypeAlias = "int | bool | Long | bytes | Raw | Struct | Sequence[Value]"
Struct: TypeAlias = Mapping[int, Value]


def encode(fields: Struct) -> bytes:
    """Return the bytes of a structure: values by the number of their field, in order."""
    out = bytearray()
    last = 0
    for number, value in fields.items():
        kind = _kind(value)
        step = number - last
        if 0 < step < 16:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            out += _zigzag(number)
        last = number
        if not isinstance(value, bool):
            out += _encoded(value)
    out.append(0)
    return bytes(out)


def split(data: bytes) -> dict[int, Raw]:
    """Return the fields of the structure at the start of ``data``, each as its bytes."""
    fields, at, number = {}, 0, 0
    while (head := data[at]) != 0:
        at += 1
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = _read_zigzag(data, at)
        end = _end(data, at, kind)
        fields[number] = Raw(kind, data[at:end])
        at = end
    return fields


def _kind(value: Value) -> int:
    if isinstance(value, Raw):
        return value.kind
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, int):
        return I32
    if isinstance(value, Long):
        return I64
    if isinstance(value, bytes):
        return BINARY
    return STRUCT if isinstance(value, Mapping) else LIST


def _encoded(value: Value) -> bytes:
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, int):
        return _zigzag(value)
    if isinstance(value, Long):
        return _zigzag(value.value)
    if isinstance(value, bytes):
        return _varint(len(value)) + value
    if isinstance(value, Mapping):
        return encode(value)
    kind = _kind(value[0]) if value else STRUCT
    head = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([0xF0 | kind]) + _varint(len(value))
    return head + b"".join(map(_encoded, value))


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else ~(value << 1))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
        shift += 7


def _read_zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _end(data: bytes, at: int, kind: int) -> int:
    """Return where a value ends."""
    if kind in _WIDTHS:
        return at + _WIDTHS[kind]
    if kind == BINARY:
        size, at = _read_varint(data, at)
        return at + size
    if kind == LIST:
        count, kind, at = data[at] >> 4, data[at] & 15, at + 1
        if count == 15:
            count, at = _read_varint(data, at)
        for _ in range(count):
            at = at + 1 if kind in (TRUE, FALSE) else _end(data, at, kind)
        return at
    if kind == STRUCT:
        while (head := data[at]) != 0:
            at += 1
            if not head >> 4:
                _, at = _read_varint(data, at)
            at = _end(data, at, head & 15)
        return at + 1
    return _read_varint(data, at)[1]
