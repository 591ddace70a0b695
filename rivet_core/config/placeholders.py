"""Placeholders such as ``{date}`` in a destination's path or prefix."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from rivet_core.api import ConfigError
from rivet_core.config.problems import did_you_mean

#: Every placeholder and what it stands for.
PLACEHOLDERS = {
    "date": "the UTC day on which the run started, as 2026-11-22",
    "export": "the export's name",
    "table": "the table's bare name, or the export's name for a query",
    "run_id": "the run's id",
}


@dataclass(frozen=True)
class Placeholders:
    """What the placeholders stand for in one run of one export; ``run_id`` is ``None`` while it is not known."""

    date: date
    export: str
    table: str
    run_id: str | None = None


def placeholders_in(template: str) -> set[str]:
    """Return the names of the placeholders of ``template``; ``{{`` and ``}}`` are literal braces.

    >>> sorted(placeholders_in("exports/{date}/{export}/{{x}}/"))
    ['date', 'export']

    Raises:
        ConfigError: an unknown placeholder, a format specification, a lone brace.
    """
    return {name for _, name in _pieces(template) if name is not None}


def resolve(template: str, values: Placeholders) -> str:
    """Return ``template`` with every placeholder replaced by its value.

    >>> resolve("{date}/{export}/", Placeholders(date(2026, 11, 22), "orders", "orders"))
    '2026-11-22/orders/'

    Raises:
        ConfigError: the template is malformed; ``{run_id}`` is used and not known; a value would change the number
            of path segments.
    """
    text = ""
    for literal, name in _pieces(template):
        text += literal
        if name is not None:
            text += _segment_text(name, values)
    return text


def _pieces(template: str) -> Iterator[tuple[str, str | None]]:
    """Yield each literal text and the placeholder that follows it."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError:
        raise ConfigError(
            "a { or } that belongs to no placeholder", hint="write {{ and }} for braces that mean themselves"
        ) from None
    for literal, name, specification, conversion in pieces:
        if name is not None:
            if specification or conversion:
                raise ConfigError(f"{{{name}}} takes no format", hint=f"write {{{name}}}")
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                hint = " ".join(part for part in (did_you_mean(name, PLACEHOLDERS), f"known ones: {known}") if part)
                raise ConfigError(f"unknown placeholder {{{name}}}", hint=hint)
        yield literal, name


def _segment_text(name: str, values: Placeholders) -> str:
    value = values.date.isoformat() if name == "date" else getattr(values, name)
    if value is None:
        raise ConfigError(f"{{{name}}} is not known here", hint="name the run with --run-id")
    text = str(value)
    if text in ("", ".", "..") or any(char in "/\\" or unicodedata.category(char) == "Cc" for char in text):
        raise ConfigError(
            f"{{{name}}} stands for {text!r} here, which cannot be one segment of a path",
            hint="use {export}" if name == "table" else "choose another name",
        )
    return text
