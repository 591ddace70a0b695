"""Reads a table by ranges of its pages, each a short statement of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from rivet_core.api import Query

_FIRST_PAGES: Final = 512
_MAX_PAGES: Final = 1 << 16
# Of a smaller piece (32 MiB) the connection costs more than it saves.
_MIN_PIECE_PAGES: Final = 4096
# The next statement reads fewer pages when one took longer, and more when it took less than half of it.
_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Relation:
    """What holds rows of a table: the table itself, a partition, or a table that inherits from it.

    Attributes:
        name: as ``FROM`` has it, quoted, its heirs left out.
        pages: how many it has; ``None`` where its rows cannot be read page by page, so that it is read as a whole.
    """

    name: str
    pages: int | None


@dataclass(frozen=True)
class PageRange:
    """Some pages of a relation.

    Attributes:
        low: the first page.
        high: the first page that is not read; ``None`` for all that follow.
    """

    relation: Relation
    low: int = 0
    high: int | None = None


@dataclass(frozen=True)
class TablePages(Query):
    """The rows in some pages of a table.

    Attributes:
        ranges: where they are.
        relations: the names of all relations that hold rows of the table, also of those that are in other pieces.
    """

    ranges: Sequence[PageRange] = ()
    relations: Sequence[str] = ()


def range_statements(statement: Callable[[PageRange], str], ranges: Sequence[PageRange]) -> Iterator[str]:
    """Yield statements that together read the ranges, each page once; fit their size to their time.

    Args:
        statement: makes the one for a range.
    """
    size = _FIRST_PAGES
    for range_ in ranges:
        pages = range_.relation.pages or 0
        low, end = range_.low, pages if range_.high is None else min(range_.high, pages)
        while low + size < end:
            started = time.monotonic()
            yield statement(replace(range_, low=low, high=low + size))
            seconds = time.monotonic() - started
            low += size
            if seconds > _SECONDS:
                size = max(size // 2, 1)
            elif seconds < _SECONDS / 2:
                size = min(size * 2, _MAX_PAGES)
        yield statement(replace(range_, low=low))


def cut(relations: Sequence[Relation], pieces: int) -> list[list[PageRange]]:
    """Return pieces of about the same size that hold every page once, also pages that a relation gets later.

    Empty relations, and those that are read as a whole, count as one page. There are fewer pieces where the table is
    small.
    """
    total = sum(_size(relation) for relation in relations)
    pieces = max(1, min(pieces, total // _MIN_PIECE_PAGES))
    bounds = [total * number // pieces for number in range(pieces + 1)]
    return [_between(relations, low, high) for low, high in pairwise(bounds)]


def _between(relations: Sequence[Relation], low: int, high: int) -> list[PageRange]:
    """Return the ranges from one page to before another, counted over all relations."""
    ranges = []
    start = 0
    for relation in relations:
        end = start + _size(relation)
        if start < high and low < end:
            ranges.append(PageRange(relation, max(low - start, 0), None if end <= high else high - start))
        start = end
    return ranges


def _size(relation: Relation) -> int:
    return max(relation.pages or 0, 1)
