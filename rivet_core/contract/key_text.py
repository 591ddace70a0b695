"""Values of keys as text: in the bounds that manifests and the state keep, and back to what a driver takes."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final
from uuid import UUID

#: What a driver may return for a key whose order and equality are exact; floating point is not.
KeyValue = int | str | bytes | Decimal | date | datetime | UUID

_KINDS: Final[Mapping[type, str]] = MappingProxyType(
    {int: "int", str: "text", bytes: "bytes", Decimal: "decimal", date: "date", datetime: "datetime", UUID: "uuid"}
)


def _decimal(text: str) -> Decimal:
    """Parse what ``to_text`` writes: never an exponent, whose few letters may stand for a billion digits."""
    if "e" in text.lower():
        raise ValueError(text)
    return Decimal(text)


_PARSERS: Final[Mapping[str, Callable[[str], KeyValue]]] = MappingProxyType(
    {
        "int": int,
        "text": str,
        "bytes": bytes.fromhex,
        "decimal": _decimal,
        "date": date.fromisoformat,
        "datetime": datetime.fromisoformat,
        "uuid": UUID,
    }
)


def kind_of(value: object) -> str:
    """Return the kind of a driver's value: ``int``, ``text``, ``bytes``, ``decimal``, ``date``, ``datetime``, ``uuid``.

    Raises:
        ValueError: no such value can bound a chunk.
    """
    kind = _KINDS.get(type(value))
    if kind is None:
        raise ValueError(f"a value of type {type(value).__name__} cannot bound a chunk")
    return kind


def to_text(value: KeyValue) -> str:
    """Return the value as text; ``from_text`` with its kind gives it back.

    >>> to_text(date(2026, 11, 22)), to_text(Decimal("1.50")), to_text(b"\\xff")
    ('2026-11-22', '1.50', 'ff')
    """
    match value:
        case bytes():
            return value.hex()
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case _:
            return str(value)


def from_text(kind: str, text: str) -> KeyValue:
    """Return the value of that kind.

    Raises:
        ValueError: no such kind, or no such value.
    """
    if kind not in _PARSERS:
        raise ValueError(f"there is no kind of key {kind!r}")
    try:
        return _PARSERS[kind](text)
    except (ArithmeticError, binascii.Error, ValueError) as error:
        raise ValueError(f"{text!r} is no {kind}") from error
