"""MySQL and MariaDB through PyMySQL: an unbuffered cursor, its values left as text, and Arrow parses the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, cast

import pyarrow as pa
from pyarrow import types as at

from rivet_core.api import Check, DriverMissing, QueryError, RivetError, SourceDenied, SourceError, SourceUnavailable
from rivet_core.api.sql import arguments, quote_name, render, wrap
from rivet_core.builtin.sqlalchemy import text
from rivet_core.builtin.sqlalchemy.backend import Backend, Result, Statement, silence
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import SHORT_BYTES, ResultColumn
from rivet_core.builtin.sqlalchemy.connect import keep_alive
from rivet_core.builtin.sqlalchemy.doctor import clock_check, read_only_check, tls_check, version_check
from rivet_core.builtin.sqlalchemy.mysql_rows import rows_of
from rivet_core.builtin.sqlalchemy.mysql_snapshot import begin_together, clear_up, drop
from rivet_core.builtin.sqlalchemy.parking import Parking
from rivet_core.builtin.sqlalchemy.text import Decoder, Refused

if TYPE_CHECKING:
    import sqlalchemy

    from rivet_core.api import Query, Snapshot, TableName
    from rivet_core.builtin.sqlalchemy.mysql_snapshot import SharedTransactions

#: Declared type and nullability of a table's columns by name; of a query, nothing.
Declared: TypeAlias = Mapping[str, tuple[str, bool]]

# Field types of the protocol (include/field_types.h).
_FLOAT: Final = 4
_NULL: Final = 6
_BIT: Final = 16
_NEWDECIMAL: Final = 246
_JSON: Final = 245
_VECTOR: Final = 242
_STRINGS: Final = frozenset({15, 247, 248, 249, 250, 251, 252, 253, 254})
_RAW: Final = {_BIT: "bit", _VECTOR: "vector", 255: "geometry"}

#: A number like any other ``tinyint``, for it holds -128 to 127, unless ``types.tinyint1`` makes it a boolean.
_TINYINT, _BOOLEAN = 1, "tinyint(1)"
_BIGINT, _YEAR = 8, 13

_NOT_NULL_FLAG, _UNSIGNED_FLAG, _ENUM_FLAG, _SET_FLAG = 1, 32, 256, 2048
_BINARY_CHARSET: Final = 63

#: Types by their code: what SQL calls them, the Arrow type, and the one of their unsigned form.
FIXED_TYPES: Final[dict[int, tuple[str, pa.DataType, pa.DataType]]] = {
    _TINYINT: ("tinyint", pa.int8(), pa.uint8()),
    2: ("smallint", pa.int16(), pa.uint16()),
    3: ("int", pa.int32(), pa.uint32()),
    _BIGINT: ("bigint", pa.int64(), pa.uint64()),
    9: ("mediumint", pa.int32(), pa.uint32()),
    _FLOAT: ("float", pa.float32(), pa.float32()),
    5: ("double", pa.float64(), pa.float64()),
    7: ("timestamp", pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    10: ("date", pa.date32(), pa.date32()),
    11: ("time", pa.duration("us"), pa.duration("us")),
    12: ("datetime", pa.timestamp("us"), pa.timestamp("us")),
    _YEAR: ("year", pa.int16(), pa.int16()),
    14: ("date", pa.date32(), pa.date32()),
}

# A slow destination must not make the server give up: its default is a minute. What the server or its ``init_connect``
# sets as the largest number of rows would end every result there, without a word. And texts are sorted by their first
# 1024 bytes, unless it is said otherwise, but compared by all: so many suffice for what an index can hold, and need no
# larger buffer than the smallest default.
_SESSION: Final = (
    "SET time_zone = '+00:00', net_write_timeout = 3600, sql_select_limit = 18446744073709551615,"
    " max_sort_length = 16384"
)
# A server's default may be one that shows what is not committed, or one where readers lock rows, and one statement then
# reads rows of several instants.
_TRANSACTIONS: Final = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_ROUNDED: Final = "arrives rounded to six digits; CAST(… AS DOUBLE) in the query keeps them all"
# Also one whose month or day alone is zero.
_ZERO_DATE: Final = re.compile(r"\d{4}-(?:00-\d\d|\d\d-00)(?: \d\d:\d\d:\d\d(?:\.\d+)?)?")
_COLUMNS: Final = """
SELECT column_name, column_type, is_nullable, extra FROM information_schema.columns
WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table ORDER BY ordinal_position
"""
_JSON_CHECKS: Final = """
SELECT check_clause FROM information_schema.check_constraints
WHERE constraint_schema = COALESCE(:schema, DATABASE()) AND table_name = :table AND level = 'Column'
"""
_JSON_CHECK: Final = re.compile(r"json_valid\(`((?:[^`]|``)+)`\)", re.IGNORECASE)


class Mysql(Backend):
    """MySQL and MariaDB."""

    name: ClassVar[str] = "mysql"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parking = Parking(self, clear_up=clear_up, drop=drop, line=lambda connection: connection._sock)

    def close(self) -> None:
        """Close the connections that no read has at the moment."""
        self.parking.clear()

    def prepare(self, connection: Any) -> None:
        """Set UTC and read-only transactions of one view; refuse a connection that should have TLS and has none."""
        keep_alive(connection._sock)
        connection._read_timeout = self.read_timeout
        with connection.cursor() as cursor:
            if self.tls_required and not _tls_cipher(cursor):
                raise SourceUnavailable(
                    "the server offers no TLS", hint="enable TLS there, or set tls: {mode: disable}"
                )
            cursor.execute(_SESSION)
            cursor.execute(_TRANSACTIONS)

    @contextmanager
    def run(self, query: Query, snapshot: Snapshot | None = None) -> Iterator[Result]:
        """Run the query unbuffered in one read-only transaction."""
        statement, params = self.statement(query)
        declared = self._declared(query.table) if query.table is not None else {}
        with self._reader(snapshot) as connection:
            cursor = connection.cursor(self.driver.cursors.SSCursor)
            clock = Clock()
            try:
                with self.failures():
                    connection.decoders = {}
                    self.execute(cursor, (statement, params), declared)
                leave_vectors_bytes(cursor._result)
                rows = clock.until_the_end(rows_of(cursor))
                yield Result(self._columns(cursor, declared), rows, clock, cursor)
            finally:
                cursor.connection = None  # its end would read all rows that are left

    def execute(self, cursor: Any, statement: Statement, declared: Declared) -> None:
        """Run a query whose rows are read later.

        Args:
            cursor: the driver's, unbuffered.
            statement: with its values.
            declared: of the table that is read, if one is.
        """
        cursor.execute(*statement)

    @contextmanager
    def _reader(self, snapshot: Snapshot | None) -> Iterator[Any]:
        """Open a connection, or borrow one of the view's; in the end nothing is left to read on it."""
        if snapshot is not None:
            with cast("SharedTransactions", snapshot).lend() as connection:
                yield connection
            return
        with self.failures():
            connection = self.parking.take()
        leave = drop
        try:
            yield connection
            leave = self.parking.park
        finally:
            leave(connection)

    def snapshot(self, query: Query, workers: int) -> AbstractContextManager[Snapshot]:
        """Begin as many transactions with one view as there are workers."""
        mariadb = getattr(self.engine.dialect, "is_mariadb", False)
        statement = self.statement(query)
        return begin_together(query, statement, workers, self.connect, self.failures, mariadb=mariadb)

    def fetch(self, query: Query, snapshot: Snapshot) -> Sequence[Sequence[object]]:
        """Run a small query on one of the view's connections."""
        dialect = self.engine.dialect
        statement, names = render(query.text, dialect.name, dialect.paramstyle)
        with self._reader(snapshot) as connection:
            connection.decoders = self.driver.converters.decoders
            with self.failures(), connection.cursor() as cursor:
                cursor.execute(statement, arguments(names, query.params, dialect.paramstyle))
                rows: Sequence[Sequence[object]] = cursor.fetchall()
                return rows

    def describe(self, query: Query) -> Sequence[ResultColumn]:
        """Ask for no rows, which the server answers without computing any."""
        columns = self._describe(query)
        escape = self.driver.converters.escape_string
        values = [form for value in map(str, query.params.values()) if value for form in (value.strip(), escape(value))]
        if any(value in column.name for column in columns for value in values):
            # An expression without a name is named by its text, into which PyMySQL has written the values.
            others = self._describe(replace(query, params={name: f"{value}x" for name, value in query.params.items()}))
            if [column.name for column in columns] != [column.name for column in others]:
                raise QueryError(
                    "a column of the query has no name but its expression, which holds the value of a parameter",
                    hint="give it a name with AS",
                )
        return columns

    def _describe(self, query: Query) -> list[ResultColumn]:
        statement, params = self.statement(query)
        declared = self._declared(query.table) if query.table is not None else {}
        limited = wrap(statement, "SELECT * FROM (", ") AS rivet_query LIMIT 0")
        with self.failures():
            connection = self.connect()
        try:
            with self.failures(), connection.cursor() as cursor:
                cursor.execute(limited, params)
                return self._columns(cursor, declared)
        finally:
            connection.close()

    def table_text(self, table: TableName) -> str:
        """Name the columns where ``*`` would lose something.

        It leaves out invisible ones; and FLOAT is exact only as part of an expression, for its text has six digits.
        """
        columns = self.fetch_all(_COLUMNS, {"schema": table.schema, "table": table.table})
        quote = partial(quote_name, self.engine.dialect)
        if not any(_is_float(declared) or "INVISIBLE" in extra for _, declared, _, extra in columns):
            return super().table_text(table)
        names = [
            f"{quote(name)} * 1e0 AS {quote(name)}" if _is_float(declared) else quote(name)
            for name, declared, _, _ in columns
        ]
        return f"SELECT {', '.join(names)} FROM {self.quoted(table)}"

    def _declared(self, table: TableName) -> Declared:
        """Return declared type and nullability of a table's columns by name."""
        names = {"schema": table.schema, "table": table.table}
        declared = {name: (str(type_), null == "YES") for name, type_, null, _ in self.fetch_all(_COLUMNS, names)}
        if getattr(self.engine.dialect, "is_mariadb", False):
            # MariaDB's JSON is LONGTEXT with a check.
            for (clause,) in self.fetch_all(_JSON_CHECKS, names):
                found = _JSON_CHECK.fullmatch(clause)
                name = found.group(1).replace("``", "`") if found else None
                if name in declared:
                    declared[name] = ("json", declared[name][1])
        return declared

    def _columns(self, cursor: Any, declared: Declared) -> list[ResultColumn]:
        if cursor.description is None:
            raise QueryError("the query has no columns", hint="write a SELECT statement")
        return self.columns_of(cursor._result, cursor.connection, declared)

    def columns_of(self, result: Any, connection: Any, declared: Declared) -> list[ResultColumn]:
        """Return the columns of a result of PyMySQL's whose description has been read."""
        # PyMySQL's description lacks flags and character set, so the protocol's own packets are read.
        fields = result.fields
        columns = [result_column(field) for field in fields]
        if "MariaDB" not in connection.server_version:
            columns = [_of_one_width(column, field) for column, field in zip(columns, fields, strict=True)]
        return [
            self._with_policy(
                as_declared(column, *declared[column.name])
                if column.name in declared
                # A column of a table that cannot be NULL there still can in the query: ``GROUP BY … WITH ROLLUP``.
                else replace(column, nullable=True)
            )
            for column in columns
        ]

    def _with_policy(self, column: ResultColumn) -> ResultColumn:
        """Apply ``types.tinyint1``; where zero dates become NULL, any date can."""
        options = self.options
        if options.tinyint1 == "bool" and column.source_type == _BOOLEAN and column.name not in options.columns:
            return replace(column, type=pa.bool_(), fidelity="checked")
        nulled = options.zero_dates == "null" and _is_date(column.type)
        return replace(column, nullable=True) if nulled else column

    def decoder(self, column: ResultColumn, target: pa.DataType, overridden: bool) -> Decoder | None:
        """Decode the server's text; ``BIT`` arrives as bytes and may become a number."""
        natural = column.type
        if column.source_type.startswith("bit") and (at.is_integer(target) or at.is_boolean(target)):
            return _bit_decoder(target)
        if not text.convertible(natural, target):
            return None
        decode = _instants(target) if _is_instant_type(natural, target) else text.decoder(natural, target)
        if _is_date(natural) and not at.is_string(target):
            return _zero_dates(decode, self.options.zero_dates)
        return decode

    def approximate_rows(self, table: TableName) -> int | None:
        """Return the storage engine's estimate."""
        rows = self.fetch_all(
            "SELECT table_rows FROM information_schema.tables"
            " WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table",
            {"schema": table.schema, "table": table.table},
        )
        return int(rows[0][0]) if rows and rows[0][0] is not None else None

    def server_checks(self, connection: sqlalchemy.Connection) -> Iterator[Check]:
        """Report version, TLS, clock and read-only."""
        version, now = connection.exec_driver_sql("SELECT version(), UNIX_TIMESTAMP(NOW(6))").one()
        yield version_check(version if "MariaDB" in version else f"MySQL {version}")
        driver_connection: Any = connection.connection.dbapi_connection
        with driver_connection.cursor() as cursor:
            yield tls_check(bool(_tls_cipher(cursor)), required=self.tls_required)
            # One name in MySQL, the other in older MariaDB.
            cursor.execute("SHOW VARIABLES WHERE Variable_name IN ('transaction_read_only', 'tx_read_only')")
            read_only = any(value == "ON" for _, value in cursor.fetchall())
        yield clock_check(now)
        yield read_only_check(read_only)

    @contextmanager
    def failures(self, statement: str = "") -> Iterator[None]:
        """Map errors as any backend does, and PyMySQL's when it lacks a package to authenticate."""
        with super().failures(statement):
            try:
                yield
            except RuntimeError as error:
                extra = next((extra for package, extra in _AUTHENTICATION.items() if package in str(error)), None)
                if extra is None:
                    raise
                raise DriverMissing(
                    "PyMySQL needs another package for the way in which the server authenticates this user",
                    hint=f"pip install 'pymysql[{extra}]'",
                ) from None

    def failure(self, error: Exception, statement: str = "") -> RivetError:
        """Map by the server's error number (Server Error Message Reference)."""
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        message = str(error.args[1]) if len(error.args) > 1 else ""
        if number == _LOST and "timed out" in message:
            return silence(self.read_timeout)
        if number == _DUPLICATE_COLUMN:
            return QueryError("the query has more than one column of one name", hint="give each its own name with AS")
        if number in _NAMING:
            # These messages quote names, never values.
            return QueryError(f"the server refuses the query: {message}", hint="check the names")
        if number == _SYNTAX:
            line = re.search(r"at line (\d+)$", message)
            where = f" in line {line.group(1)}" if line else ""
            return QueryError(f"the query has a syntax error{where}", hint="try it in the mysql client")
        for numbers, build, said, hint in _FAILURES:
            if number in numbers:
                return build(f"{said} (error {number})", hint=hint)
        return SourceError(f"the database server failed with error {number}", hint="try the query in the mysql client")


#: PyMySQL's extras by what they bring: for caching_sha2_password and sha256_password without TLS, and for ed25519.
_AUTHENTICATION: Final = {"cryptography": "rsa", "pynacl": "ed25519"}
_SYNTAX: Final = 1064
_DUPLICATE_COLUMN: Final = 1060
_LOST: Final = 2013
# unknown table, column, function, database in the query; ambiguous column
_NAMING: Final = frozenset({1146, 1054, 1305, 1052, 1109})
_FAILURES: Final[tuple[tuple[frozenset[int], type[RivetError], str, str], ...]] = (
    (frozenset({1045, 1698, 3118, 1130, 1251}), SourceDenied, "the server refuses the user or the password",
     "check user and password"),
    (frozenset({1044, 1142, 1143, 1227, 1370}), SourceDenied, "the server denies the access",
     "grant SELECT on what the query reads"),
    (frozenset({1049}), QueryError, "the server has no database of this name", "check database"),
    (frozenset({1792, 1290}), QueryError, "the query would write, and Rivet only reads", "use SELECT alone"),
    (frozenset({1365, 1690, 1292, 1242, 1366}), QueryError, "the query fails on a value", "try it in the mysql client"),
    (frozenset({1300}), QueryError, "the server refuses a character of the query",
     "names hold none beyond U+FFFF, so no emoji of that range either"),
    (frozenset({2026}), SourceUnavailable, "no TLS connection to the server", "check tls.mode and tls.ca_file"),
    (frozenset({1969, 3024}), SourceError, "the server's time limit has ended the statement",
     "raise max_statement_time (MariaDB) or max_execution_time (MySQL) for Rivet's user, or make chunk_size smaller"),
    (frozenset({1317}), SourceError, "somebody has ended the statement", "ask the server's administrator"),
    (frozenset({1412}), SourceError, "the table was altered while it was read", "run the command again"),
    (frozenset({1040, 1041, 1203, 1226}), SourceUnavailable, "the server lacks resources",
     "see max_connections and the limits of the user, or set parallel lower"),
    (frozenset({1205, 1213}), SourceUnavailable, "the server gave up on a lock",
     "see lock_wait_timeout, and who holds the table"),
    (frozenset({1159, 1160, 1161}), SourceUnavailable, "the server gave up on the connection while rows were sent",
     "the destination takes rows too slowly; raise net_write_timeout"),
    (frozenset({1927, 3169, 4031}), SourceUnavailable, "the server has ended the connection",
     "see wait_timeout and idle_transaction_timeout, and whether an administrator did it"),
    (frozenset({0, 1053, 1152, 2002, 2003, 2006, 2013, 2014}), SourceUnavailable,
     "cannot connect to the server, or the connection was lost", "check host and port, and whether the server runs"),
)  # fmt: skip


def result_column(field: Any) -> ResultColumn:
    """Map one field packet of the protocol."""
    nullable = not field.flags & _NOT_NULL_FLAG
    code, length, binary = field.type_code, field.length, field.charsetnr == _BINARY_CHARSET
    if code in FIXED_TYPES:
        name, signed, unsigned = FIXED_TYPES[code]
        is_unsigned = bool(field.flags & _UNSIGNED_FLAG) and at.is_integer(signed) and name != "year"
        if code == _TINYINT and length == 1 and not is_unsigned:
            name = _BOOLEAN
        return ResultColumn(
            field.name,
            name + " unsigned" * is_unsigned,
            unsigned if is_unsigned else signed,
            nullable,
            problem=_ROUNDED if code == _FLOAT else "",
            remedy="float32",
        )
    if code == _NEWDECIMAL:
        # The length counts the sign and the point.
        precision = length - (field.scale > 0) - (not field.flags & _UNSIGNED_FLAG)
        make = pa.decimal128 if precision <= 38 else pa.decimal256
        return ResultColumn(field.name, f"decimal({precision},{field.scale})", make(precision, field.scale), nullable)
    if code == _NULL or (code in _STRINGS and binary and length == 0):
        return ResultColumn(field.name, "null", pa.null())
    if code == _JSON:
        return ResultColumn(field.name, "json", pa.json_(pa.string()), nullable)
    if code in _RAW or binary:
        name = f"bit({length})" if code == _BIT else _RAW.get(code, "binary")
        return ResultColumn(field.name, name, pa.binary(), nullable, short=length <= SHORT_BYTES)
    kind = "enum" if field.flags & _ENUM_FLAG else "set" if field.flags & _SET_FLAG else "text"
    column = ResultColumn(field.name, kind, pa.string(), nullable, short=length <= SHORT_BYTES)
    return column if kind == "text" else replace(column, fidelity="text")


def _of_one_width(column: ResultColumn, field: Any) -> ResultColumn:
    """Widen an integer that is no table's column: MySQL changes its width where the query stands in a larger one."""
    if field.db or column.type is None or not at.is_integer(column.type) or field.type_code == _YEAR:
        return column
    name, signed, unsigned = FIXED_TYPES[_BIGINT]
    if at.is_signed_integer(column.type):
        return replace(column, source_type=name, type=signed)
    return replace(column, source_type=f"{name} unsigned", type=unsigned)


def as_declared(column: ResultColumn, declared: str, nullable: bool) -> ResultColumn:
    """Refine a column by its declaration, which knows what the protocol does not tell."""
    column = replace(column, source_type=declared, nullable=nullable)
    match declared:
        case "uuid":
            return replace(column, type=pa.uuid(), fidelity="exact")
        case "json":
            return replace(column, type=pa.json_(pa.string()), fidelity="exact")
        case "inet4" | "inet6":
            return replace(column, fidelity="text")
    # ``table_text`` reads FLOAT with all its digits.
    return replace(column, type=pa.float32(), problem="") if _is_float(declared) else column


def leave_vectors_bytes(result: Any) -> None:
    """Keep PyMySQL, which does not know vectors, from decoding them as text."""
    for index, field in enumerate(result.fields):
        if field.type_code == _VECTOR:
            result.converters[index] = (None, None)


def _is_float(declared: str) -> bool:
    return declared.startswith("float")


def _is_date(type_: pa.DataType | None) -> bool:
    return type_ is not None and bool(at.is_date(type_) or at.is_timestamp(type_))


def _is_instant_type(natural: pa.DataType | None, target: pa.DataType) -> bool:
    return natural is not None and text.is_instant(natural) and text.is_instant(target)


def _instants(target: Any) -> Decoder:
    """Decode TIMESTAMP, whose text has no zone: the session's is UTC."""
    return lambda values: text.parse(values, pa.timestamp(target.unit)).cast(target)


def _bit_decoder(target: pa.DataType) -> Decoder:
    def decode(values: Sequence[bytes | None]) -> pa.Array[Any]:
        numbers = pa.array([None if value is None else int.from_bytes(value) for value in values], pa.uint64())
        return text.checked_cast(numbers, target)

    return decode


def _zero_dates(decode: Decoder, policy: str) -> Decoder:
    """Apply ``types.zero_dates``: NULL, or a refusal that says what the value is."""

    def nulled(values: Sequence[str | None]) -> pa.Array[Any]:
        return decode([None if value is None or _ZERO_DATE.fullmatch(value) else value for value in values])

    def refused(values: Sequence[str | None]) -> pa.Array[Any]:
        try:
            return decode(values)
        except pa.ArrowInvalid:
            if any(value is not None and _ZERO_DATE.fullmatch(value) for value in values):
                raise Refused("is a zero date (see types.zero_dates)") from None
            raise

    return nulled if policy == "null" else refused


def _tls_cipher(cursor: Any) -> str:
    cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    return str(cursor.fetchone()[1])
