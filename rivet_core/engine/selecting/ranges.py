"""Reads the ranges of a manifest, which are text, as the bounds that the source compares its keys with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rivet_core.api.errors import QueryError
from rivet_core.contract.key_text import from_text, kind_of
from rivet_core.engine.selecting.axis import Axis
from rivet_core.engine.selecting.chunks import Bounds, Cutter

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source
    from rivet_core.contract.manifest import KeyRange
    from rivet_core.engine.selecting.key_order import Key


class Ranges:
    """Counts and selects the rows of ranges of one key.

    The source is asked for one of its keys, which tells what kind of value each text is.

    Args:
        columns: the key; all of them are columns of the query.

    Raises:
        ValueError: the keys of the source can bound no range.
    """

    def __init__(self, source: Source, query: Query, columns: Sequence[str]) -> None:
        self._source = source
        self._cutter = Cutter(source, query, tuple(columns))
        self._axis = Axis(source, query, columns)  # for ranges of one column that begin with a value
        try:
            largest = self._cutter.largest()
        except QueryError as error:
            raise ValueError(error.message) from error
        self._kinds = None if largest is None else [kind_of(value) for value in largest]

    def bounds(self, range_: KeyRange) -> Bounds | None:
        """Return a range as bounds; ``None`` if the source has no key at all, and so no row within.

        Raises:
            ValueError: a bound is no value of the key's kind.
        """
        if range_.nulls:
            return Bounds(nulls=True)
        if range_.low is None and range_.high is None:
            return Bounds()
        if self._kinds is None:
            return None
        low = self._key(range_.low)
        return Bounds(low, self._key(range_.high), low_inclusive=low is not None and range_.low_inclusive)

    def count(self, range_: KeyRange) -> int:
        """Return how many rows of the source are within a range.

        Raises:
            ValueError: a bound is no value of the key's kind.
        """
        bounds = self.bounds(range_)
        if bounds is not None and bounds.low_inclusive:
            return count_all(self._source, self._axis.within(bounds))
        return 0 if bounds is None else self._cutter.count(bounds)

    def query(self, range_: KeyRange) -> Query | None:
        """Return the query of the rows within a range; ``None`` if there can be none.

        Raises:
            ValueError: a bound is no value of the key's kind.
        """
        bounds = self.bounds(range_)
        if bounds is not None and bounds.low_inclusive:
            return self._axis.within(bounds)
        return None if bounds is None else self._cutter.chunk(1, bounds).query

    def _key(self, texts: Sequence[str] | None) -> Key | None:
        if texts is None:
            return None
        assert self._kinds is not None  # noqa: S101  bounds has looked
        return tuple(from_text(kind, text) for kind, text in zip(self._kinds, texts, strict=True))


def count_all(source: Source, query: Query) -> int:
    """Return how many rows a query has."""
    return Cutter(source, query, ()).count(Bounds())
