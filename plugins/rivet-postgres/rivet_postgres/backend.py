"""PostgreSQL as the built-in source knows it, with its connection at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rivet_core.builtin.sqlalchemy.postgres import Postgres
from rivet_core.builtin.sqlalchemy.postgres_session import drop, end
from rivet_postgres.pages import Relation
from rivet_postgres.statements import select_range, with_literals

if TYPE_CHECKING:
    from rivet_core.api import Query, Snapshot, TableName
    from rivet_core.builtin.sqlalchemy.columns import ResultColumn
    from rivet_postgres.pages import PageRange

#: The first version that finds the rows of some pages without reading all of them.
_TID_RANGE_VERSION: Final = 140_000
# Kinds of relations in pg_class: tables, materialized views, foreign tables; partitioned ones hold no rows themselves.
_HOLDS_ROWS: Final = {"r", "m", "f"}
_PARTITIONED: Final = "p"
# The table and what inherits from it, partitions too: how many pages it has where it can be read by pages, whether this
# user would not see the same rows in it alone, and whether nobody would: compressed chunks of TimescaleDB have none. A
# partition that is being detached is no longer one; other sessions' temporary tables are never read with the table.
_RELATIONS: Final = """
WITH RECURSIVE tree (oid) AS (
  SELECT pg_catalog.to_regclass(%(name)s)::pg_catalog.oid
  UNION
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid WHERE NOT i.inhdetachpending
)
SELECT pg_catalog.format('ONLY %%I.%%I', n.nspname, c.relname), c.relkind,
  CASE WHEN c.relkind IN ('r', 'm') AND a.amname = 'heap'
    THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8 END,
  (pg_catalog.row_security_active(c.oid) OR c.oid <> pg_catalog.to_regclass(%(name)s) AND NOT (
    pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')))::int4,
  (EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = 'timescaledb')
    AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)))::int4
FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
WHERE NOT pg_catalog.pg_is_other_temp_schema(n.oid)
ORDER BY c.oid
"""
# Frees more at once than COPY does after a row of so many fields, whose buffers have 1 kB each, in blocks that double.
_ROOM: Final = "SELECT pg_catalog.length(pg_catalog.repeat(pg_catalog.repeat('x', 1024), 4 * {fields}))"
_MANY_FIELDS: Final = 64
_COLUMN_NAMES: Final = """
SELECT attname FROM pg_catalog.pg_attribute
WHERE attrelid = pg_catalog.to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
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
        """Open a transaction of one view of the data and describe the query there; it ends with the block."""
        statement, params = self.statement(query)
        statement = f"\n{statement}"
        with self.failures():
            connection = self.parking.take()
        cursor = None
        leave = drop
        try:
            with self.failures(statement if params is None else ""):
                cursor = self.declare(connection, statement, params, snapshot)
                columns = self._columns(connection, cursor.pgresult, query.table)
                literal = with_literals(connection, statement.strip(), params)  # type: ignore[arg-type]
            yield Opened(connection, columns, literal)
            leave = end
        finally:
            leave(connection)
            if cursor is not None:
                cursor.close()
            self.parking.park(connection)

    def make_room(self, connection: Any, fields: int) -> None:
        """Have the server's process keep the memory of a row for the next one.

        glibc's malloc returns it to the system after each row of more than 128 kB, which makes COPY of 300 columns take
        four times as long; it stops once something larger was freed (``M_TRIM_THRESHOLD`` in mallopt(3)).
        """
        if fields > _MANY_FIELDS:
            connection.execute(_ROOM.format(fields=fields))

    def relations(self, connection: Any, table: TableName) -> list[Relation] | None:
        """Return what holds the rows of a table; ``None`` where the table cannot be read relation by relation."""
        if connection.info.server_version < _TID_RANGE_VERSION:
            return None
        rows = connection.execute(_RELATIONS, {"name": self.quoted(table)}).fetchall()
        if any(kind not in _HOLDS_ROWS and kind != _PARTITIONED for _, kind, *_ in rows):
            return None
        if any(int(elsewhere) for *_, elsewhere in rows):
            return None
        if len(rows) > 1 and any(int(differs) for *_, differs, _ in rows):
            return None
        found = [
            Relation(name, None if pages is None else int(pages))
            for name, kind, pages, *_ in rows
            if kind != _PARTITIONED
        ]
        return found if any(relation.pages is not None for relation in found) else None

    def ranges_text(self, connection: Any, table: TableName, ranges: Sequence[PageRange]) -> str:
        """Return the query that reads the rows in some pages of a table."""
        names = [self.quote(name) for (name,) in connection.execute(_COLUMN_NAMES, (self.quoted(table),))]
        return "\nUNION ALL\n".join(select_range(", ".join(names), range_) for range_ in ranges)

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
