"""Reads rows of MySQL's binary protocol by plain Python: what the decoder takes must have these values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from fuzz.plain_rows import value as of_text
from rivet_mysql.fields import Field, Form, Kind

#: The values of a row, as they came.
Raws = list[bytes | None]

_SIZES: Final = {
    **dict(zip((Form.INT8, Form.INT16, Form.INT32, Form.INT64), (1, 2, 4, 8), strict=True)),
    **dict(zip((Form.UINT8, Form.UINT16, Form.UINT32, Form.UINT64), (1, 2, 4, 8), strict=True)),
    Form.DOUBLE: 8,
}


def raws(payload: bytes, fields: Sequence[Field]) -> Raws:
    """Return the values of a row that is well formed, without their lengths."""
    nulls = int.from_bytes(payload[1 : 1 + (len(fields) + 9) // 8], "little") >> 2
    at = 1 + (len(fields) + 9) // 8
    found: Raws = []
    for index, field in enumerate(fields):
        if nulls >> index & 1:
            found.append(None)
            continue
        size = _SIZES.get(field.form)
        if size is None:
            first = payload[at]
            more = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first, 0) if field.form is Form.TEXT else 0
            size = int.from_bytes(payload[at + 1 : at + 1 + more], "little") if more else first
            at += 1 + more
        found.append(payload[at : at + size])
        at += size
    assert at == len(payload)
    return found


def value(field: Field, raw: bytes | None) -> object:
    """Return what a value stands for; a double that stays one as its bits, for NaN is not equal to itself."""
    if raw is None or field.form is Form.TEXT:
        return of_text(field, raw)
    if field.zero_is_null and not any(raw):
        return None
    if field.form in _READERS:
        return _READERS[field.form](raw)
    if field.form is Form.DOUBLE:
        return struct.unpack("<d" if field.width == 4 else "<Q", raw)[0]
    number = int.from_bytes(raw, "little", signed=field.form <= Form.INT64)
    return bool(number) if field.kind is Kind.BOOL else number


def _time(raw: bytes) -> timedelta:
    negative, days, hours, minutes, seconds, micros = struct.unpack("<BIBBBI", raw.ljust(12, b"\0"))
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, microseconds=micros)
    return -span if negative else span


_READERS: Final[dict[Form, Callable[[bytes], object]]] = {
    Form.DATE: lambda raw: date(*struct.unpack("<HBB", raw)),
    Form.DATETIME: lambda raw: datetime(*struct.unpack("<HBBBBBI", raw.ljust(11, b"\0"))),
    Form.TIME: _time,
}


def expected(fields: Sequence[Field], row: Raws) -> tuple[object, ...]:
    """Return the values of a row that the decoder has taken."""
    return tuple(value(field, raw) for field, raw in zip(fields, row, strict=True))
