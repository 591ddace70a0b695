"""Cuts one query into chunks: ranges of a key that together hold every row once, found from the keys that are there.

Neighbours share one bound, exclusive below and inclusive above; with the rows whose
key is NULL as a chunk of their own no row falls between two chunks and none into both. The largest key when the plan
is made is the upper bound of the last chunk: rows that arrive above it are left to the next run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from rivet_core.api.errors import QueryError
from rivet_core.api.sql import single_statement, sorts_as_it_compares, wrap
from rivet_core.contract.key_text import KeyValue, from_text, kind_of, to_text
from rivet_core.contract.manifest import KeyRange
from rivet_core.engine.selecting.key_order import Key, KeyOrder
from rivet_core.engine.selecting.keys import is_indexed, primary_key

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import Chunking

#: A manifest lists every part; more of them than this would come near its largest size.
MAX_CHUNKS: Final = 100_000


@dataclass(frozen=True)
class Bounds:
    """The keys of one chunk: above ``low``, up to and with ``high``; ``None`` is open.

    ``nulls`` are the rows without a key, and no others; with ``low_inclusive`` ``low`` itself belongs to the chunk.
    """

    low: Key | None = None
    high: Key | None = None
    nulls: bool = False
    low_inclusive: bool = False

    def to_json(self) -> str:
        """Return the bounds as the state keeps them, every value with its kind."""
        facts = {"low": _described(self.low), "high": _described(self.high), "nulls": self.nulls}
        return json.dumps({**facts, "low_inclusive": True} if self.low_inclusive else facts)

    @classmethod
    def from_json(cls, text: str) -> Bounds:
        """Return the bounds that ``to_json`` has written.

        Raises:
            ValueError: they are none.
        """
        stored = json.loads(text)
        low, high = _restored(stored["low"]), _restored(stored["high"])
        return cls(low, high, stored["nulls"], stored.get("low_inclusive", False))

    def key_range(self, columns: Sequence[str]) -> KeyRange:
        """Return the bounds as a manifest has them."""
        return KeyRange(
            columns=tuple(columns),
            low=None if self.low is None else tuple(map(to_text, self.low)),
            high=None if self.high is None else tuple(map(to_text, self.high)),
            low_inclusive=self.low_inclusive,
            high_inclusive=True,
            nulls=self.nulls,
        )


def _described(key: Key | None) -> list[tuple[str, str]] | None:
    return None if key is None else [(kind_of(value), to_text(value)) for value in key]


def _restored(stored: list[tuple[str, str]] | None) -> Key | None:
    return None if stored is None else tuple(from_text(kind, text) for kind, text in stored)


@dataclass(frozen=True)
class Chunk:
    """A piece of one query's rows that is exported by one statement; numbers count from 1 in the order of the keys."""

    number: int
    query: Query
    bounds: Bounds


@dataclass(frozen=True)
class ChunkPlan:
    """All chunks of one query.

    Attributes:
        columns: the key.
        chunks: at least one, also for a query without rows.
        low: the smallest key; ``None`` without rows, and for keys of several columns.
    """

    columns: tuple[str, ...]
    chunks: tuple[Chunk, ...]
    low: KeyValue | None = None


def plan_chunks(source: Source, query: Query, schema: SourceSchema, chunking: Chunking) -> ChunkPlan:
    """Look at the keys and cut the query.

    Raises:
        QueryError: there is no such key, it cannot bound chunks, or there would be too many of them.
    """
    columns, nullable = key_of(source, query, schema, chunking)
    cutter = Cutter(source, query, columns, indexed=is_indexed(source, query, columns))
    if chunking.days is not None:
        highs = cutter.by_days(chunking.days)
    else:
        highs = cutter.by_rows(chunking.size or cutter.size_for(chunking.count or 1))
    lows: list[Key | None] = [None, *highs]
    bounds = [Bounds(low, high) for low, high in zip(lows, highs, strict=False)] or [Bounds()]
    if nullable and highs:
        bounds.append(Bounds(nulls=True))
    if len(bounds) > MAX_CHUNKS:
        raise QueryError(f"there would be more than {MAX_CHUNKS} chunks", hint="choose a larger chunk")
    chunks = tuple(cutter.chunk(number, bound) for number, bound in enumerate(bounds, start=1))
    return ChunkPlan(columns, chunks, cutter.smallest() if len(columns) == 1 else None)


def restore_chunks(source: Source, query: Query, chunking: Chunking, bounds: Mapping[int, Bounds]) -> ChunkPlan:
    """Return the plan of an earlier run of the same query, from the bounds that it has recorded by number."""
    columns = key_columns(source, query, chunking)
    cutter = Cutter(source, query, columns)
    chunks = tuple(cutter.chunk(number, bound) for number, bound in bounds.items())
    return ChunkPlan(columns, chunks, cutter.smallest() if len(columns) == 1 else None)


def whole(*pieces: Query) -> ChunkPlan:
    """Return the plan that reads a query without regard to keys: at once, or in the pieces that a source has cut."""
    return ChunkPlan((), tuple(Chunk(number, piece, Bounds()) for number, piece in enumerate(pieces, start=1)))


def key_columns(source: Source, query: Query, chunking: Chunking) -> tuple[str, ...]:
    """Return the key of the chunks: the configured columns, else the primary key.

    Raises:
        QueryError: there is none.
    """
    columns = chunking.columns or primary_key(source, query)
    if not columns:
        raise QueryError(
            f"{query.table or 'a query'} has no primary key to cut chunks by",
            hint="name the column with chunk_column, best one with an index",
        )
    return columns


def _check_key(source: Source, columns: Sequence[str], schema: SourceSchema) -> bool:
    """Refuse what cannot bound chunks; return whether rows may have no key."""
    known = {column.name: column for column in schema.columns}
    for name in columns:
        if name not in known:
            raise QueryError(f"there is no column {name} to cut chunks by", hint=f"columns: {', '.join(known)}")
        type_, source_type = known[name].type, known[name].source_type
        ordered = sorts_as_it_compares(source.engine.dialect, source_type)
        if not ordered or pa.types.is_floating(type_) or pa.types.is_nested(type_):
            raise QueryError(
                f"chunks cannot be cut by {name}, which is a {source_type}",
                hint="choose a column of whole numbers, decimals, dates, timestamps, text or UUIDs",
            )
    nullable = [name for name in columns if known[name].nullable]
    if nullable and len(columns) > 1:
        raise QueryError(
            f"{', '.join(nullable)} may be NULL, and NULL has no place in the order of a key of several columns",
            hint="choose columns that are NOT NULL",
        )
    return bool(nullable)


def key_of(source: Source, query: Query, schema: SourceSchema, chunking: Chunking) -> tuple[tuple[str, ...], bool]:
    """Return the columns that chunks are cut by, and whether rows may have no key.

    Raises:
        QueryError: there is no such key, or it cannot bound chunks.
    """
    columns = key_columns(source, query, chunking)
    return columns, _check_key(source, columns, schema)


class Cutter:
    """Cuts a query by its keys.

    Args:
        columns: the key.
        indexed: whether an index of the query's table keeps the keys in order.
    """

    def __init__(self, source: Source, query: Query, columns: tuple[str, ...], *, indexed: bool = False) -> None:
        self._source = source
        self._query = query
        self._indexed = indexed
        self._keys = KeyOrder(source, query, columns)

    def chunk(self, number: int, bounds: Bounds) -> Chunk:
        """Return the chunk of these bounds."""
        condition, params = self._keys.within(bounds.low, bounds.high)
        if bounds.nulls:
            condition = self._keys.missing()
        if not condition:
            return Chunk(number, self._query, bounds)
        text = single_statement(self._query.text, self._source.engine.dialect.name)
        text = wrap(text, "SELECT * FROM (", f") AS rivet_chunk WHERE {condition}")
        return Chunk(number, replace(self._query, text=text, params={**self._query.params, **params}), bounds)

    def size_for(self, count: int) -> int:
        """Return the rows of one of ``count`` chunks."""
        return max(1, -(-self._keys.count() // count))

    def by_rows(self, size: int) -> list[Key]:
        """Return the last key of every ``size`` rows, and the largest key."""
        last = self.largest()
        if last is None:
            return []
        # It bounds all statements: keys that arrive meanwhile are beyond the plan.
        highs = list(islice(self._keys.every(size, last, indexed=self._indexed), MAX_CHUNKS + 1))
        # Rows with equal keys cannot be parted: they are one chunk, however many they are.
        return list(dict.fromkeys([*highs, last]))

    def by_days(self, days: int) -> list[Key]:
        """Return the last instants of periods of ``days`` days from the first day on, and the largest key."""
        column, *others = self._keys.columns
        if others:
            raise QueryError("chunk_by_days needs one column", hint="name a date or a timestamp with chunk_column")
        smallest, largest = self._keys.smallest(), self._keys.largest()
        if smallest is None or largest is None:
            return []
        last = largest[0]
        highs: list[Key] = []
        day = _day_of(smallest[0], column)
        end = _day_of(last, column)
        if (end - day).days // days >= MAX_CHUNKS:
            raise QueryError(f"there would be more than {MAX_CHUNKS} chunks", hint="choose more days for each")
        while (end - day).days >= days:  # the day after may be beyond the last of the calendar
            day += timedelta(days=days)
            highs.append((_last_before(day, last),))
        return [*highs, largest]

    def count(self, bounds: Bounds) -> int:
        """Return how many rows are within bounds."""
        return KeyOrder(self._source, self.chunk(1, bounds).query, ()).count()

    def largest(self) -> Key | None:
        """Return the largest key, in the values of the driver."""
        return self._keys.largest()

    def smallest(self) -> KeyValue | None:
        """Return the smallest key of one column."""
        first = self._keys.smallest()
        return None if first is None else first[0]


def _day_of(value: object, column: str) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return datetime.fromisoformat(value).date()  # type: ignore[arg-type]  # what is no text ends in the same error
    except (TypeError, ValueError):
        raise QueryError(
            f"chunk_by_days needs a date or a timestamp, and {column} is none", hint="set chunk_size instead"
        ) from None


def _last_before(day: date, like: object) -> KeyValue:
    """Return the last value before a day in the type of ``like``; text compares as text, as SQLite keeps dates."""
    previous = day - timedelta(days=1)
    match like:
        case datetime():
            return datetime.combine(day, datetime.min.time(), like.tzinfo) - datetime.resolution
        case date():
            return previous
        case _:
            return f"{previous.isoformat()}\U0010ffff"
