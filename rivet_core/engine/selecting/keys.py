"""The primary key of a table, for what needs to tell its rows apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source


def primary_key(source: Source, query: Query) -> tuple[str, ...]:
    """Return the columns of the primary key in its order; none for a query, a view, and a table without one."""
    if query.table is None:
        return ()
    inspector = sqlalchemy.inspect(source.engine)
    return tuple(inspector.get_pk_constraint(query.table.table, schema=query.table.schema)["constrained_columns"])
