"""How unequal the chunks of a key would be, from a few looks along its index; no look reads more than its bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from sqlalchemy import func, literal, select

from rivet_core.api.errors import SourceError

if TYPE_CHECKING:
    from rivet_core.api.source import Source, TableName

_POINTS: Final = 8
#: A look that finds so many rows ends.
_MOST_ROWS: Final = 1_000_000


@dataclass(frozen=True)
class Skew:
    """What the looks have found.

    Attributes:
        looks: how many places were looked at.
        largest: rows of the fullest one; at least so many where it is ``_MOST_ROWS``.
        periods: for chunks of days how many there are, from the first day to the last.
    """

    looks: int
    largest: int
    periods: int | None = None

    @property
    def at_least(self) -> str:
        """``at least `` where the count was ended."""
        return "at least " if self.largest >= _MOST_ROWS else ""


class KeyLooks:
    """Looks at one indexed column of a table.

    Every method raises ``SourceError`` when the database fails.
    """

    def __init__(self, source: Source, table: TableName, column: str) -> None:
        self._engine = source.engine
        self._column: Any = sqlalchemy.column(column)
        self._table = sqlalchemy.table(table.table, self._column, schema=table.schema)

    def repeated_keys(self) -> Skew | None:
        """Look how many rows share a key, at the first, the last and keys between them; ``None`` without keys."""
        first, last = self._ends()
        if last is None:
            return None
        keys = dict.fromkeys([first, last, *filter(None, map(self._next_key, _between(first, last)))])
        return Skew(len(keys), max(self._count(self._column == _bind(key)) for key in keys))

    def periods(self, days: int) -> Skew | None:
        """Look how many rows some periods of ``days`` days have; ``None`` without keys, or where they are no dates."""
        first, last = map(_as_day, self._ends())
        if first is None or last is None:
            return None
        periods = (last - first).days // days + 1
        looked_at = sorted({(periods - 1) * point // _POINTS for point in range(_POINTS + 1)})
        starts = [first + timedelta(days=days * number) for number in looked_at]
        span = timedelta(days=days)
        counts = [
            self._count((self._column >= _bind(start)) & (self._column < _bind(start + span))) for start in starts
        ]
        return Skew(len(counts), max(counts), periods)

    def _ends(self) -> tuple[Any, Any]:
        # One statement each: together they would read the whole index in some engines.
        first, last = (self._scalar(select(end(self._column)).select_from(self._table)) for end in (func.min, func.max))
        return first, last

    def _next_key(self, value: Any) -> Any:
        return self._scalar(select(func.min(self._column)).select_from(self._table).where(self._column >= _bind(value)))

    def _count(self, condition: Any) -> int:
        found = select(literal(1).label("found")).select_from(self._table).where(condition).limit(_MOST_ROWS).subquery()
        return int(self._scalar(select(func.count()).select_from(found)))

    def _scalar(self, statement: Any) -> Any:
        try:
            with self._engine.connect() as connection:
                return connection.execute(statement).scalar()
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise SourceError(
                f"the keys cannot be looked at ({type(error).__name__})", hint="nothing depends on it but this check"
            ) from None


def _bind(value: Any) -> Any:
    """Return a parameter that no type of SQLAlchemy touches: the driver's own value comes back to it."""
    return sqlalchemy.bindparam(None, value, type_=sqlalchemy.types.NullType())


def _between(first: Any, last: Any) -> Iterator[Any]:
    """Yield values that are evenly spaced between two keys; none for keys that cannot be added."""
    if type(first) is not type(last) or not isinstance(first, int | Decimal | date):
        return
    low: Any = first
    for point in range(1, _POINTS):
        span: Any = last - low
        yield low + (span * point // _POINTS if isinstance(span, int) else span * point / _POINTS)


def _as_day(value: Any) -> date | None:
    """Return a date as it is, and a timestamp at midnight; SQLite's, which are text, are left alone."""
    if isinstance(value, datetime):
        return value.replace(hour=0, minute=0, second=0, microsecond=0)
    return value if isinstance(value, date) else None
