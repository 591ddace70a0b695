"""The text of COPY statements: literals instead of binds, and the columns that the server turns into text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Escaping

if TYPE_CHECKING:
    from rivet_postgres.columns import CopiedColumn
    from rivet_postgres.pages import PageRange

Quote = Callable[[str], str]


def with_literals(connection: Any, statement: str, params: Mapping[str, object] | None) -> str:
    """Return a statement with ``%(name)s`` binds as one without, for COPY takes none.

    Args:
        connection: a live connection of psycopg, whose adapters and encoding decide how a value is written.
    """
    if params is None:
        return statement
    return statement % {name: literal(connection, value) for name, value in params.items()}


def literal(connection: Any, value: object) -> str:
    """Return a value as SQL that means the same, and has the same type, as if it were bound."""
    if value is None:
        return "NULL"
    dumper = Transformer(connection).get_dumper(value, PyFormat.TEXT)
    dumped = dumper.dump(value)
    if dumped is None:
        return "NULL"
    text: str = Escaping(connection.pgconn).escape_literal(bytes(dumped)).decode()
    info = connection.adapters.types.get(dumper.oid) if dumper.oid else None
    if info is None:
        return text
    suffix = "[]" if dumper.oid == info.array_oid else ""
    return f"({text.strip()}::pg_catalog.{info.name}{suffix})"


def select_list(columns: Sequence[CopiedColumn], quote: Quote) -> str:
    """Return the columns as COPY shall send them."""
    return ", ".join(
        _as_text(quote(column.reader.column.name)) if column.as_text else quote(column.reader.column.name)
        for column in columns
    )


def copy_query(query: str, columns: Sequence[CopiedColumn], quote: Quote) -> str:
    """Return the statement that copies a query's rows. The query stands on lines of its own."""
    if any(column.as_text for column in columns):
        query = f"SELECT {select_list(columns, quote)} FROM (\n{query}\n) AS rivet_query"
    return f"COPY (\n{query}\n) TO STDOUT (FORMAT binary)"


def copy_range(columns: Sequence[CopiedColumn], quote: Quote, range_: PageRange) -> str:
    """Return the statement that copies the rows in some pages."""
    return copy_query(select_range(select_list(columns, quote), range_), [], quote)


def select_range(columns: str, range_: PageRange) -> str:
    """Return the query for columns of the rows in some pages."""
    query = f"SELECT {columns} FROM {range_.relation.name}"
    if range_.relation.pages is None:
        return query
    above = f"{query} WHERE ctid >= '({range_.low},0)'::pg_catalog.tid"
    return above if range_.high is None else f"{above} AND ctid < '({range_.high},0)'::pg_catalog.tid"


def _as_text(name: str) -> str:
    """Return the text that the type's output function makes; a cast to text may be another function.

    ``IS NULL`` is no test for NULL: it is true of a composite value without a field, too.
    """
    return f"CASE WHEN pg_catalog.num_nulls({name}) = 0 THEN pg_catalog.format('%s', {name}) END"
