"""What a contender's output is worth."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """What became of a table.

    Attributes:
        rows: rows of all files.
        types: ``[exact, found]`` of each column that is of another type than the database's.
        wrong: why a column's values are not the database's, by column.
        added: columns that the database does not have.
    """

    rows: int
    types: dict[str, list[str]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
