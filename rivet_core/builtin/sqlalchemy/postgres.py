"""PostgreSQL through psycopg 3: a cursor of the server's, read in text form, and Arrow parses the text."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pyarrow as pa

from rivet_core.api import (
    Check,
    QueryError,
    RivetError,
    SourceDenied,
    SourceError,
    SourceUnavailable,
    ValueRefused,
)
from rivet_core.api.sql import arguments, render, wrap
from rivet_core.builtin.sqlalchemy import text
from rivet_core.builtin.sqlalchemy.backend import Backend, Result, silence
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import MAX_DECIMAL_DIGITS, ResultColumn
from rivet_core.builtin.sqlalchemy.doctor import clock_check, read_only_check, tls_check, version_check
from rivet_core.builtin.sqlalchemy.parking import Parking
from rivet_core.builtin.sqlalchemy.postgres_rows import FetchedRows, loads
from rivet_core.builtin.sqlalchemy.postgres_session import clear_up, drop, end, settle
from rivet_core.builtin.sqlalchemy.postgres_snapshot import adopt, export, has_its_rows

if TYPE_CHECKING:
    import sqlalchemy

    from rivet_core.api import Query, Snapshot, TableName
    from rivet_core.builtin.sqlalchemy.stream import Row
    from rivet_core.builtin.sqlalchemy.text import Decoder

#: Types of ``pg_catalog`` that keep their kind. Every other type is exported as the text that PostgreSQL gives and
#: takes back. ``numeric`` depends on its precision.
EXACT_TYPES: Final[dict[str, pa.DataType]] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "oid": pa.uint32(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "char": pa.string(),
    "name": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "uuid": pa.uuid(),
    "json": pa.json_(pa.string()),
    "jsonb": pa.json_(pa.string()),
}

#: An enum's column: each of its labels once, in a batch's dictionary.
ENUM: Final[pa.DataType] = pa.dictionary(pa.int32(), pa.string())

_CURSOR: Final = "rivet_read"
# What psycopg puts before the query.
_DECLARE: Final = f'DECLARE "{_CURSOR}" NO SCROLL CURSOR FOR '
# Tries to see a table that others write anew.
_VIEWS: Final = 5
_SHORT_CHARACTERS: Final = 1000
# libpq's number of the field (postgres_ext.h, PG_DIAG_SQLSTATE).
_SQLSTATE: Final = ord("C")
_NO_PRECISION: Final = "has no precision, so no decimal holds every value"

# A result's own domains are resolved by the server, those of an array's items are not.
_COLUMNS: Final = """
WITH RECURSIVE described AS (
  SELECT c.position, c.oid, c.typmod, a.is_array, CASE WHEN a.is_array THEN t.typelem ELSE t.oid END AS item
  FROM unnest(%s::oid[], %s::int4[]) WITH ORDINALITY AS c (oid, typmod, position)
  JOIN pg_catalog.pg_type t ON t.oid = c.oid
  CROSS JOIN LATERAL (SELECT t.typoutput = 'array_out'::regproc AND t.typdelim = ',' AS is_array) a
), items AS (
  SELECT position, item, typmod FROM described
  UNION ALL
  SELECT i.position, d.typbasetype, d.typtypmod FROM items i JOIN pg_catalog.pg_type d ON d.oid = i.item
  WHERE d.typtype = 'd'
)
SELECT t.typname, n.nspname, t.typtype, described.is_array, items.typmod, format_type(described.oid, described.typmod)
FROM described JOIN items USING (position)
JOIN pg_catalog.pg_type t ON t.oid = items.item AND t.typtype <> 'd'
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
ORDER BY position
"""
_ESTIMATE: Final = """
WITH RECURSIVE tree (oid) AS (
  SELECT CAST(pg_catalog.to_regclass(:name) AS oid)
  UNION
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid
)
SELECT CAST(sum(c.reltuples) AS bigint) FROM tree JOIN pg_catalog.pg_class c USING (oid)
WHERE c.relkind IN ('r', 'm', 'f') HAVING min(c.reltuples) >= 0
"""
# An heir may drop what it has inherited, and a constraint of PostgreSQL 18 may hold for new rows alone.
_NOT_NULL: Final = """
WITH RECURSIVE tree (oid) AS (
  SELECT CAST(pg_catalog.to_regclass(%s) AS oid)
  UNION
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid
)
SELECT a.attname FROM tree JOIN pg_catalog.pg_attribute a ON a.attrelid = tree.oid
WHERE a.attnum > 0 AND NOT a.attisdropped
GROUP BY a.attname HAVING bool_and(a.attnotnull AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_constraint c
  WHERE c.conrelid = a.attrelid AND c.contype = 'n' AND NOT c.convalidated AND a.attnum = ANY (c.conkey)
))
"""


@dataclass(frozen=True)
class _Type:
    """A row of the catalogue; for an array, of its items."""

    name: str
    is_enum: bool
    typmod: int
    is_array: bool
    source_type: str


# What psycopg says of values that Python has none for.
_OUT_OF_RANGE: Final = re.compile(r"\b(?:date|timestamp) too (?:large|small) \(")


class Postgres(Backend):
    """PostgreSQL."""

    name: ClassVar[str] = "postgres"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parking = Parking(self, clear_up=clear_up, drop=drop, line=lambda connection: connection.pgconn.socket)

    def close(self) -> None:
        """Close the connections that no read has at the moment."""
        self.parking.clear()

    def prepare(self, connection: Any) -> None:
        """Set what psycopg does: read-only transactions, and no prepared statements, which a pooler would not keep."""
        connection.wait = partial(_wait, connection.wait, self.read_timeout)
        connection.prepare_threshold = None
        connection.read_only = True

    def begin(self, connection: Any) -> None:
        """Set the forms of text and UTC."""
        settle(connection)

    @contextmanager
    def run(self, query: Query, snapshot: Snapshot | None = None) -> Iterator[Result]:
        """Declare a cursor in a read-only transaction and fetch from it."""
        statement, params = self.statement(query)
        # On lines of its own, so that a position in it can be told.
        statement = f"\n{statement}"
        with self.failures():
            connection = self.parking.take()
        cursor = None
        clock = Clock()
        leave = drop
        try:
            with self.failures(statement if params is None else ""):
                cursor = self.declare(connection, statement, params, snapshot)
                columns = self._columns(connection, cursor.pgresult, query.table)
                self.take_bytes(connection)
            with self.fetched(connection, columns, clock) as rows:
                yield Result(columns, rows, clock)
            leave = end
        finally:
            leave(connection)
            if cursor is not None:
                cursor.close()
            self.parking.park(connection)

    def declare(self, connection: Any, statement: str, params: Any, snapshot: Snapshot | None) -> Any:
        """Begin a transaction of one view and return a cursor that is declared in it and has locked all that it reads.

        Args:
            snapshot: the view; ``None`` for a new one.

        Raises:
            SourceUnavailable: others empty the tables, or write them anew, time after time.
        """
        for _ in range(_VIEWS):
            connection.isolation_level = self.driver.IsolationLevel.REPEATABLE_READ
            if snapshot is not None:
                adopt(self.driver, connection, snapshot)
            # Every row will be fetched, so the plan for all of them is the best, not that for the first ones.
            settle(connection, "cursor_tuple_fraction = 1")
            self._load_as_text(connection)
            cursor = connection.cursor(_CURSOR, scrollable=False)
            try:
                cursor.execute(statement, params)
                if snapshot is not None or has_its_rows(connection):
                    return cursor
            except BaseException:
                drop(connection)
                cursor.close()
                raise
            connection.rollback()
            cursor.close()
        raise SourceUnavailable(
            "a table was emptied or written anew each time that its read waited for it", hint="run the command again"
        )

    @contextmanager
    def snapshot(self, query: Query, workers: int) -> Iterator[Snapshot]:
        """Export the view of one transaction, which stays open until the block is left."""
        statement, params = self.statement(query)
        probe = wrap(statement, "SELECT * FROM (", ") AS rivet_query LIMIT 0")
        with ExitStack() as stack:
            with self.failures():
                exporter = stack.enter_context(self.own_connection())
                with self.own_connection() as guard:
                    exported = export(self.driver, exporter, guard, (probe, params))
            yield exported

    @contextmanager
    def own_connection(self) -> Iterator[Any]:
        """Open a connection of psycopg that is dropped with the block."""
        connection = self.connect()
        try:
            yield connection
        finally:
            drop(connection)

    def fetch(self, query: Query, snapshot: Snapshot) -> Sequence[Sequence[object]]:
        """Run a small query on a connection that has adopted the view."""
        dialect = self.engine.dialect
        statement, names = render(query.text, dialect.name, dialect.paramstyle)
        values = arguments(names, query.params, dialect.paramstyle)
        with self.failures():
            connection = self.parking.take(plain=True)
            leave = drop
            try:
                adopt(self.driver, connection, snapshot)
                settle(connection)
                rows: Sequence[Sequence[object]] = connection.execute(statement, values).fetchall()
                leave = end
            finally:
                leave(connection)
                self.parking.park(connection, plain=True)
        return rows

    def _load_as_text(self, connection: Any) -> None:
        """Make psycopg hand over what the server sent; ``bytea`` is decoded, which halves its size."""
        _load_all(connection, self.driver.types.string.TextLoader)

    def take_bytes(self, connection: Any) -> None:
        """Let a server that knows no encoding send text unchecked: the decoders then say which value is no UTF-8."""
        if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            connection.execute("SET LOCAL client_encoding = 'SQL_ASCII'")
            _load_all(connection, type("BytesLoader", (self.driver.adapt.Loader,), {"load": _bytes_as_text}))

    @contextmanager
    def fetched(self, connection: Any, columns: Sequence[ResultColumn], clock: Clock) -> Iterator[Iterator[Row]]:
        """Give the rows of the cursor that the connection has declared, fetched in short statements.

        Args:
            connection: of psycopg.
            columns: of the result.
            clock: times the statements.
        """
        with closing(self._fetch(connection, columns, clock)) as lists:
            yield chain.from_iterable(lists)

    def _fetch(self, connection: Any, columns: Sequence[ResultColumn], clock: Clock) -> Generator[list[Row]]:
        """Yield the rows in lists; where the server ends the connection, the error says why."""
        farewell: list[str] = []
        connection.add_notice_handler(listen := lambda notice: farewell.append(notice.sqlstate))
        try:
            yield from FetchedRows(self.driver, connection, _CURSOR, columns, self.options).lists(clock)
        except self.driver.OperationalError as error:
            state = error.sqlstate or _last_state(connection, farewell)
            known = _by_state(state) if state else None
            if known is None:
                raise
            raise known from None
        finally:
            connection.remove_notice_handler(listen)

    def _columns(self, connection: Any, described: Any, table: TableName | None) -> Sequence[ResultColumn]:
        positions = range(described.nfields)
        names = [described.fname(position).decode() for position in positions]
        oids = [described.ftype(position) for position in positions]
        typmods = [described.fmod(position) for position in positions]
        types = [_catalogued(row) for row in connection.execute(_COLUMNS, (oids, typmods))]
        not_null: set[str] = set()
        if table is not None:
            not_null = {name for (name,) in connection.execute(_NOT_NULL, (self.quoted(table),))}
        return [
            replace(result_column(name, type_), nullable=name not in not_null)
            for name, type_ in zip(names, types, strict=True)
        ]

    def decoder(self, column: ResultColumn, target: pa.DataType, overridden: bool) -> Decoder | None:
        """Decode the server's text, or the driver's numbers and booleans."""
        if loads(column, target):
            return partial(pa.array, type=target)
        if column.numeric == "array":
            items = target if isinstance(target, pa.ListType) else pa.string()
            while isinstance(items, pa.ListType):
                items = items.value_type
            return text.decoder(None, target) if text.convertible(None, items) else None
        return text.decoder(column.type, target) if text.convertible(column.type, target) else None

    def approximate_rows(self, table: TableName) -> int | None:
        """Return the planner's estimate, as of the last ANALYZE of the table and all that inherits from it."""
        rows = self.fetch_all(_ESTIMATE, {"name": self.quoted(table)})
        return int(rows[0][0]) if rows else None

    def server_checks(self, connection: sqlalchemy.Connection) -> Iterator[Check]:
        """Report version, TLS, clock and read-only."""
        row = connection.exec_driver_sql(
            "SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::float8,"
            " current_setting('transaction_read_only')"
        ).one()
        yield version_check(f"PostgreSQL {row[0]}")
        driver_connection: Any = connection.connection.dbapi_connection
        yield tls_check(bool(driver_connection.pgconn.ssl_in_use), required=self.tls_required)
        yield clock_check(row[1])
        yield read_only_check(row[2] == "on")

    def failure(self, error: Exception, statement: str = "") -> RivetError:
        """Map by SQLSTATE (manual, appendix A); a failed connection has none and goes by its message."""
        state = getattr(error, "sqlstate", None)
        if state is None:
            if isinstance(error, (self.driver.OperationalError, self.driver.InterfaceError)):
                return _connection_failure(str(error))
            if isinstance(error, self.driver.DataError) and _OUT_OF_RANGE.search(str(error)):
                return QueryError(
                    "a date or timestamp that bounds the rows is infinite, or not of the years 1 to 9999",
                    hint="leave such rows out in a query, or choose another column",
                )
            return QueryError("the query or its parameters cannot be sent", hint="try it in psql")
        diagnostics: Any = getattr(error, "diag", None)
        if state in _NAMING:
            # These messages quote names, never values.
            return QueryError(f"PostgreSQL refuses the query: {diagnostics.message_primary}", hint="check the names")
        if state == "42601":
            where = _line(statement, int(getattr(diagnostics, "statement_position", None) or 0))
            return QueryError(f"the query has a syntax error{where}", hint="try it in psql")
        return _by_state(state) or SourceError(f"PostgreSQL failed with SQLSTATE {state}")


def result_column(name: str, type_: _Type) -> ResultColumn:
    """Map one column of a result."""
    kind, typmod = type_.name, type_.typmod
    if kind == "numeric":
        precise = decimal_type(typmod)
        if precise is None:
            problem = _NO_PRECISION if typmod < 0 else f"has more than {MAX_DECIMAL_DIGITS} digits"
            return ResultColumn(
                name,
                type_.source_type,
                None,
                problem=problem,
                numeric="array" if type_.is_array else "value",
            )
        item: pa.DataType = precise
    elif type_.is_enum and not type_.is_array:
        return ResultColumn(name, type_.source_type, ENUM, short=True)
    else:
        item = EXACT_TYPES.get(kind, pa.string())
    short = kind in {"varchar", "bpchar"} and 0 < typmod <= _SHORT_CHARACTERS
    return ResultColumn(
        name,
        type_.source_type,
        pa.list_(item) if type_.is_array else item,
        fidelity="exact" if kind == "numeric" or kind in EXACT_TYPES else "text",
        short=not type_.is_array and (short or kind in {"name", "char"}),
    )


def decimal_type(typmod: int) -> pa.DataType | None:
    """Return the decimal of a ``numeric``'s type modifier; ``None`` without precision or beyond Arrow's.

    The modifier holds the precision in its upper half and the scale in 11 signed bits (numeric.c). A negative scale
    becomes further digits, and a scale above the precision a precision of that many, for Parquet has neither.
    """
    if typmod < 0:
        return None
    precision = ((typmod - 4) >> 16) & 0xFFFF
    scale = (((typmod - 4) & 0x7FF) ^ 1024) - 1024
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    if precision > MAX_DECIMAL_DIGITS:
        return None
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def _catalogued(row: Sequence[str]) -> _Type:
    name, schema, kind, is_array, typmod, source_type = row
    # A user's own type may have any name.
    return _Type(name if schema == "pg_catalog" else "", kind == "e", int(typmod), is_array == "t", source_type)


def _load_all(connection: Any, loader: Any) -> None:
    """Load the text form of every type but ``bytea`` by one loader of psycopg's."""
    for info in connection.adapters.types:
        if info.name != "bytea":
            connection.adapters.register_loader(info.oid, loader)
        if info.array_oid:
            connection.adapters.register_loader(info.array_oid, loader)


def _bytes_as_text(loader: object, data: bytes) -> str:
    """Return text of which the bytes that are no UTF-8 are lone surrogates, which no column takes."""
    return bytes(data).decode("utf-8", "surrogateescape")


def _line(statement: str, position: int) -> str:
    """Say in which line of the query a character of the DECLARE statement around it is."""
    declare = len(_DECLARE)
    line = statement.count("\n", 0, max(position - declare, 0))
    return f" in line {line}" if line else ""


def _wait(
    wait: Callable[..., Any], seconds: float, waiting: Generator[Any, Any, Any], *args: Any, **kwargs: Any
) -> Any:
    """Wait as psycopg does, but not for ever: libpq itself never gives up on a server that is silent."""
    return wait(_not_for_ever(waiting, seconds), *args, **kwargs)


def _not_for_ever(waiting: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for; it is told ten times a second that nothing is ready."""
    heard = time.monotonic()
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > seconds:
                raise silence(seconds)
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value


# undefined or ambiguous column, function, table, schema, parameter
_NAMING: Final = frozenset({"42703", "42702", "42883", "42P01", "3F000", "42P02"})
_ENCODING_HINT: Final = "correct the value, or select the column as binary data: convert_to(…, getdatabaseencoding())"
_FAILURES: Final[tuple[tuple[str, type[RivetError], str, str], ...]] = (
    ("28", SourceDenied, "PostgreSQL refuses the user or the password", "check user and password"),
    ("42501", SourceDenied, "PostgreSQL denies the access", "grant SELECT on what the query reads"),
    ("3D000", QueryError, "PostgreSQL has no database of this name", "check database"),
    ("25006", QueryError, "the query would write, and Rivet only reads", "use SELECT alone"),
    ("42", QueryError, "PostgreSQL refuses the query", "try it in psql"),
    ("22021", ValueRefused, "a text is not valid in the encoding that it should have", _ENCODING_HINT),
    ("22P05", ValueRefused, "a text has a character that UTF-8 has not", _ENCODING_HINT),
    ("22", QueryError, "the query fails on a value, as in a division by zero or a cast", "try it in psql"),
    ("0A", QueryError, "PostgreSQL does not support the query", "try it in psql"),
    ("25P04", SourceError, "PostgreSQL's time limit has ended the transaction",
     "raise transaction_timeout for Rivet's role (ALTER ROLE … SET transaction_timeout), or make chunk_size smaller"),
    ("57014", SourceError, "the statement was cancelled, by its time limit or by an administrator",
     "raise statement_timeout for Rivet's role (ALTER ROLE … SET statement_timeout), or make chunk_size smaller"),
    ("57P05", SourceUnavailable, "PostgreSQL ended an idle session", "raise idle_session_timeout for Rivet's role"),
    ("57", SourceUnavailable, "PostgreSQL shut down or ended the connection", "run the command again"),
    ("08", SourceUnavailable, "the connection to PostgreSQL was lost", "run the command again"),
    ("25P03", SourceUnavailable, "PostgreSQL ended an idle transaction: the destination took its rows too slowly",
     "raise idle_in_transaction_session_timeout for Rivet's role"),
    ("55P03", SourceUnavailable, "PostgreSQL gave up on a lock",
     "see who holds the table, or raise lock_timeout for Rivet's role"),
    ("40", SourceUnavailable, "PostgreSQL rolled the read back", "run the command again"),
    ("53", SourceUnavailable, "PostgreSQL lacks resources", "see max_connections, memory and disk of the server"),
)  # fmt: skip


def _by_state(state: str) -> RivetError | None:
    for prefix, build, message, hint in _FAILURES:
        if state.startswith(prefix):
            return build(f"{message} (SQLSTATE {state})", hint=hint)
    return None


def _last_state(connection: Any, notices: Sequence[str]) -> str | None:
    """Return what the server has said before it hung up: libpq stops at the end of the line, with that still unread."""
    while not notices and (result := connection.pgconn.get_result()) is not None:
        if state := result.error_field(_SQLSTATE):
            return str(state.decode())
    return notices[-1] if notices else None


def _connection_failure(message: str) -> RivetError:
    lowered = message.lower()
    if any(words in lowered for words in ("password authentication", "authentication failed", "no password supplied")):
        return SourceDenied("PostgreSQL refuses the user or the password", hint="check user and password")
    if "pg_hba.conf" in lowered:
        return SourceDenied(
            "PostgreSQL has no rule that lets this user in from here", hint="see pg_hba.conf, and whether it wants TLS"
        )
    if "role" in lowered and "does not exist" in lowered:
        return SourceDenied("PostgreSQL does not know the user", hint="check user")
    if "database" in lowered and "does not exist" in lowered:
        return QueryError("PostgreSQL has no database of this name", hint="check database")
    if "ssl" in lowered or "certificate" in lowered:
        return SourceUnavailable(
            "no TLS connection to PostgreSQL: " + message.strip().splitlines()[-1],
            hint="check tls.mode and tls.ca_file",
        )
    return SourceUnavailable(
        "cannot connect to PostgreSQL, or the connection was lost: " + " ".join(message.split()),
        hint="check host and port, and whether the server runs",
    )
