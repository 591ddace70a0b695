"""Renders ``docs/reference/types.md`` from what the matrix exported."""

from __future__ import annotations

from collections.abc import Iterable

from integration.types.cases import Engine
from integration.types.export import Exported
from rivet_core.contract.types import type_name

HEAD = """\
# Types

What becomes of every column type, per database engine. A test exports a table with one column of each type, reads
the Parquet and the CSV file back, compares every value with what was inserted, and writes this page; so each row is
something that was seen to work. The values are each type's extremes, NULL, empty strings and arrays, and Unicode.

Fidelity says what the mapping promises:

| fidelity | meaning |
|---|---|
| exact | the same type, the same values |
| widened | a larger type that holds every value |
| text | the value's text, as the engine writes it |
| checked | each value is proven to fit while it is read; one that does not ends the export with an error |

A column without a lossless mapping ends the export before its first row is read, with all such columns and the
`columns:` block to write. Values that no mapping can keep (infinite dates, NaN in a decimal, years after 9999) are
errors that name the column. A CSV file holds the same values; its forms are described with the format.
"""


def render(engines: Iterable[tuple[Engine, Exported]]) -> str:
    """Return the page."""
    return HEAD + "".join(_section(engine, exported) for engine, exported in engines)


def _section(engine: Engine, exported: Exported) -> str:
    columns = {column.name: column for column in exported.columns}
    rows = []
    for case in engine.cases:
        column = columns[case.declared]
        cells = (
            _code(case.declared),
            _code(type_name(column.type)),
            _code(exported.parquet_types[case.declared]),
            column.fidelity,
            case.note,
        )
        rows.append(_row(cells))
    section = f"\n## {engine.title}\n\n" + _row(("type", "Arrow type", "Parquet type", "fidelity", "note")) + "|---" * 5
    section += "|\n" + "".join(rows)
    if engine.unmappable:
        section += "\nWithout a lossless mapping of their own:\n\n" + _row(("type", "what to do")) + "|---|---|\n"
        section += "".join(_row((_code(case.declared or " "), case.note)) for case in engine.unmappable)
    return section


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _code(text: str) -> str:
    return f"`{text}`"
