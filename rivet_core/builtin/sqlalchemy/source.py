"""The SQLAlchemy source: one class for every engine, over the backend that knows the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy

from rivet_core.api import (
    Check,
    Query,
    QueryError,
    ReadOptions,
    RivetError,
    Snapshot,
    Source,
    SourceContext,
    SourceSchema,
    TableName,
)
from rivet_core.builtin.sqlalchemy.columns import Reader, readers
from rivet_core.builtin.sqlalchemy.connect import open_engine, resolve_address
from rivet_core.builtin.sqlalchemy.generic import Generic
from rivet_core.builtin.sqlalchemy.mysql import Mysql
from rivet_core.builtin.sqlalchemy.postgres import Postgres
from rivet_core.builtin.sqlalchemy.sqlite import Sqlite
from rivet_core.builtin.sqlalchemy.stream import ArrowBatches, Limits, Locate, Row

if TYPE_CHECKING:
    from rivet_core.builtin.sqlalchemy.backend import Backend
    from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig

_BACKENDS: Final[dict[str, type[Backend]]] = {"postgresql": Postgres, "mysql": Mysql, "sqlite": Sqlite}
_MAX_KEY_CHARACTERS: Final = 100


def open_source(config: SqlalchemyConfig, context: SourceContext) -> SqlalchemySource:
    """Open the source; nothing connects before the first query.

    Raises:
        ConfigError: the configuration names no usable database.
        DriverMissing: the dialect or its driver is not installed.
    """
    address = resolve_address(config, context.base_dir)
    engine = open_engine(address)
    backend = _BACKENDS.get(engine.dialect.name, Generic)
    opened = backend(engine, context.options, tls_required=address.tls_required, read_timeout=config.read_timeout)
    return SqlalchemySource(opened, context.options)


class SqlalchemySource(Source):
    """A database that SQLAlchemy has a dialect for.

    Args:
        backend: what is specific to the engine.
        options: how the export wants its values read.
    """

    def __init__(self, backend: Backend, options: ReadOptions) -> None:
        self.engine_name = backend.name if backend.name != Generic.name else backend.engine.dialect.name
        self.engine = backend.engine
        self._backend = backend
        self._options = options

    def table_query(self, table: str) -> Query:
        """Return the query that reads one whole table or view."""
        with self._backend.failures():
            name = self._find_table(table)
            return Query(self._backend.table_text(name), table=name)

    def describe(self, query: Query) -> SourceSchema:
        """Return the columns of the query's result."""
        columns = self._backend.describe(query)
        resolved = readers(columns, self._options, self._backend.decoder)
        return SourceSchema([reader.column for reader in resolved])

    @contextmanager
    def read(self, query: Query, *, batch_bytes: int, snapshot: Snapshot | None = None) -> Iterator[ArrowBatches]:
        """Stream the rows; the connection is the stream's own meanwhile, and goes with one that ends early."""
        with self._backend.run(query, snapshot) as result:
            resolved = readers(result.columns, self._options, self._backend.decoder)
            yield ArrowBatches(
                resolved,
                result.rows,
                Limits(batch_bytes, self._options.max_value_bytes),
                self._backend.failures,
                self._locator(query, resolved),
                clock=result.clock,
            )

    def fetch(self, query: Query, *, snapshot: Snapshot | None = None) -> Sequence[Sequence[object]]:
        """Run a small query of the core's own; errors of the driver are mapped."""
        with self._backend.failures():
            return super().fetch(query) if snapshot is None else self._backend.fetch(query, snapshot)

    def snapshot(self, query: Query, workers: int) -> AbstractContextManager[Snapshot | None]:
        """Open one view for all workers: of PostgreSQL, and of MySQL where its grants allow it."""
        return self._backend.snapshot(query, workers)

    def approximate_rows(self, query: Query) -> int | None:
        """Return the engine's estimate for a whole table; ``None`` for any other query."""
        if query.table is None:
            return None
        try:
            return self._backend.approximate_rows(query.table)
        except RivetError:
            return None  # progress without a total is no reason to fail

    def close(self) -> None:
        """Close all connections."""
        self._backend.close()
        super().close()

    def check(self) -> Iterator[Check]:
        """Connect, and report what answers."""
        try:
            with self._backend.failures(), self.engine.connect() as connection:
                answers = list(self._backend.server_checks(connection))  # SQLite opens any file; only these read it
            yield Check("source", "ok", f"{self.engine_name} is reachable")
            yield from answers
        except RivetError as error:
            yield Check("source", "failed", error.message, error.hint)

    def _find_table(self, name: str) -> TableName:
        inspector = sqlalchemy.inspect(self.engine)
        schema, dot, table = name.partition(".")
        for candidate in [TableName(name), *([TableName(table, schema)] if dot else [])]:
            if _exists(inspector, candidate):
                return candidate
        wanted = TableName(table, schema) if dot else TableName(name)
        known = _tables(inspector, wanted.schema)
        similar = get_close_matches(wanted.table, known, n=3) or [
            table for table in known if table.lower() == wanted.table.lower()
        ]
        raise QueryError(
            f"there is no table or view {name}",
            hint=f"similar ones: {', '.join(str(TableName(item, wanted.schema)) for item in similar)}"
            if similar
            else "names are case-sensitive; write schema.table for another schema",
        )

    def _locator(self, query: Query, resolved: list[Reader]) -> Locate:
        """Return what names a row in an error: its number, and the row's key where a whole table is read."""

        def locate(number: int, row: Row) -> str:
            key = self._row_key(query, [reader.column.name for reader in resolved], number, row)
            key = key[:_MAX_KEY_CHARACTERS].encode(errors="replace").decode()
            return f"row {number}" + (f" ({key})" if key else "")

        return locate

    def _row_key(self, query: Query, names: list[str], number: int, row: Row) -> str:
        if query.table is None:
            return ""
        try:
            with self._backend.failures():
                if query.text == self._backend.table_text(query.table):
                    key = self._backend.row_key(query.table, number)
                    if key:
                        return key
                constraint: Any = sqlalchemy.inspect(self.engine).get_pk_constraint(
                    query.table.table, schema=query.table.schema
                )
        except RivetError:
            return ""  # the refusal matters more than the key
        columns = constraint["constrained_columns"]
        return ", ".join(f"{name} = {row[names.index(name)]}" for name in columns if name in names)


def _exists(inspector: sqlalchemy.Inspector, name: TableName) -> bool:
    return inspector.has_table(name.table, schema=name.schema)


def _tables(inspector: sqlalchemy.Inspector, schema: str | None) -> list[str]:
    if schema is not None and schema not in inspector.get_schema_names():
        return []
    return [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]
