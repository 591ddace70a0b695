"""Cuts one query into chunks: ranges of a key that together hold every row once, found from the keys that are there.

The bounds are the driver's own values, read and bound again, so that the database alone compares keys: in whatever
order a collation or a type has. Neighbours share one bound, exclusive below and inclusive above; with the rows whose
key is NULL as a chunk of their own no row falls between two chunks and none into both. The largest key when the plan
is made is the upper bound of the last chunk: rows that arrive above it are left to the next run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from rivet_core.api.errors import QueryError
from rivet_core.api.source import Query
from rivet_core.api.sql import quote_name, single_statement, wrap
from rivet_core.contract.key_text import KeyValue, from_text, kind_of, to_text
from rivet_core.contract.manifest import KeyRange
from rivet_core.engine.selecting.keys import primary_key

if TYPE_CHECKING:
    from rivet_core.api.source import Source, SourceSchema
    from rivet_core.config import Chunking

logger = logging.getLogger(__name__)

#: A manifest lists every part; more of them than this would come near its largest size.
MAX_CHUNKS: Final = 100_000

_LOW: Final = "rivet_low_"
_HIGH: Final = "rivet_high_"
_SIZE: Final = "rivet_size"
#: One value for each column of the key, as the driver gives them.
Key = tuple[KeyValue, ...]


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
    cutter = Cutter(source, query, columns)
    if chunking.days is not None:
        highs = cutter.by_days(chunking.days)
    else:
        highs = cutter.by_rows(chunking.size or cutter.size_for(chunking.count or 1))
    lows: list[Key | None] = [None, *highs]
    bounds = [Bounds(low, high) for low, high in zip(lows, highs, strict=False)] or [Bounds()]
    if nullable and highs:
        bounds.append(Bounds(nulls=True))
    if len(bounds) > MAX_CHUNKS:
        raise QueryError(
            f"there would be {len(bounds)} chunks; {MAX_CHUNKS} are the most", hint="choose a larger chunk"
        )
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


def _check_key(columns: Sequence[str], schema: SourceSchema) -> bool:
    """Refuse what cannot bound chunks; return whether rows may have no key."""
    known = {column.name: column for column in schema.columns}
    for name in columns:
        if name not in known:
            raise QueryError(f"there is no column {name} to cut chunks by", hint=f"columns: {', '.join(known)}")
        type_ = known[name].type
        if pa.types.is_floating(type_) or pa.types.is_nested(type_):
            raise QueryError(
                f"chunks cannot be cut by {name}, which is a {known[name].source_type}",
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
    return columns, _check_key(columns, schema)


class Cutter:
    """Asks a query for its keys.

    Args:
        columns: the key.
    """

    def __init__(self, source: Source, query: Query, columns: tuple[str, ...]) -> None:
        self._source = source
        self._query = query
        self._columns = columns
        dialect = source.engine.dialect
        self._text = single_statement(query.text, dialect.name)
        self._quoted = [quote_name(dialect, name) for name in columns]
        self._keys = ", ".join(self._quoted)

    def chunk(self, number: int, bounds: Bounds) -> Chunk:
        """Return the chunk of these bounds."""
        conditions = []
        params: dict[str, object] = {}
        if bounds.nulls:
            conditions.append(f"{self._quoted[0]} IS NULL")
        if bounds.low is not None:
            conditions.append(self._beyond(bounds.low, ">", _LOW))
            params |= self._binds(_LOW, bounds.low)
        if bounds.high is not None:
            conditions.append(self._beyond(bounds.high, "<", _HIGH, inclusive=True))
            params |= self._binds(_HIGH, bounds.high)
        if not conditions:
            return Chunk(number, self._query, bounds)
        text = self._within(f"SELECT * FROM ({{}}) AS rivet_chunk WHERE {' AND '.join(conditions)}")
        return Chunk(number, replace(self._query, text=text, params={**self._query.params, **params}), bounds)

    def size_for(self, count: int) -> int:
        """Return the rows of one of ``count`` chunks."""
        ((rows,),) = self._fetch("SELECT COUNT(*) FROM ({}) AS rivet_rows")
        return max(1, -(-int(str(rows)) // count))

    def by_rows(self, size: int) -> list[Key]:
        """Return the last key of every ``size`` rows, and the largest key."""
        last = self.largest()
        if last is None:
            return []
        # The upper bound is a parameter: keys that arrive meanwhile are beyond the plan.
        numbered = (
            f"SELECT {self._keys}, ROW_NUMBER() OVER (ORDER BY {self._keys}) AS rivet_row FROM ({{}}) AS rivet_keys "
            f"WHERE {self._beyond(last, '<', _HIGH)}"
        )
        rows = self._fetch(
            f"SELECT {self._keys} FROM ({numbered}) AS rivet_numbered "
            f"WHERE rivet_row % ${{{_SIZE}}} = 0 ORDER BY rivet_row",
            {_SIZE: size, **self._binds(_HIGH, last)},
        )
        # Rows with equal keys cannot be parted: they are one chunk, however many they are.
        return list(dict.fromkeys([*map(self._key, rows), last]))

    def by_days(self, days: int) -> list[Key]:
        """Return the last instants of periods of ``days`` days from the first day on, and the largest key."""
        ((first, last),) = self._fetch(f"SELECT MIN({self._keys}), MAX({self._keys}) FROM ({{}}) AS rivet_days")
        if last is None:
            return []
        highs: list[Key] = []
        day = _day_of(first, self._columns[0])
        end = _day_of(last, self._columns[0])
        if (end - day).days // days >= MAX_CHUNKS:
            raise QueryError(f"there would be more than {MAX_CHUNKS} chunks", hint="choose more days for each")
        while (day := day + timedelta(days=days)) <= end:
            highs.append((_last_before(day, last),))
        return [*highs, (self._key([last])[0],)]

    def count(self, bounds: Bounds) -> int:
        """Return how many rows are within bounds."""
        query = self.chunk(1, bounds).query
        text = single_statement(query.text, self._source.engine.dialect.name)
        counting = wrap(text, "SELECT COUNT(*) FROM (", ") AS rivet_count")
        ((rows,),) = self._source.fetch(Query(counting, query.params))
        return int(str(rows))

    def largest(self) -> Key | None:
        """Return the largest key, in the values of the driver."""
        return self._outermost("MAX", "DESC")

    def smallest(self) -> KeyValue | None:
        """Return the smallest key of one column."""
        first = self._outermost("MIN", "ASC")
        return None if first is None else first[0]

    def _outermost(self, function: str, order: str) -> Key | None:
        """Return the first key in an order; ``function`` finds it by an index alone, where the type has it."""
        if len(self._columns) == 1:
            try:
                ((value,),) = self._fetch(f"SELECT {function}({self._keys}) FROM ({{}}) AS rivet_keys")
            except QueryError:  # PostgreSQL before 18 has none for UUIDs and bytes
                logger.debug("no %s of %s", function, self._columns[0])
            else:
                return None if value is None else self._key([value])
        ordered = ", ".join(f"{name} {order}" for name in self._quoted)
        numbered = f"SELECT {self._keys}, ROW_NUMBER() OVER (ORDER BY {ordered}) AS rivet_row"
        rows = self._fetch(
            f"SELECT {self._keys} FROM ({numbered} FROM ({{}}) AS rivet_keys WHERE {self._quoted[0]} IS NOT NULL) "
            "AS rivet_numbered WHERE rivet_row = 1"
        )
        return self._key(rows[0]) if rows else None

    def _key(self, row: Sequence[object]) -> Key:
        values = row[: len(self._columns)]
        for name, value in zip(self._columns, values, strict=True):
            try:
                kind_of(value)
            except ValueError as error:
                raise QueryError(f"{name}: {error}", hint="choose another chunk_column, or mode: full") from None
        return tuple(values)  # type: ignore[arg-type]  # kind_of has refused everything else

    def _beyond(self, key: Key, sign: str, name: str, *, inclusive: bool = False) -> str:
        """Compare the key with a bound, column by column as tuples are; written out, for not all engines do it fast."""
        last = len(key) - 1
        terms = []
        for position, quoted in enumerate(self._quoted):
            equal = [f"{other} = ${{{name}{index}}}" for index, other in enumerate(self._quoted[:position])]
            compare = f"{sign}=" if inclusive and position == last else sign
            terms.append(" AND ".join([*equal, f"{quoted} {compare} ${{{name}{position}}}"]))
        if last == 0:
            return terms[0]
        # The first column alone is what an index is searched by.
        return f"{self._quoted[0]} {sign}= ${{{name}0}} AND ({' OR '.join(f'({term})' for term in terms)})"

    def _binds(self, name: str, key: Key) -> dict[str, object]:
        return {f"{name}{position}": value for position, value in enumerate(key)}

    def _fetch(self, template: str, params: dict[str, object] | None = None) -> Sequence[Sequence[object]]:
        query = Query(self._within(template), {**self._query.params, **(params or {})})
        return self._source.fetch(query)

    def _within(self, template: str) -> str:
        """Put the query between the two halves of ``template``, on lines of its own."""
        before, _, after = template.partition("({})")
        return wrap(self._text, f"{before}(", f"){after}")


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
