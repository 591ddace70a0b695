"""One view of a MySQL or MariaDB database for several connections: transactions begun under one short global lock."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import QueryError, RivetError, SnapshotLost, SourceDenied, SourceUnavailable
from rivet_core.api.sql import wrap

if TYPE_CHECKING:
    from rivet_core.api import Query, Snapshot
    from rivet_core.builtin.sqlalchemy.backend import Statement

# The lock waits for running statements, and all writers wait behind it.
_LOCK_SECONDS: Final = 10
# A connection idles while others read; the server shall not end it for that. The largest value that Windows takes, too.
_IDLE_SECONDS: Final = 2_147_483
_SESSION: Final = f"SET SESSION wait_timeout = {_IDLE_SECONDS}"
_MARIADB_SESSION: Final = "SET SESSION idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0"
_BEGIN: Final = "START TRANSACTION READ ONLY"
_BEGIN_WITH_VIEW: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
_BRIEF_WAIT: Final = f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}"
# Names that a text may mean.
_VIEWS: Final = """
SELECT table_name, view_definition FROM information_schema.views
WHERE LOCATE(LOWER(table_name), LOWER(%s)) > 0
AND (table_schema = DATABASE() OR LOCATE(LOWER(table_schema), LOWER(%s)) > 0)
"""
_WITHOUT_VERSIONS: Final = """
SELECT t.table_name, t.engine FROM information_schema.tables t
LEFT JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_type = 'BASE TABLE' AND coalesce(e.transactions, 'NO') <> 'YES'
AND t.table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')
AND LOCATE(LOWER(t.table_name), LOWER(%s)) > 0
AND (t.table_schema = DATABASE() OR LOCATE(LOWER(t.table_schema), LOWER(%s)) > 0)
"""
_NO_LOCK_HINT: Final = "or set parallel: 1, which needs no lock, or consistency: per_chunk"

Connect = Callable[[], Any]
Failures = Callable[[], AbstractContextManager[None]]


class SharedTransactions:
    """Connections whose transactions have one view; each is lent to one reader at a time.

    Args:
        connections: in their transactions.
        connect: opens another connection, to stop a statement that is left early.
    """

    description = "transactions that have begun together"

    def __init__(self, connections: Sequence[Any], connect: Connect) -> None:
        self._free = [(connection, _scalar(connection, "SELECT CONNECTION_ID()")) for connection in connections]
        self._connect = connect
        self._changed = threading.Condition()
        self._lost = False

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """Lend a connection; it comes back in its transaction with nothing left to read, or the view is lost.

        Raises:
            SnapshotLost: a connection was lost, this one or another.
        """
        connection, number = self._take()
        usable = False
        try:
            yield connection
            usable = self._settle(connection, number)
        except SourceUnavailable as error:
            usable = connection.open and self._settle(connection, number)
            if not usable:
                raise _lost(error.message) from None
            raise
        except Exception:
            usable = self._settle(connection, number)
            raise
        finally:
            with self._changed:
                if usable:
                    self._free.append((connection, number))
                else:
                    self._lost = True
                    drop(connection)
                self._changed.notify_all()

    def _take(self) -> tuple[Any, int]:
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._lost)
            if self._lost:
                raise _lost("another of its connections has ended")
            return self._free.pop()

    def _settle(self, connection: Any, number: int) -> bool:
        """Leave nothing to read on a connection and return whether it is as it was.

        The rest of a result is not read, for it may be large: its statement is killed, which the transaction survives.
        """
        result = connection._result
        if not connection.open:
            return False
        if result is None or not result.unbuffered_active:
            return True
        try:
            with closing(self._connect()) as other, other.cursor() as cursor:
                cursor.execute(f"KILL QUERY {number:d}")
            with suppress(connection.OperationalError):  # that it was killed
                result._finish_unbuffered_query()
            result.unbuffered_active = False
            result.connection = None
            with suppress(connection.OperationalError):  # a kill that came after the last row hits what comes next
                _scalar(connection, "SELECT 1")
            return _scalar(connection, "SELECT 1") == 1
        except (connection.Error, OSError, RivetError):
            return False


def _lost(reason: str) -> SnapshotLost:
    return SnapshotLost(
        f"the run's snapshot is gone: {reason}",
        hint="run the command again, which takes a new one; see the server's log for the reason",
    )


@contextmanager
def begin_together(
    query: Query, statement: Statement, workers: int, connect: Connect, failures: Failures, *, mariadb: bool
) -> Iterator[Snapshot]:
    """Open connections that all see the database as it is now; the block closes them.

    Several of them begin while nobody can commit, under ``FLUSH TABLES WITH READ LOCK``; one needs no lock.

    A view is of rows, not of names: a table that takes another one's name, or a partition that goes, shows every view
    what the name stands for now, without an error. So each connection holds the tables from its view's first moment on.
    Neither can one be made to wait, then, by a change of a table that waits for another one of them.

    Args:
        statement: what the driver executes for the query.

    Raises:
        QueryError: the query reads a table whose engine has no transactions.
        SourceDenied: the user may not take the lock.
        SourceUnavailable: the lock cannot be had, for somebody works on a long statement.
    """
    with ExitStack() as stack:
        with failures():
            connections = [stack.enter_context(_closing(connect())) for _ in range(workers)]
            for connection in connections:
                for setting in (_SESSION, *([_MARIADB_SESSION] if mariadb else [])):
                    _execute(connection, setting)
            _refuse_tables_without_versions(connections[0], query)
            if workers == 1:
                _begin_alone(connections[0], statement)
            else:
                _begin_all(connections, statement, connect, failures)
            shared = SharedTransactions(connections, connect)
        yield shared


def _begin_alone(connection: Any, statement: Statement) -> None:
    """Open a view that begins with a first row, for which the statement waits until it has all of its tables."""
    _execute(connection, _BEGIN)
    text, params = statement
    _execute(connection, wrap(text, "SELECT 1 FROM (", ") AS rivet_query LIMIT 1"), params)


def _begin_all(connections: Sequence[Any], statement: Statement, connect: Connect, failures: Failures) -> None:
    """Open one view in all connections, and let each of them have the tables before anybody can change one."""
    text, params = statement
    opening = wrap(text, "SELECT 1 FROM (", ") AS rivet_query LIMIT 0")
    for connection in connections:
        _execute(connection, _BRIEF_WAIT)  # all writers wait behind whom it waits for
    with _nobody_commits(connect, failures):
        for connection in connections:
            _execute(connection, _BEGIN_WITH_VIEW)
            _execute(connection, opening, params)


@contextmanager
def _nobody_commits(connect: Connect, failures: Failures) -> Iterator[None]:
    with _closing(connect()) as connection:
        # The session is one that only reads, and a lock is no read. If we vanish, the server ends it soon.
        _execute(connection, "SET SESSION TRANSACTION READ WRITE")
        _execute(connection, f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}, wait_timeout = {3 * _LOCK_SECONDS}")
        try:
            with failures(), _ended_by_force(connection, connect):
                _execute(connection, "FLUSH TABLES WITH READ LOCK")
        except SourceDenied:
            raise SourceDenied(
                "a snapshot for several workers begins under a short global lock, for which the user lacks a grant",
                hint=f"GRANT RELOAD ON *.* TO the user, {_NO_LOCK_HINT}",
            ) from None
        except SourceUnavailable as error:
            raise SourceUnavailable(
                f"the short global lock for a snapshot could not be had in {_LOCK_SECONDS} s: {error.message}",
                hint=f"run when no statement takes that long, {_NO_LOCK_HINT}",
            ) from None
        yield
        _execute(connection, "UNLOCK TABLES")


@contextmanager
def _ended_by_force(connection: Any, connect: Connect) -> Iterator[None]:
    """Bound the wait for the lock: not all that it waits for follows ``lock_wait_timeout``.

    A server does not notice that whom it makes wait has gone, and all writers would wait behind nobody.
    """
    number = _scalar(connection, "SELECT CONNECTION_ID()")
    connection._read_timeout = _LOCK_SECONDS + 1
    try:
        yield
    except BaseException:
        with suppress(RivetError, connection.Error, OSError), closing(connect()) as other:
            _execute(other, f"KILL {number:d}")
        raise


def _refuse_tables_without_versions(connection: Any, query: Query) -> None:
    """Refuse a query that names a table whose engine shows every reader what is there now, such as MyISAM.

    Where a query has the name of one for something else it is refused, too: better than a view that is none.
    """
    text = str(query.table) if query.table else query.text
    views: dict[str, str] = {}
    while found := {name: str(definition) for name, definition in _named(connection, _VIEWS, text, views)}:
        views |= found
        text = "\n".join([text, *found.values()])
    tables = [f"{name} ({engine})" for name, engine in _named(connection, _WITHOUT_VERSIONS, text)]
    if tables:
        raise QueryError(
            f"a snapshot does not cover tables of an engine without transactions: {', '.join(sorted(tables))}",
            hint="set consistency: per_chunk, or convert the table to InnoDB",
        )


def _named(connection: Any, statement: str, text: str, known: Collection[str] = ()) -> list[tuple[str, object]]:
    """Return what the text names as a whole word, without what is known."""
    with connection.cursor() as cursor:
        cursor.execute(statement, (text, text))
        return [
            (name, fact)
            for name, fact in cursor.fetchall()
            if name not in known and re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text, re.IGNORECASE)
        ]


def drop(connection: Any) -> None:
    """Close a connection. One with rows left is cut off: PyMySQL would read them all first, to throw them away."""
    result = connection._result
    if result is not None and result.unbuffered_active:
        result.unbuffered_active = False
        result.connection = None
        connection._force_close()
    elif connection.open:
        with suppress(connection.Error):
            connection.close()


def clear_up(connection: Any) -> bool:
    """End the transaction of a reader that has read all rows; return whether the connection can be another one's."""
    result = connection._result
    if not connection.open or (result is not None and result.unbuffered_active):
        return False
    try:
        connection.rollback()
    except (connection.Error, OSError):
        return False
    return True


@contextmanager
def _closing(connection: Any) -> Iterator[Any]:
    try:
        yield connection
    finally:
        drop(connection)


def _execute(connection: Any, statement: str, params: object = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def _scalar(connection: Any, statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])
