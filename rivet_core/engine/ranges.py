"""Reads the ranges of a manifest, which are text, as the bounds that the source compares its keys with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rivet_core.contract.key_text import from_text, kind_of
from rivet_core.engine.chunks import Bounds, Cutter, Key

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source
    from rivet_core.contract.manifest import KeyRange


class Ranges:
    """Counts and selects the rows of ranges of one key.

    The source is asked for one of its keys, which tells what kind of value each text is.

    Args:
        columns: the key; all of them are columns of the query.

    Raises:
        QueryError: the keys of the source can bound no range.
    """

    def __init__(self, source: Source, query: Query, columns: Sequence[str]) -> None:
        self._cutter = Cutter(source, query, tuple(columns))
        largest = self._cutter.largest()
        self._kinds = None if largest is None else [kind_of(value) for value in largest]

    def bounds(self, range_: KeyRange) -> Bounds | None:
        """Return a range as bounds; ``None`` if the source has no key at all, and so no row within.

        Raises:
            ValueError: a bound is no value of the key's kind.
        """
        if range_.nulls:
            return Bounds(nulls=True)
        if self._kinds is None:
            return None
        return Bounds(self._key(range_.low), self._key(range_.high))

    def count(self, range_: KeyRange) -> int:
        """Return how many rows of the source are within a range.

        Raises:
            ValueError: a bound is no value of the key's kind.
        """
        bounds = self.bounds(range_)
        return 0 if bounds is None else self._cutter.count(bounds)

    def query(self, range_: KeyRange) -> Query | None:
        """Return the query of the rows within a range; ``None`` if there can be none.

        Raises:
            ValueError: a bound is no value of the key's kind.
        """
        bounds = self.bounds(range_)
        return None if bounds is None else self._cutter.chunk(1, bounds).query

    def _key(self, texts: Sequence[str] | None) -> Key | None:
        if texts is None:
            return None
        assert self._kinds is not None  # noqa: S101  bounds has looked
        return tuple(from_text(kind, text) for kind, text in zip(self._kinds, texts, strict=True))


def count_all(source: Source, query: Query) -> int:
    """Return how many rows a query has."""
    return Cutter(source, query, ()).count(Bounds())
