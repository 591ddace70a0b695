"""Chooses rows of a query by one column, or by a second one where that is NULL; the database alone compares values."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from rivet_core.api.errors import QueryError
from rivet_core.api.source import Query
from rivet_core.api.sql import is_null, quote_name, single_statement, sorts_as_it_compares, wrap
from rivet_core.contract.key_text import KeyValue, kind_of

if TYPE_CHECKING:
    from rivet_core.api.source import Source, SourceColumn, SourceSchema
    from rivet_core.engine.selecting.chunks import Bounds

logger = logging.getLogger(__name__)

_LOW: Final = "rivet_low"
_HIGH: Final = "rivet_high"
# What MySQL and MariaDB keep as a date and no calendar has; the driver gives it as text.
_ZERO_DATE: Final = re.compile(r"\d{4}-(?:00-\d\d|\d\d-00)")


def find_column(schema: SourceSchema, name: str) -> SourceColumn:
    """Return the column of this name.

    Raises:
        QueryError: there is none, or its values have no order.
    """
    known = {column.name: column for column in schema.columns}
    if name not in known:
        raise QueryError(f"there is no column {name}", hint=f"columns: {', '.join(known)}")
    if pa.types.is_nested(known[name].type):
        raise QueryError(f"{name} is a {known[name].source_type}, which has no order", hint="choose another column")
    return known[name]


def is_zero_date(column: SourceColumn, value: KeyValue | None) -> bool:
    """Whether the value of a date or timestamp has a zero month or day, so that it is refused or exported as NULL."""
    is_moment = pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)
    return is_moment and isinstance(value, str) and _ZERO_DATE.match(value) is not None


class Axis:
    """The values of one column, or of the first of two that is not NULL, over the rows of a query.

    Args:
        columns: one column, or two.

    Every method that asks the database raises ``QueryError`` where it refuses.
    """

    def __init__(self, source: Source, query: Query, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._source = source
        self._query = query
        dialect = source.engine.dialect
        self._text = single_statement(query.text, dialect.name)
        quoted = [quote_name(dialect, name) for name in columns]
        self._value = quoted[0] if len(quoted) == 1 else f"COALESCE({', '.join(quoted)})"

    def keeps_order(self, column: SourceColumn) -> bool:
        """Whether values of a column that have been read compare with others as the database sorts them."""
        return sorts_as_it_compares(self._source.engine.dialect, column.source_type)

    def within(self, bounds: Bounds) -> Query:
        """Return the query of the rows between the bounds, of one value each."""
        conditions = []
        params: dict[str, object] = {}
        if bounds.low is not None:
            conditions.append(f"{self._value} {'>=' if bounds.low_inclusive else '>'} ${{{_LOW}}}")
            params[_LOW] = bounds.low[0]
        if bounds.high is not None:
            conditions.append(f"{self._value} <= ${{{_HIGH}}}")
            params[_HIGH] = bounds.high[0]
        return self._where(" AND ".join(conditions) or "1 = 1", params)

    def nothing(self) -> Query:
        """Return the query of no row."""
        return self._where("1 = 0", {})

    def largest(self, low: KeyValue | None = None) -> KeyValue | None:
        """Return the largest value, ``None`` if there is none.

        Args:
            low: only values from this one on.
        """
        return self._outermost("MAX", "DESC", low)

    def smallest(self) -> KeyValue | None:
        """Return the smallest value, ``None`` if there is none."""
        return self._outermost("MIN", "ASC", None)

    def has_rows(self, low: KeyValue, high: KeyValue) -> bool:
        """Whether there is a value from ``low`` up to and with ``high``."""
        return self._exists(f"{self._value} >= ${{{_LOW}}} AND {self._value} <= ${{{_HIGH}}}", {_LOW: low, _HIGH: high})

    def has_null(self) -> bool:
        """Whether a row has no value."""
        dialect = self._source.engine.dialect
        return self._exists(is_null(dialect, self._value) if len(self.columns) == 1 else f"{self._value} IS NULL", {})

    def _where(self, condition: str, params: Mapping[str, object]) -> Query:
        text = wrap(self._text, "SELECT * FROM (", f") AS rivet_window WHERE {condition}")
        return replace(self._query, text=text, params={**self._query.params, **params})

    def _exists(self, condition: str, params: Mapping[str, object]) -> bool:
        before = "SELECT CASE WHEN EXISTS (SELECT 1 FROM ("
        ((found,),) = self._fetch(before, f") AS rivet_rows WHERE {condition}) THEN 1 ELSE 0 END", params)
        return bool(found)

    def _outermost(self, function: str, order: str, low: KeyValue | None) -> KeyValue | None:
        condition = f"{self._value} IS NOT NULL"
        params: dict[str, object] = {}
        if low is not None:
            condition, params = f"{self._value} >= ${{{_LOW}}}", {_LOW: low}
        try:
            rows = self._fetch(
                f"SELECT {function}({self._value}) FROM (", f") AS rivet_values WHERE {condition}", params
            )
        except QueryError:  # PostgreSQL before 18 has none for UUIDs and bytes
            logger.debug("no %s of %s", function, self._value)
            rows = self._fetch(
                f"SELECT rivet_value FROM (SELECT {self._value} AS rivet_value, "
                f"ROW_NUMBER() OVER (ORDER BY {self._value} {order}) AS rivet_row FROM (",
                f") AS rivet_values WHERE {condition}) AS rivet_numbered WHERE rivet_row = 1",
                params,
            )
        value = rows[0][0] if rows else None
        if value is None:
            return None
        try:
            kind_of(value)
        except ValueError:
            raise QueryError(
                f"{' or '.join(self.columns)} holds a {type(value).__name__}, which has no exact bounds",
                hint="choose a column of whole numbers, decimals, dates, timestamps, text or UUIDs",
            ) from None
        return value  # type: ignore[return-value]  # kind_of has refused everything else

    def _fetch(self, before: str, after: str, params: Mapping[str, object]) -> Sequence[Sequence[object]]:
        query = Query(wrap(self._text, before, after), {**self._query.params, **params})
        return self._source.fetch(query)
