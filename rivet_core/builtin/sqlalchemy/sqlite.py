"""SQLite: any column holds any class of value, so each value is checked against the column's declared type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pyarrow as pa

from rivet_core.api import Check, QueryError, RivetError, SourceError, SourceUnavailable
from rivet_core.builtin.sqlalchemy import values
from rivet_core.builtin.sqlalchemy.backend import Backend, Result, undecodable
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import MAX_DECIMAL_DIGITS, ResultColumn
from rivet_core.builtin.sqlalchemy.doctor import read_only_check, version_check
from rivet_core.builtin.sqlalchemy.look import first_look, looked_at

if TYPE_CHECKING:
    import sqlite3

    import sqlalchemy

    from rivet_core.api import Query, Snapshot, TableName
    from rivet_core.builtin.sqlalchemy.text import Decoder

#: Declared types, in the order of the search: a whole word or, for SQLite's own affinity rules (datatype3.html,
#: section 3.1), a part of one.
DECLARED_TYPES: Final[tuple[tuple[str, pa.DataType], ...]] = (
    (r"\bBOOL(EAN)?\b", pa.bool_()),
    (r"\b(DATETIME|TIMESTAMP)\b", pa.timestamp("us")),
    (r"\bDATE\b", pa.date32()),
    (r"\bTIME\b", pa.time64("us")),
    (r"\bJSON\b", pa.json_(pa.string())),
    (r"\b(UUID|GUID)\b", pa.uuid()),
    (r"INT", pa.int64()),
    (r"CHAR|CLOB|TEXT", pa.string()),
    (r"BLOB", pa.binary()),
    (r"REAL|FLOA|DOUB", pa.float64()),
)
_DECIMAL: Final = re.compile(r"(?:NUMERIC|DECIMAL|NUMBER)(?:\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")
# Steps of SQLite's virtual machine between two chances for a signal to be handled: some milliseconds.
_STEPS_BETWEEN_SIGNALS: Final = 200_000
_COLUMNS: Final = 'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?{schema}) WHERE hidden <> 1 ORDER BY cid'
_KEY_INDEXES: Final = "SELECT 1 FROM pragma_index_list(?{schema}) WHERE origin = 'pk'"


class Sqlite(Backend):
    """SQLite through the standard library, opened read-only."""

    name: ClassVar[str] = "sqlite"

    def prepare(self, connection: Any) -> None:
        """Refuse writes also to attached and temporary databases, and let Ctrl-C stop a query that has no row yet."""
        connection.execute("PRAGMA query_only = ON").close()
        connection.set_progress_handler(lambda: 0, _STEPS_BETWEEN_SIGNALS)

    @contextmanager
    def run(self, query: Query, snapshot: Snapshot | None = None) -> Iterator[Result]:
        """Run the query; a first look at its rows tells the types that no declaration tells."""
        statement, params = self.statement(query)
        with self.failures():
            connection: sqlite3.Connection = self.connect()
        cursor = connection.cursor()
        clock = Clock()
        try:
            with self.failures():
                cursor.execute(statement, params or ())
                if cursor.description is None:
                    raise QueryError("the query has no columns", hint="write a SELECT statement")
                names = [item[0] for item in cursor.description]
                declared = self._declared(connection, query.table) if query.table is not None else {}
                rows: Iterator[Sequence[Any]] = cursor
                seen: list[Sequence[Any]] = []
                if any(declared.get(name) is None for name in names):
                    seen, rows = first_look(cursor)
            columns = [
                declared.get(name) or looked_at(name, [row[index] for row in seen], query.columns)
                for index, name in enumerate(names)
            ]
            yield Result(columns, clock.until_the_end(rows), clock)
        finally:
            cursor.close()  # or the connection keeps its lock while something, such as a traceback, holds the cursor
            connection.close()

    def _declared(self, connection: sqlite3.Connection, table: TableName) -> dict[str, ResultColumn | None]:
        """Return a table's columns by name; ``None`` for an expression of a view, which has no declared type."""
        rows = self._table_info(connection, table)
        keys = sum(bool(key) for *_, key in rows)
        is_view = not keys and _is_view(connection, table)
        has_rowid_key = keys == 1 and not self._has_key_index(connection, table)
        return {
            name: None
            if is_view and not type_
            # An INTEGER PRIMARY KEY is the rowid, which is never NULL; other keys may be, so also one that is DESC.
            else declared_column(
                name, type_, bool(not_null) or (has_rowid_key and bool(key) and type_.upper() == "INTEGER")
            )
            for name, type_, not_null, key in rows
        }

    def _has_key_index(self, connection: sqlite3.Connection, table: TableName) -> bool:
        """Whether an index keeps the primary key, which is not the rowid then."""
        statement = _KEY_INDEXES.format(schema=", ?" if table.schema else "")
        return connection.execute(statement, _names(table)).fetchone() is not None

    def _table_info(self, connection: sqlite3.Connection, table: TableName) -> list[tuple[str, str, int, int]]:
        statement = _COLUMNS.format(schema=", ?" if table.schema else "")
        return connection.execute(statement, _names(table)).fetchall()

    def decoder(self, column: ResultColumn, target: pa.DataType, overridden: bool) -> Decoder | None:
        """Decode by storage class."""
        if not values.convertible(target):
            return None
        return partial(values.decode, target=target, overridden=overridden)

    def approximate_rows(self, table: TableName) -> int | None:
        """Return the highest rowid, which is the number of rows of a table that was never deleted from."""
        try:
            rows = self.fetch_all(f"SELECT max(rowid) FROM {self.quoted(table)}")
        except QueryError:  # a table without rowid
            return None
        return None if rows[0][0] is None else int(rows[0][0])

    def row_key(self, table: TableName, number: int) -> str:
        """Return the rowid, found by reading the table once more in the same order."""
        try:
            rows = self.fetch_all(
                f"SELECT *, rowid FROM {self.quoted(table)} LIMIT 1 OFFSET :offset", {"offset": number - 1}
            )
        except RivetError:  # a view, or a table without rowid
            return ""
        return f"rowid {rows[0][-1]}" if rows and rows[0][-1] is not None else ""

    def server_checks(self, connection: sqlalchemy.Connection) -> Iterator[Check]:
        """Report the library's version, and that nothing can be written; fails for a file that is no database."""
        connection.exec_driver_sql("PRAGMA schema_version").close()
        yield version_check(f"SQLite {connection.exec_driver_sql('SELECT sqlite_version()').scalar()}")
        yield read_only_check(connection.exec_driver_sql("PRAGMA query_only").scalar() == 1)

    def failure(self, error: Exception, statement: str = "") -> RivetError:
        """Map by SQLite's own error name; for SQL errors it is one for all, and the message tells them apart."""
        name = getattr(error, "sqlite_errorname", "")
        message = str(error)
        if name == "SQLITE_INTERRUPT":
            # Nobody else interrupts: a signal was handled in the progress handler, which cannot raise.
            raise KeyboardInterrupt
        if message.startswith("Could not decode to UTF-8"):
            return undecodable()
        if message.startswith(("no such table", "no such column", "no such function", "ambiguous column name")):
            # These messages quote names, never values.
            return QueryError(f"SQLite refuses the query: {message}", hint="check the names")
        for prefix, build, said, hint in _FAILURES:
            if name.startswith(prefix):
                return build(f"{said} ({name})", hint=hint)
        if not name:  # the driver itself refuses: wrong binds, two statements
            return QueryError("the query cannot be executed", hint="try it in the sqlite3 shell")
        return SourceError(f"SQLite failed with {name}")


_FAILURES: Final[tuple[tuple[str, type[RivetError], str, str], ...]] = (
    ("SQLITE_ERROR", QueryError, "SQLite refuses the query", "try it in the sqlite3 shell"),
    ("SQLITE_READONLY", QueryError, "the query would write, and Rivet only reads", "use SELECT alone"),
    ("SQLITE_NOTADB", QueryError, "the file is no SQLite database", "check the path"),
    ("SQLITE_CORRUPT", SourceError, "the database file is damaged", "run PRAGMA integrity_check"),
    ("SQLITE_BUSY", SourceUnavailable, "another program has locked the database", "run the command again"),
    ("SQLITE_LOCKED", SourceUnavailable, "another program has locked the database", "run the command again"),
    ("SQLITE_CANTOPEN", SourceUnavailable, "the database file cannot be opened", "check its mode and its directory's"),
    ("SQLITE_IOERR", SourceUnavailable, "the database file cannot be read", "check the disk"),
    ("SQLITE_TOOBIG", QueryError, "the query or a value is larger than SQLite allows", "select less"),
)


def declared_column(name: str, declared: str, not_null: bool) -> ResultColumn:
    """Map a column of a table by its declared type."""
    upper = declared.upper()
    type_: pa.DataType | None = next((type_ for words, type_ in DECLARED_TYPES if re.search(words, upper)), None)
    decimal = _DECIMAL.fullmatch(upper)
    problem = ""
    if decimal:
        precision, scale = int(decimal.group(1) or 0), int(decimal.group(2) or 0)
        if not precision:
            problem = "has no precision, so no decimal holds every value"
        elif max(precision, scale) > MAX_DECIMAL_DIGITS:
            problem = f"has more than {MAX_DECIMAL_DIGITS} digits"
        else:
            digits = max(precision, scale)
            type_ = pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)
    elif type_ is None:
        problem = "may hold values of any type" if not declared else "is no type that SQLite or Rivet knows"
    return ResultColumn(
        name,
        declared,
        type_,
        nullable=not not_null,
        fidelity="checked",
        problem=problem,
        numeric="value" if decimal and type_ is None else "",
    )


def _names(table: TableName) -> tuple[str, ...]:
    return (table.table, table.schema) if table.schema else (table.table,)


def _is_view(connection: sqlite3.Connection, table: TableName) -> bool:
    schema = '"' + (table.schema or "main").replace('"', '""') + '"'
    found = connection.execute(
        f"SELECT 1 FROM {schema}.sqlite_master WHERE type = 'view' AND lower(name) = lower(?)", (table.table,)
    ).fetchone()
    return found is not None
