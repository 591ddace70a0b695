"""What the metadata of a table says about its keys: which tells the rows apart, and whether an index has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy

from rivet_core.api.errors import SourceError
from rivet_core.api.sql import find_heirs
from rivet_core.engine.looking.indexes import indexes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rivet_core.api.source import Query, Source


def primary_key(source: Source, query: Query) -> tuple[str, ...]:
    """Return the columns of the primary key in its order; none for a query, a view, and a table without one."""
    if query.table is None:
        return ()
    inspector = sqlalchemy.inspect(source.engine)
    return tuple(inspector.get_pk_constraint(query.table.table, schema=query.table.schema)["constrained_columns"])


def has_heirs(source: Source, query: Query) -> bool:
    """Whether other tables inherit from the query's, for whose rows its primary key does not hold."""
    statement = find_heirs(source.engine.dialect, query.table) if query.table is not None else None
    return statement is not None and bool(source.fetch(statement))


def is_indexed(source: Source, query: Query, columns: Sequence[str]) -> bool:
    """Whether an index keeps the rows of a table in the order of a key; of a query or a view nobody knows."""
    if query.table is None:
        return False
    try:
        indexes = indexes_of(source, query.table)
    except SourceError:
        return False
    return indexes is not None and indexes.leads_with(columns)
