"""What a row of the type matrix is: a column type, values of it, and what a reader of the export must get."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """One value: what the driver is given to insert, and what must come out of the exported file."""

    given: object
    expected: object


@dataclass(frozen=True)
class TypeCase:
    """One column type of an engine.

    Attributes:
        declared: the type as ``CREATE TABLE`` has it; also the column's name.
        values: its extremes and its oddities; NULL is always tried in addition where the column takes it.
        refused: values that the engine can store and that no file can hold without loss; each must be an error.
        note: what the published page says about it.
        null: whether the column takes NULL.
    """

    declared: str
    values: tuple[Value, ...]
    refused: tuple[object, ...] = ()
    note: str = ""
    null: bool = True


@dataclass(frozen=True)
class Unmappable:
    """A column type without a lossless mapping of its own: refused before the first row is read.

    Attributes:
        declared: the type as ``CREATE TABLE`` has it.
        note: what the published page says about it.
    """

    declared: str
    note: str


@dataclass(frozen=True)
class Engine:
    """Everything the matrix knows about one database engine.

    Attributes:
        fixture: the fixture that runs it; ``sqlite`` needs none.
        title: its name on the published page.
        quote: the character around identifiers.
        mark: the driver's placeholder.
        setup: statements to run before the table is created.
    """

    fixture: str
    title: str
    cases: tuple[TypeCase, ...]
    unmappable: tuple[Unmappable, ...]
    quote: str
    mark: str
    setup: tuple[str, ...] = ()

    def quoted(self, identifier: str) -> str:
        """Return an identifier as the engine's SQL has it."""
        return self.quote + identifier.replace(self.quote, self.quote * 2) + self.quote


def same(*values: object) -> tuple[Value, ...]:
    """Return values that come out as they went in."""
    return tuple(Value(value, value) for value in values)


def float32(value: float) -> float:
    """Return the 32-bit float that is nearest to ``value``."""
    nearest: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return nearest


#: Strings that are damaged by wrong encodings, trimming, normalisation or quoting. U+0000 is no text in PostgreSQL.
STRINGS = (
    "",
    " ",
    "NULL",
    'quote " quote',
    "comma, semicolon; tab\t",
    "line\nline\r\nline",
    "e\u0301 is not \u00e9",  # combining accent and precomposed letter
    "👩🏽‍🚀 𝔘nicode 日本語 עברית",
    "\\N \\x41 %s ${x} :x",
)
