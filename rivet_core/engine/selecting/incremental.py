"""Plans an incremental run: the rows from the last cursor, minus the lag, to the largest cursor when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from rivet_core.api.errors import QueryError, SafetyError
from rivet_core.contract.key_text import KeyValue, from_text, kind_of, to_text
from rivet_core.contract.manifest import Extraction
from rivet_core.contract.types import parse_type, type_name
from rivet_core.engine.plain import plain_type
from rivet_core.engine.selecting.axis import Axis, find_column, is_zero_date
from rivet_core.engine.selecting.chunks import Bounds, Chunk, ChunkPlan
from rivet_core.engine.selecting.delivered import is_same_kind
from rivet_core.engine.selecting.keys import has_heirs, primary_key
from rivet_core.engine.selecting.selection import Selection, Window

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import Incremental
    from rivet_core.contract.manifest import Column, Manifest
    from rivet_core.engine.selecting.position import Position

_NEW_DATASET: Final = "start a new dataset at another prefix"
_SMALLEST: Final = -(2**63)


def plan_increment(
    source: Source,
    query: Query,
    schema: SourceSchema,
    settings: Incremental,
    *,
    position: Position,
    recorded: Bounds | None = None,
) -> Selection:
    """Choose the rows that are new, and those that may be.

    Args:
        position: where the export has got to.
        recorded: the bounds of the run that this one goes on with.

    Raises:
        QueryError: cursor or key are no columns that can be one, or a row has no cursor.
        SafetyError: the last cursor does not fit the source any more.
    """
    columns = (settings.cursor, settings.fallback) if settings.fallback else (settings.cursor,)
    key = delivery_key(source, query, schema, settings)
    axis = Axis(source, query, columns)
    _check_cursor(axis, schema)
    bounds = recorded or _window(axis, schema, settings, position.cursor)
    statement = axis.nothing() if bounds.high is None else axis.within(bounds)
    extraction = Extraction(
        strategy="incremental",
        cursor_column=settings.cursor,
        cursor_type=type_name(find_column(schema, settings.cursor).type),
        cursor_low=_first_cursor(axis, bounds, position.dataset),
        cursor_high=position.cursor if bounds.high is None else to_text(bounds.high[0]),
    )
    low = bounds.low[0] if bounds.low else None
    return Selection(
        ChunkPlan((settings.cursor,), (Chunk(1, statement, bounds),)),
        extraction,
        Window(axis, key, low, is_empty=bounds.high is None),
    )


def refuse_other_cursor(before: Sequence[Column], schema: SourceSchema, settings: Incremental, cursor: str) -> None:
    """Refuse cursors that have become values of another kind: the last one may then lie above rows that are new.

    Args:
        before: the columns of the run that the last cursor is from.
        cursor: the last one.

    Raises:
        SafetyError: the column's values are equal and in order no longer as they were.
    """
    earlier = {column.name: column.type for column in before}
    now = {column.name: column.type for column in schema.columns}
    for name in (settings.cursor, settings.fallback):
        if name is None or name not in earlier or name not in now or earlier[name] == type_name(now[name]):
            continue
        if not is_same_kind(plain_type(parse_type(earlier[name])), plain_type(now[name])):
            raise SafetyError(
                f"the last cursor was {cursor} when {name} was {earlier[name]}; now that it is {type_name(now[name])}, "
                "new rows may lie below",
                hint=f"the column's type was changed; {_NEW_DATASET}",
            )


def delivery_key(source: Source, query: Query, schema: SourceSchema, settings: Incremental) -> tuple[str, ...]:
    """Return the columns by which rows are known that were delivered: the configured ones, else the primary key.

    Raises:
        QueryError: there is none, or rows cannot be told apart by it.
    """
    return _check_key(_key(source, query, settings), schema)


def _first_cursor(axis: Axis, bounds: Bounds, before: Manifest | None) -> str | None:
    """Return the first cursor of the dataset."""
    if before is not None and before.source.extraction.cursor_low is not None:
        return before.source.extraction.cursor_low
    first = bounds.low[0] if bounds.low else axis.smallest()
    return None if first is None else to_text(first)


def _key(source: Source, query: Query, settings: Incremental) -> tuple[str, ...]:
    columns = settings.key or primary_key(source, query)
    if not columns:
        raise QueryError(
            f"{query.table or 'a query'} has no primary key to tell rows apart by",
            hint="name the columns that are unique together with key",
        )
    if not settings.key and has_heirs(source, query):
        raise QueryError(
            f"the primary key of {query.table} does not hold for the rows of tables that inherit from it",
            hint="name the columns that are unique together, in all of these tables, with key",
        )
    return columns


def _check_key(key: tuple[str, ...], schema: SourceSchema) -> tuple[str, ...]:
    for name in key:
        if pa.types.is_floating(find_column(schema, name).type):
            raise QueryError(f"{name} is floating point, by which rows cannot be told apart", hint="choose another key")
    return key


def _check_cursor(axis: Axis, schema: SourceSchema) -> None:
    found = [find_column(schema, name) for name in axis.columns]
    for column in found:
        is_exact = not pa.types.is_floating(column.type) and not pa.types.is_boolean(column.type)
        if not is_exact or not axis.keeps_order(column):
            raise QueryError(
                f"{column.name} cannot be the cursor, for it is a {column.source_type or type_name(column.type)}",
                hint="choose a column of whole numbers, decimals, dates, timestamps, text or UUIDs",
            )
    if (
        len({column.type for column in found if not pa.types.is_integer(column.type)})
        + any(pa.types.is_integer(column.type) for column in found)
        != 1
    ):
        raise QueryError(
            f"{' and '.join(axis.columns)} are of different types, so one cannot stand in for the other",
            hint="choose columns of one type, or convert one in a query",
        )
    if all(column.nullable for column in found) and axis.has_null():
        raise QueryError(
            f"a row has NULL in {' and '.join(axis.columns)}, so no run would ever deliver it",
            hint="name a column that is never NULL with cursor_fallback_column, or leave such rows out in a query",
        )


def _window(axis: Axis, schema: SourceSchema, settings: Incremental, cursor: str | None) -> Bounds:
    """Return the bounds of the rows to read; without a ``high`` there are none."""
    newest = axis.largest()
    if is_zero_date(find_column(schema, settings.cursor), newest):
        raise QueryError(
            f"the largest {settings.cursor} is {newest!s}, which is no date that a run can go on from",
            hint="correct that row, or leave such rows out in a query",
        )
    if newest is None:
        return Bounds()
    if cursor is None:
        return Bounds(high=(newest,))
    last = _parse(cursor, newest, settings.cursor)
    low = last if settings.lag is None else _earlier(last, settings.lag, settings.cursor)
    # The last cursor may be above every row: they were deleted since.
    high = axis.largest(low=last)
    return Bounds((low,), (last if high is None else high,), low_inclusive=True)


def _parse(cursor: str, like: KeyValue, column: str) -> KeyValue:
    """Return the last cursor as what the driver gives and takes for the column."""
    try:
        return from_text(kind_of(like), cursor)
    except ValueError:
        raise SafetyError(
            f"the last cursor of {column} was {cursor}, which is none of its type now ({kind_of(like)})",
            hint=f"the column's type was changed; {_NEW_DATASET}",
        ) from None


def _earlier(last: KeyValue, lag: timedelta | int, column: str) -> KeyValue:
    """Return the value that lies ``lag`` before ``last``.

    Raises:
        QueryError: such values and this lag do not go together.
    """
    match last, lag:
        case int(), int():
            return max(last - lag, min(last, _SMALLEST))  # what is smaller, no driver takes
        case Decimal(), int():
            return last - lag
        case datetime(), timedelta():
            return (
                last - lag
                if last.replace(tzinfo=None) - datetime.min > lag
                else datetime.min.replace(tzinfo=last.tzinfo)
            )
        case date(), timedelta():
            return last - min(-(-lag // timedelta(days=1)) * timedelta(days=1), last - date.min)
        case str(), timedelta() if (moment := _moment(last)) is not None:
            # The beginning of that day, which is before all its times in whatever form they are written.
            return (moment - min(lag, moment - datetime.min)).date().isoformat()
    wanted = "a duration, such as 2h or 7d" if isinstance(last, date) else "a number"
    raise QueryError(
        f"the lag does not fit {column}, whose values are of the kind {kind_of(last)}",
        hint="leave lag out" if isinstance(last, str | bytes) or kind_of(last) == "uuid" else f"write lag as {wanted}",
    )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None
