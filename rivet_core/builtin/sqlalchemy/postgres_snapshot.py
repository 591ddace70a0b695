"""One view of a PostgreSQL database for several connections: one transaction exports it, the others adopt it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from rivet_core.api import QueryError, SnapshotLost
from rivet_core.builtin.sqlalchemy.postgres_session import settle

if TYPE_CHECKING:
    from rivet_core.api import Snapshot
    from rivet_core.builtin.sqlalchemy.backend import Statement

# The transaction that exports does nothing for as long as the others read.
_PATIENT: Final = "idle_in_transaction_session_timeout = 0"
_PATIENT_17: Final = "transaction_timeout = 0"
# Tables that the transaction has touched are those that it has locked.
_FOREIGN: Final = """
SELECT c.relname FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relkind = 'f'
AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""
# Tables that the transaction has locked, and which have other contents than when its view was taken: the catalogue in
# the view has another file for them, or does not know them.
_REPLACED: Final = """
SELECT 1 FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation
WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
AND (c.oid IS NULL OR c.relfilenode <> 0 AND c.relfilenode <> pg_catalog.pg_relation_filenode(c.oid))
LIMIT 1
"""
# What the server says of an identifier whose transaction has ended (snapmgr.c, procarray.c).
_GONE: Final = frozenset({"22023", "42704", "55000"})


@dataclass(frozen=True)
class ExportedSnapshot:
    """The view of an open transaction, by the identifier that other transactions adopt it with."""

    identifier: str

    @property
    def description(self) -> str:
        """What the view is, for messages."""
        return "the exported snapshot of one transaction"


def export(driver: Any, exporter: Any, guard: Any, probe: Statement) -> ExportedSnapshot:
    """Begin a transaction whose view others can adopt, and return the view.

    Its tables stay locked in it as any reader locks them: TRUNCATE, and an ALTER TABLE that writes a table anew, would
    take rows away from the view, and wait instead. ``guard`` has the locks from before the view is taken.

    Args:
        driver: psycopg.
        exporter: a new connection; the view lasts as long as its transaction.
        guard: another one, which is not needed afterwards.
        probe: reads no rows of the tables.

    Raises:
        QueryError: a table is on another server, of which every connection has a view of its own.
    """
    settle(guard)
    guard.execute(*probe)
    exporter.isolation_level = driver.IsolationLevel.REPEATABLE_READ
    settle(exporter, _PATIENT, *([_PATIENT_17] if exporter.info.server_version >= 170_000 else []))
    ((identifier,),) = exporter.execute("SELECT pg_export_snapshot()").fetchall()
    exporter.execute(*probe)
    foreign = sorted(name for (name,) in exporter.execute(_FOREIGN))
    if foreign:
        raise QueryError(
            f"a snapshot does not cover foreign tables: {', '.join(foreign)}",
            hint="set consistency: per_chunk, or export the table where it is",
        )
    return ExportedSnapshot(identifier)


def has_its_rows(connection: Any) -> bool:
    """Whether the tables that a transaction of one view has locked still hold the rows of the view.

    The server takes the view before it waits for the locks. Who holds one meanwhile, and empties the table or writes it
    anew (TRUNCATE, some forms of ALTER TABLE), leaves a table in which the view finds no rows.
    """
    return not connection.execute(_REPLACED).fetchall()


def adopt(driver: Any, connection: Any, snapshot: Snapshot) -> None:
    """Begin a transaction that has the view; nothing may have run in it.

    Args:
        driver: psycopg.

    Raises:
        SnapshotLost: the transaction that exported it has ended.
    """
    identifier = cast("ExportedSnapshot", snapshot).identifier
    connection.isolation_level = driver.IsolationLevel.REPEATABLE_READ
    try:
        connection.execute(driver.sql.SQL("SET TRANSACTION SNAPSHOT {}").format(identifier))
    except driver.Error as error:
        if error.sqlstate in _GONE:
            raise SnapshotLost(
                "PostgreSQL has ended the transaction that held the run's snapshot",
                hint="run the command again, which takes a new one; see the server's log for the reason",
            ) from None
        raise
