"""PostgreSQL as the built-in source knows it, with its connection at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import IsolationLevel

from rivet_core.builtin.sqlalchemy.postgres import Postgres
from rivet_core.builtin.sqlalchemy.postgres_session import drop, settle
from rivet_core.builtin.sqlalchemy.postgres_snapshot import adopt
from rivet_postgres.statements import with_literals, within_pages

if TYPE_CHECKING:
    from collections.abc import Generator

    from rivet_core.api import Query, Snapshot, TableName
    from rivet_core.builtin.sqlalchemy.clock import Clock
    from rivet_core.builtin.sqlalchemy.columns import ResultColumn
    from rivet_core.builtin.sqlalchemy.stream import Row

#: The first version that finds the rows of some pages without reading all of them.
_TID_RANGE_VERSION: Final = 140_000
_CURSOR: Final = "rivet_read"
_PAGES: Final = """
SELECT pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_am a ON a.oid = c.relam
WHERE c.oid = pg_catalog.to_regclass(%s) AND c.relkind IN ('r', 'm') AND a.amname = 'heap' AND NOT c.relhassubclass
"""


@dataclass(frozen=True)
class Opened:
    """A query whose transaction is open: nothing of it has been read.

    Attributes:
        connection: of psycopg.
        columns: of the result.
        statement: the query with literals in place of binds.
    """

    connection: Any
    columns: Sequence[ResultColumn]
    statement: str


class NativePostgres(Postgres):
    """PostgreSQL, whose rows are copied."""

    @contextmanager
    def open(self, query: Query, snapshot: Snapshot | None) -> Iterator[Opened]:
        """Open a transaction of one view of the data and describe the query there; it is dropped with the block."""
        statement, params = self.statement(query)
        statement = f"\n{statement}"
        with self.failures():
            connection = self.connect()
        cursor = connection.cursor(_CURSOR, scrollable=False)
        try:
            with self.failures(statement if params is None else ""):
                connection.isolation_level = IsolationLevel.REPEATABLE_READ
                if snapshot is not None:
                    adopt(self.driver, connection, snapshot)
                settle(connection, "cursor_tuple_fraction = 1")
                self._load_as_text(connection)
                cursor.execute(statement, params)
                columns = self._columns(connection, cursor.pgresult, query.table)
                literal = with_literals(connection, statement.strip(), params)  # type: ignore[arg-type]
            yield Opened(connection, columns, literal)
        finally:
            drop(connection)
            cursor.close()

    def fetched(self, opened: Opened, clock: Clock) -> Generator[Row]:
        """Return the rows of the opened query, fetched in short statements that the clock times."""
        return self._fetch(opened.connection, clock)

    def pages(self, connection: Any, table: TableName) -> int | None:
        """Return how many pages a plain table has; ``None`` where its rows cannot be read page by page."""
        if connection.info.server_version < _TID_RANGE_VERSION:
            return None
        row = connection.execute(_PAGES, (self.quoted(table),)).fetchone()
        return None if row is None else int(row[0])

    def pages_text(self, table: TableName, low: int, high: int | None) -> str:
        """Return the query that reads the rows in some pages of a table."""
        return f"{self.table_text(table)} WHERE {within_pages(low, high)}"

    def bounds_statements(self, connection: Any) -> bool:
        """Whether the server ends a statement that takes too long."""
        (timeout,) = connection.execute("SHOW statement_timeout").fetchone()
        return bool(timeout != "0")

    def quoted(self, table: TableName) -> str:
        """Return the table's name for SQL."""
        return ".".join(self.quote(name) for name in (table.schema, table.table) if name)

    def quote(self, name: str) -> str:
        """Return a name for SQL. SQLAlchemy would double a ``%``, which nothing halves again here."""
        return '"' + name.replace('"', '""') + '"'
