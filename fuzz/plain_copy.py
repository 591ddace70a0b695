"""Reads a binary COPY by plain Python, believing all of it: what the decoder takes must have these values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from rivet_postgres.fields import Kind

_EPOCH: Final = datetime(2000, 1, 1)


def rows(stream: bytes, kinds: Sequence[Kind]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a stream that is well formed."""
    at = 19 + int.from_bytes(stream[15:19], "big")
    while struct.unpack_from("!h", stream, at)[0] != -1:
        at += 2
        values = []
        for kind in kinds:
            (size,) = struct.unpack_from("!i", stream, at)
            at += 4
            values.append(None if size == -1 else _READERS[kind](stream[at : at + size]))
            at += max(size, 0)
        yield tuple(values)


def _numeric(data: bytes) -> Fraction:
    count, weight, sign, _ = struct.unpack_from("!hhHh", data)
    groups = struct.unpack_from(f"!{count}H", data, 8)
    total = sum(
        (group * Fraction(10000) ** (weight - place) for place, group in enumerate(groups) if group), Fraction()
    )
    return -total if sign == 0x4000 else total


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _moment(data: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=_number(data))


_READERS: Final[dict[Kind, Callable[[bytes], object]]] = {
    Kind.BOOL: lambda data: data == b"\1",
    Kind.WORD16: _number,
    Kind.WORD32: _number,
    Kind.WORD64: _number,
    Kind.DATE: lambda data: _EPOCH.date() + timedelta(days=_number(data)),
    Kind.TIME: lambda data: _moment(data).time(),
    Kind.TIMESTAMP: _moment,
    Kind.UUID: bytes,
    Kind.DECIMAL128: _numeric,
    Kind.DECIMAL256: _numeric,
    Kind.BYTES: bytes,
    Kind.JSONB: lambda data: data[1:],
}
