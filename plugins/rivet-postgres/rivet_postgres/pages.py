"""Reads a plain table by ranges of its pages, each a short statement of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from rivet_core.api import Query

_FIRST_PAGES: Final = 512
_MAX_PAGES: Final = 1 << 16
# The next statement reads fewer pages when one took longer, and more when it took less than half of it.
_SECONDS: Final = 0.5


@dataclass(frozen=True)
class TablePages(Query):
    """The rows in some pages of a table.

    Attributes:
        low: the first page.
        high: the first page that is not read; ``None`` for all that follow.
    """

    low: int = 0
    high: int | None = None


def page_statements(
    statement: Callable[[int, int | None], str], low: int, high: int | None, pages: int
) -> Iterator[str]:
    """Yield statements that together read the pages from ``low`` to ``high``, each once; fit their size to their time.

    Args:
        statement: makes the one for a range.
        pages: of the table now.
    """
    end = pages if high is None else min(high, pages)
    size = _FIRST_PAGES
    while low + size < end:
        started = time.monotonic()
        yield statement(low, low + size)
        seconds = time.monotonic() - started
        low += size
        if seconds > _SECONDS:
            size = max(size // 2, 1)
        elif seconds < _SECONDS / 2:
            size = min(size * 2, _MAX_PAGES)
    yield statement(low, high)


def cut(pages: int, pieces: int) -> list[tuple[int, int | None]]:
    """Return ranges of about the same size that hold every page once, also pages that a table gets later."""
    pieces = max(1, min(pieces, pages))
    starts = [pages * number // pieces for number in range(pieces)]
    return list(zip(starts, [*starts[1:], None], strict=True))
