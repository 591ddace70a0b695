"""Plans a run of mode ``time_window``: the rows of the last days before the run's start, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from rivet_core.api.errors import QueryError
from rivet_core.contract.key_text import KeyValue, to_text
from rivet_core.contract.manifest import Extraction
from rivet_core.contract.types import type_name
from rivet_core.engine.selecting.axis import Axis, find_column, is_zero_date
from rivet_core.engine.selecting.chunks import Bounds, Chunk, ChunkPlan
from rivet_core.engine.selecting.selection import Selection

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source, SourceColumn, SourceSchema
    from rivet_core.config import TimeWindow

_UNITS: Final = {"seconds": timedelta(seconds=1), "milliseconds": timedelta(milliseconds=1)}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_CHARACTERS: Final = len("2026-11-22")
# Python reads more forms than the one in which the moment of the window is written, and which compares with it.
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(?!\d)", re.ASCII)


def plan_window(
    source: Source,
    query: Query,
    schema: SourceSchema,
    window: TimeWindow,
    *,
    started_at: datetime,
    recorded: Bounds | None = None,
) -> Selection:
    """Choose the rows of the window.

    Args:
        started_at: start of the run, timezone-aware.
        recorded: the bounds of the run that this one resumes.

    Raises:
        QueryError: there is no such column, or it holds no time in the configured unit.
    """
    column = find_column(schema, window.column)
    axis = Axis(source, query, [column.name])
    bounds = recorded or Bounds(low=(_first_moment(axis, column, window, started_at),), low_inclusive=True)
    return Selection(
        ChunkPlan((column.name,), (Chunk(1, axis.within(bounds), bounds),)),
        Extraction(
            strategy="time_window",
            cursor_column=column.name,
            cursor_type=type_name(column.type),
            cursor_low=None if bounds.low is None else to_text(bounds.low[0]),
        ),
    )


def _first_moment(axis: Axis, column: SourceColumn, window: TimeWindow, started_at: datetime) -> KeyValue:
    """Return the first moment of the window as the column has its values."""
    start = started_at.astimezone(UTC) - timedelta(days=window.days)
    is_number = (
        pa.types.is_integer(column.type) or pa.types.is_decimal(column.type) or pa.types.is_floating(column.type)
    )
    if window.unit != "timestamp":
        if not is_number:
            raise _refused(column, f"no {window.unit} since 1970", "leave time_unit out for dates and timestamps")
        return (start - _EPOCH) // _UNITS[window.unit]
    if is_number:
        raise _refused(column, "no date or timestamp", "set time_unit to seconds or milliseconds")
    latest = axis.largest()
    if isinstance(latest, str) and not is_zero_date(column, latest):
        return _as_text(start, latest, column)
    if pa.types.is_date(column.type):
        return start.date()
    if pa.types.is_timestamp(column.type):
        return start if column.type.tz is not None else start.replace(tzinfo=None)
    if latest is None:
        return start.isoformat(sep=" ")
    raise _refused(column, "no date or timestamp", "choose another time_column")


def _as_text(start: datetime, latest: str, column: SourceColumn) -> str:
    """Return the moment in the form of a text that holds one, as SQLite keeps dates: they compare as text."""
    try:
        if not _DATE.match(latest):
            raise ValueError(latest)
        like = datetime.fromisoformat(latest)
    except ValueError:
        raise _refused(column, "text that is no date", "write dates as 2026-11-22 or 2026-11-22 17:21:00") from None
    local = start.astimezone(like.tzinfo or UTC).replace(tzinfo=None)
    if len(latest) <= _DATE_CHARACTERS:
        return local.date().isoformat()
    return local.isoformat(sep=latest[_DATE_CHARACTERS])


def _refused(column: SourceColumn, holds: str, hint: str) -> QueryError:
    return QueryError(f"time_column {column.name} is a {column.source_type or 'column'} and holds {holds}", hint=hint)
