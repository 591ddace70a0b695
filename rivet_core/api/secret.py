"""Secrets that cannot be printed, and the redactor that removes them from every text."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
# Shorter values would blank out half of every message; they are still hidden by `Secret` itself.
_MIN_LENGTH: Final = 4

_lock = threading.Lock()
_known: set[str] = set()
_ordered: tuple[str, ...] = ()


class Secret:
    """A string whose ``repr`` and ``str`` show nothing and whose value the redactor knows.

    >>> Secret("hunter22")
    Secret(***)
    >>> f"{Secret('hunter22')}"
    '***'
    >>> Secret("hunter22").reveal()
    'hunter22'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        register_secret(value)

    def reveal(self) -> str:
        """Return the value itself. Call it where the value is used and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret cannot be pickled")


def register_secret(value: str) -> None:
    """Make ``redact`` remove ``value``, also percent- or base64-encoded, from every text from now on."""
    global _ordered  # noqa: PLW0603  one redactor per process, or a message could miss a secret
    if len(value) < _MIN_LENGTH:
        return
    raw = value.encode("utf-8", "surrogatepass")
    forms = {value, quote(value, safe=""), quote(value), quote_plus(value)}
    forms |= {form.lower() for form in (quote(value, safe=""), quote_plus(value)) if "%" in form}
    forms |= {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    forms |= {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    with _lock:
        _known.update(forms)
        _ordered = tuple(sorted(_known, key=len, reverse=True))


def redact(text: str) -> str:
    """Return ``text`` with every registered secret replaced by ``***``.

    >>> register_secret("s3cr3t/value")
    >>> redact("postgres://u:s3cr3t%2Fvalue@h/db")
    'postgres://u:***@h/db'
    """
    for form in _ordered:
        if form in text:
            text = text.replace(form, MASK)
    return text


def redact_values(value: object) -> object:
    """Return plain data (mappings, sequences, strings, numbers) with every string redacted, keys too.

    For documents: once a string is quoted and escaped, a secret in it may not look like itself any more.
    """
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {redact(str(key)): redact_values(item) for key, item in value.items()}
        case list() | tuple():
            return [redact_values(item) for item in value]
    return value
