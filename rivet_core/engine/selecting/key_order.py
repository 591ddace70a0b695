"""Finds keys of a query in the order that its database gives them: the outermost ones, and the last of every so many.

The keys are the driver's own values, read and bound again, so that the database alone compares them: in whatever order
a collation or a type has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rivet_core.api.errors import QueryError
from rivet_core.api.source import Query
from rivet_core.api.sql import compares_rows, has_limit, is_null, quote_name, single_statement, wrap
from rivet_core.contract.key_text import KeyValue, kind_of

if TYPE_CHECKING:
    from rivet_core.api.source import Source

logger = logging.getLogger(__name__)

#: From so many rows on one step along an index is a statement of its own: what it costs does not show beside the walk.
LONG_STEP: Final = 10_000
#: Rows of several shorter steps that are one statement.
STRIDE: Final = 100_000

_LOW: Final = "rivet_low_"
_HIGH: Final = "rivet_high_"
_SIZE: Final = "rivet_size"
#: One value for each column of the key, as the driver gives them.
Key = tuple[KeyValue, ...]
#: A condition in SQL, and the values of its binds.
Condition = tuple[str, dict[str, object]]


class KeyOrder:
    """Asks a query for its keys. Every method that does so raises ``QueryError`` where the database refuses.

    Args:
        columns: the key.
    """

    def __init__(self, source: Source, query: Query, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self._source = source
        self._params = query.params
        dialect = source.engine.dialect
        self._text = single_statement(query.text, dialect.name)
        self._quoted = [quote_name(dialect, name) for name in columns]
        self._keys = ", ".join(self._quoted)
        self._has_limit = has_limit(dialect)
        self._compares_rows = compares_rows(dialect)

    def within(self, low: Key | None, high: Key | None) -> Condition:
        """Return the condition for keys above ``low``, up to and with ``high``; ``None`` is open."""
        shared = 0 if low is None or high is None else _shared(low, high)
        conditions = [f"{name} = ${{{_LOW}{position}}}" for position, name in enumerate(self._quoted[:shared])]
        params: dict[str, object] = {}
        for key, sign, name in ((low, ">", _LOW), (high, "<=", _HIGH)):
            if key is not None:
                conditions.append(self._beyond(sign, name, shared))
                params |= {f"{name}{position}": value for position, value in enumerate(key)}
        return " AND ".join(conditions), params

    def missing(self) -> str:
        """Return the condition for rows without a key."""
        return is_null(self._source.engine.dialect, self._quoted[0])

    def largest(self) -> Key | None:
        """Return the largest key."""
        return self._outermost("MAX", "DESC")

    def smallest(self) -> Key | None:
        """Return the smallest key."""
        return self._outermost("MIN", "ASC")

    def count(self) -> int:
        """Return the number of all rows."""
        ((rows,),) = self._fetch("SELECT COUNT(*) FROM ({}) AS rivet_rows")
        return int(str(rows))

    def every(self, size: int, last: Key, *, indexed: bool) -> Iterator[Key]:
        """Yield the last key of every ``size`` rows, in order, up to ``last``, which may or may not be among them.

        By an index it takes short statements, each of which walks along the entries of one step or of a few; without
        one it takes a single statement that sorts all keys. Where keys repeat, a statement goes on above the key that
        the one before has ended with, so that only for unique ones all statements together find what a single one does.

        Args:
            indexed: whether an index keeps the keys in order.
        """
        if not (indexed and self._has_limit):
            yield from self._number(size, None, last)
            return
        steps = 1 if size >= LONG_STEP else max(1, STRIDE // size)
        low: Key | None = None
        while keys := self._after(low, size, last) if steps == 1 else self._number(size, low, last, steps * size):
            if keys[-1] == low:  # the driver has rounded it
                logger.debug("%s cannot be walked along", self._keys)
                yield from self._number(size, low, last)
                return
            yield from keys
            if len(keys) < steps:
                return
            low = keys[-1]

    def _after(self, low: Key | None, size: int, last: Key) -> list[Key]:
        """Return the key of the ``size``-th row above ``low``, if there is one."""
        condition, params = self.within(low, last)
        rows = self._fetch(
            f"SELECT {self._keys} FROM ({{}}) AS rivet_keys WHERE {condition} "
            f"ORDER BY {self._keys} LIMIT 1 OFFSET {size - 1:d}",
            params,
        )
        return [self._key(row) for row in rows]

    def _number(self, size: int, low: Key | None, last: Key, limit: int | None = None) -> list[Key]:
        """Return the key of every ``size``-th row above ``low``, of the first ``limit`` rows there."""
        condition, params = self.within(low, last)
        keys = f"({{}}) AS rivet_keys WHERE {condition}"
        if limit is not None:
            keys = f"(SELECT {self._keys} FROM {keys} ORDER BY {self._keys} LIMIT {limit:d}) AS rivet_first"
        numbered = f"SELECT {self._keys}, ROW_NUMBER() OVER (ORDER BY {self._keys}) AS rivet_row FROM {keys}"
        rows = self._fetch(
            f"SELECT {self._keys} FROM ({numbered}) AS rivet_numbered "
            f"WHERE rivet_row % ${{{_SIZE}}} = 0 ORDER BY rivet_row",
            {_SIZE: size, **params},
        )
        return [self._key(row) for row in rows]

    def _outermost(self, function: str, order: str) -> Key | None:
        """Return the first key in an order; ``function`` finds it by an index alone, where the type has it."""
        if len(self.columns) == 1:
            try:
                ((value,),) = self._fetch(f"SELECT {function}({self._keys}) FROM ({{}}) AS rivet_keys")
            except QueryError:  # PostgreSQL before 18 has none for UUIDs and bytes
                logger.debug("no %s of %s", function, self.columns[0])
            else:
                return None if value is None else self._key([value])
        ordered = ", ".join(f"{name} {order}" for name in self._quoted)
        keys = f"FROM ({{}}) AS rivet_keys WHERE {self._quoted[0]} IS NOT NULL"
        if self._has_limit:
            rows = self._fetch(f"SELECT {self._keys} {keys} ORDER BY {ordered} LIMIT 1")
        else:
            numbered = f"SELECT {self._keys}, ROW_NUMBER() OVER (ORDER BY {ordered}) AS rivet_row {keys}"
            rows = self._fetch(f"SELECT {self._keys} FROM ({numbered}) AS rivet_numbered WHERE rivet_row = 1")
        return self._key(rows[0]) if rows else None

    def _key(self, row: Sequence[object]) -> Key:
        values = row[: len(self.columns)]
        for name, value in zip(self.columns, values, strict=True):
            try:
                kind_of(value)
            except ValueError as error:
                raise QueryError(f"{name}: {error}", hint="choose another chunk_column, or mode: full") from None
        return tuple(values)  # type: ignore[arg-type]  # kind_of has refused everything else

    def _beyond(self, sign: str, name: str, start: int) -> str:
        """Compare the key with a bound, column by column as tuples are.

        Args:
            name: how the binds of the bound begin.
            start: the first column that may differ; those before it are equal.
        """
        columns = [(quoted, f"${{{name}{position}}}") for position, quoted in enumerate(self._quoted)][start:]
        if len(columns) > 1 and self._compares_rows:
            values = ", ".join(bind for _, bind in columns)
            return f"({', '.join(quoted for quoted, _ in columns)}) {sign} ({values})"
        terms = []
        equal = ""
        for quoted, bind in columns[:-1]:
            terms.append(f"({equal}{quoted} {sign[0]} {bind})")
            equal += f"{quoted} = {bind} AND "
        quoted, bind = columns[-1]
        terms.append(f"({equal}{quoted} {sign} {bind})")
        if len(terms) == 1:
            return terms[0]
        # The first column alone is what some search an index by.
        quoted, bind = columns[0]
        return f"{quoted} {sign[0]}= {bind} AND ({' OR '.join(terms)})"

    def _fetch(self, template: str, params: dict[str, object] | None = None) -> Sequence[Sequence[object]]:
        """Put the query between the two halves of ``template``, on lines of its own, and return the rows."""
        before, _, after = template.partition("({})")
        text = wrap(self._text, f"{before}(", f"){after}")
        return self._source.fetch(Query(text, {**self._params, **(params or {})}))


def _shared(low: Key, high: Key) -> int:
    """Return how many columns are equal from the first one on; never all of them."""
    pairs = list(zip(low, high, strict=True))[:-1]
    return next((position for position, (one, other) in enumerate(pairs) if one != other), len(pairs))
