"""A bounded first look at a result whose engine does not say the types of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from rivet_core.builtin.sqlalchemy import values
from rivet_core.builtin.sqlalchemy.columns import ResultColumn

if TYPE_CHECKING:
    from rivet_core.api import SourceColumn
    from rivet_core.builtin.sqlalchemy.stream import Row

ROWS: Final = 1000
BYTES: Final = 4_000_000


def first_look(rows: Iterator[Row]) -> tuple[list[Row], Iterator[Row]]:
    """Return the first rows, few where they are large, and an iterator over all rows."""
    seen: list[Row] = []
    size = 0
    for row in rows:
        seen.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(seen) >= ROWS or size >= BYTES:
            break
    return seen, chain(seen, rows)


def looked_at(name: str, seen: Sequence[object], described: Sequence[SourceColumn] = ()) -> ResultColumn:
    """Describe a column by the classes of its first values; all others are checked against them.

    Args:
        described: the columns of the query of which this is a piece, whose values alone may tell less.
    """
    type_, classes = values.infer(seen)
    known = next((column for column in described if column.name == name), None)
    if known is not None and type_ is not None:
        return ResultColumn(name, known.source_type, known.type, known.nullable, known.fidelity)
    numeric = type_ is None and classes == "Decimal"
    return ResultColumn(
        name,
        classes,
        type_,
        fidelity="checked",
        problem="" if type_ is not None else "has no precision" if numeric else "holds values of no single type",
        numeric="value" if numeric else "",
    )
