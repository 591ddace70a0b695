"""Which indexes of a table serve a key: those that have its columns first, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy

from rivet_core.api.errors import SourceError

if TYPE_CHECKING:
    from rivet_core.api.source import Source, TableName


@dataclass(frozen=True)
class Indexes:
    """The indexes of one table over all of its rows, primary key and unique constraints among them.

    Attributes:
        ordered: the columns of each index that keeps an order, as far as they are columns.
        unique: the columns of which the database keeps the values unique together.
    """

    ordered: tuple[tuple[str, ...], ...]
    unique: tuple[frozenset[str], ...]

    def leads_with(self, key: Sequence[str]) -> bool:
        """Whether rows can be found by the key, and read in its order."""
        return any(columns[: len(key)] == tuple(key) for columns in self.ordered)

    def is_unique(self, key: Sequence[str]) -> bool:
        """Whether no two rows can have the same key."""
        return any(columns <= set(key) for columns in self.unique)


def indexes_of(source: Source, table: TableName) -> Indexes | None:
    """Return the indexes of a table; ``None`` for a view, which has none of its own.

    Raises:
        SourceError: the database does not tell.
    """
    try:
        inspector = sqlalchemy.inspect(source.engine)
        if table.table in inspector.get_view_names(schema=table.schema):
            return None
        primary = inspector.get_pk_constraint(table.table, schema=table.schema)["constrained_columns"]
        unique = [item["column_names"] for item in inspector.get_unique_constraints(table.table, schema=table.schema)]
        indexes: Sequence[Any] = inspector.get_indexes(table.table, schema=table.schema)
    except (sqlalchemy.exc.SQLAlchemyError, NotImplementedError) as error:
        raise SourceError(
            f"the indexes of {table} cannot be read ({type(error).__name__})", hint="grant this user its metadata"
        ) from None
    usable = [index for index in indexes if _is_usable(index)]
    ordered = [primary, *unique, *(_leading_columns(index) for index in usable)]
    whole = [index["column_names"] for index in usable if index["unique"] and None not in index["column_names"]]
    return Indexes(
        ordered=tuple(dict.fromkeys(tuple(columns) for columns in ordered if columns)),
        unique=tuple(frozenset(columns) for columns in [primary, *unique, *whole] if columns),
    )


def _is_usable(index: Mapping[str, Any]) -> bool:
    """Whether an index has all rows, in order. Dialects say what is special in options such as ``postgresql_where``."""
    options = {name.partition("_")[2]: value for name, value in (index.get("dialect_options") or {}).items()}
    return options.get("where") is None and options.get("prefix") is None and options.get("using") in (None, "btree")


def _leading_columns(index: Mapping[str, Any]) -> list[str]:
    """Return the columns before the first expression."""
    names: list[str | None] = list(index["column_names"])
    return [name for name in names[: names.index(None) if None in names else None] if name is not None]
