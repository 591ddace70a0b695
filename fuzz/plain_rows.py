"""Reads the packets of a MySQL result by plain Python: what the decoder takes must have these values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from rivet_mysql.fields import Field, Kind

#: The texts of a row, as they came.
Texts = list[bytes | None]


def payloads(stream: bytes, largest: int) -> Iterator[bytes]:
    """Yield the payloads of whole packets; one of the largest size goes on in the next packet."""
    at, payload = 0, b""
    while at + 4 <= len(stream):
        size = int.from_bytes(stream[at : at + 3], "little")
        if at + 4 + size > len(stream):
            return
        payload += stream[at + 4 : at + 4 + size]
        at += 4 + size
        if size < largest:
            yield payload
            payload = b""


def texts(payload: bytes, columns: int) -> Texts:
    """Return the fields of a row that is well formed."""
    at = 0
    found: Texts = []
    for _ in range(columns):
        first = payload[at]
        at += 1
        if first == 0xFB:
            found.append(None)
            continue
        more = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first, 0)
        size = int.from_bytes(payload[at : at + more], "little") if more else first
        found.append(payload[at + more : at + more + size])
        at += more + size
    assert at == len(payload)
    return found


def value(field: Field, text: bytes | None) -> object:
    """Return what a text stands for."""
    if text is None or (field.zero_is_null and text.startswith(b"0000-00-00")):
        return None
    return text if field.kind is Kind.BYTES else _READERS[field.kind](text.decode())


def _duration(text: str) -> timedelta:
    hours, minutes, seconds = text.removeprefix("-").split(":")
    span = timedelta(hours=int(hours), minutes=int(minutes), microseconds=int(Decimal(seconds) * 1_000_000))
    return -span if text.startswith("-") else span


def expected(fields: Sequence[Field], row: Texts) -> tuple[object, ...]:
    """Return the values of a row that the decoder has taken."""
    return tuple(value(field, text) for field, text in zip(fields, row, strict=True))


_READERS: Final[dict[Kind, Callable[[str], object]]] = {
    Kind.INTEGER: int,
    Kind.UNSIGNED: int,
    Kind.BOOL: lambda text: text == "1",
    Kind.DECIMAL: Decimal,
    Kind.DATE: date.fromisoformat,
    Kind.TIMESTAMP: datetime.fromisoformat,
    Kind.DURATION: _duration,
    Kind.UUID: lambda text: bytes.fromhex(text.replace("-", "")),
    Kind.TEXT: str,
}
