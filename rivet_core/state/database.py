"""One connection pool to the state database: how it is opened, brought to the current schema, and how it fails."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, insert, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from rivet_core.api import Secret, StateError, register_secret
from rivet_core.state import migrations, tables

#: How to go from version n - 1 to version n of the schema, by n. Each runs in one transaction with the new version.
MIGRATIONS: Mapping[int, Callable[[Connection], None]] = MappingProxyType(
    {2: migrations.add_chunks, 3: migrations.add_cursors}
)

#: How long a statement waits for another process's lock.
LOCK_WAIT_SECONDS = 30
#: How long to wait for a server to answer.
CONNECT_SECONDS = 10

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_EXTRAS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
_READ_ONLY = "rivet_read_only"
_MIGRATION_LOCK = 0x5249_5645_5400  # the key of a PostgreSQL advisory lock: "RIVET" in ASCII

# What a driver's message means: words in it, what happened, what to do. The first line that fits wins.
_SYMPTOMS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("database is locked", "database table is locked", "lock timeout", "lock wait timeout"),
        "is locked by another program",
        "close the program that keeps a transaction open in it, then run the command again",
    ),
    (
        ("disk is full", "no space left", "disk full"),
        "has no room left on its disk",
        "free some space, then run the command again",
    ),
    (
        ("readonly database", "read-only"),
        "is read-only",
        "make the file and its directory writable, or name another database in `state.url` or RIVET_STATE_URL",
    ),
    (
        ("unable to open database file",),
        "cannot be opened",
        "its directory must exist and be writable by this user",
    ),
    (
        ("not a database", "malformed"),
        "is damaged or no database at all",
        "restore it from a backup or move it away; a new one is created and published datasets stay valid",
    ),
    (
        ("support ssl", "ssl is required"),
        "cannot be reached with TLS",
        "turn TLS on in the server, or off in the URL: ?sslmode=disable (PostgreSQL), ?ssl_disabled=true (MySQL)",
    ),
    (
        ("authentication failed", "access denied", "permission denied", "no password supplied"),
        "refuses this user",
        "check user, password and grants of `state.url` or RIVET_STATE_URL; tables are created in it",
    ),
    (
        ("no such table", "no such column", "undefinedtable", "undefinedcolumn", "doesn't exist"),
        "lacks tables or columns of Rivet",
        "something else changed its schema; restore it from a backup or name another database in `state.url`",
    ),
    (
        ("unknown database", "does not exist"),
        "does not exist",
        "create it; Rivet creates its tables in it and nothing else",
    ),
)


class Database:
    """The state database: short transactions with every error mapped to ``StateError``. Safe for threads.

    Args:
        url: SQLAlchemy URL with its driver; SQLite names a file.

    Attributes:
        location: the URL without its password and options; a SQLite file by its path.
    """

    def __init__(self, url: URL) -> None:
        self.location = _shown(url)
        self._engine = _create_engine(url)
        self._reader = self._engine.execution_options(**{_READ_ONLY: True})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads; on SQLite it takes no write lock."""
        with self._mapped(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end of the block, or rolled back by an exception."""
        with self._mapped(), self._engine.begin() as connection:
            yield connection

    def prepare(self) -> None:
        """Create the tables or bring them to the current schema; safe when several processes do it at once.

        Raises:
            StateError: unreachable, not writable, not a database, or written by a newer release.
        """
        with self._mapped():
            if self._engine.dialect.name == "sqlite":
                _enable_wal(self._engine)
        with self.read() as connection:
            if self._version(connection) == tables.SCHEMA_VERSION:
                return
        with self._mapped(), self._engine.connect() as connection, self._mysql_lock(connection), connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            found = self._version(connection)
            if found is None:
                tables.metadata.create_all(connection)
            else:
                for version in range(found + 1, tables.SCHEMA_VERSION + 1):
                    MIGRATIONS[version](connection)
            connection.execute(delete(tables.schema))
            connection.execute(insert(tables.schema).values(version=tables.SCHEMA_VERSION))

    def is_prepared(self) -> bool:
        """Whether the tables are there; changes nothing.

        Raises:
            StateError: unreachable, not a database, or the tables of another release.
        """
        with self.read() as connection:
            found = self._version(connection)
        if found is not None and found < tables.SCHEMA_VERSION:
            raise StateError(
                f"the state database {self.location} has schema {found}; this release reads {tables.SCHEMA_VERSION}",
                hint="the next `rivet run` brings it up to date",
            )
        return found is not None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _version(self, connection: Connection) -> int | None:
        if not inspect(connection).has_table(tables.schema.name):
            return None
        found = connection.scalar(select(tables.schema.c.version))
        if found is not None and found > tables.SCHEMA_VERSION:
            raise StateError(
                f"the state database {self.location} has schema {found}; this release knows {tables.SCHEMA_VERSION}",
                hint="a newer rivet-core wrote it: upgrade this installation, or name another database in `state.url`",
            )
        return found

    @contextmanager
    def _mysql_lock(self, connection: Connection) -> Iterator[None]:
        """Keep other processes out of the schema where a transaction cannot: MySQL commits before and after DDL."""
        if connection.dialect.name not in tables.MYSQL_DIALECTS:
            yield
            return
        wait = {"seconds": LOCK_WAIT_SECONDS}
        if connection.scalar(text("SELECT GET_LOCK('rivet_schema', :seconds)"), wait) != 1:
            raise StateError(
                f"another process is changing the tables of the state database {self.location}",
                hint="run the command again when it has finished",
            )
        connection.commit()
        try:
            yield
        finally:
            connection.execute(text("SELECT RELEASE_LOCK('rivet_schema')"))
            connection.commit()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error, UnicodeError, OSError) as error:
            raise _state_error(error, self.location) from error


def open_database(url: Secret | str, base_dir: Path) -> Database:
    """Open the state database and bring it to the current schema.

    Args:
        url: any SQLAlchemy URL of SQLite (a file), PostgreSQL, MySQL or MariaDB; without a driver psycopg and PyMySQL
            are used.
        base_dir: where a relative SQLite file starts.

    Raises:
        StateError: no such dialect or driver, unreachable, read-only, corrupt, not a database, newer schema.
    """
    database = Database(_resolve(url, base_dir))
    try:
        database.prepare()
    except BaseException:
        database.close()
        raise
    return database


def open_existing(url: Secret | str, base_dir: Path) -> Database | None:
    """Open the state database for reading as it is; ``None`` if no run has used it yet. Creates and migrates nothing.

    Raises:
        StateError: as for ``open_database``, and where the schema is an older one.
    """
    parsed = _resolve(url, base_dir)
    file = str(parsed.database)
    if parsed.get_backend_name() == "sqlite" and not file.startswith("file:") and not Path(file).exists():
        return None
    database = Database(parsed)
    try:
        if database.is_prepared():
            return database
    except BaseException:
        database.close()
        raise
    database.close()
    return None


def location_of(url: Secret | str, base_dir: Path) -> str:
    """Return ``Database.location`` of a state database, which need not be there.

    Raises:
        StateError: the URL cannot be read, or names no database that can keep the state.
    """
    return _shown(_resolve(url, base_dir))


def _resolve(url: Secret | str, base_dir: Path) -> URL:
    try:
        parsed = make_url(url.reveal() if isinstance(url, Secret) else url)
    except ArgumentError as error:
        raise StateError(
            "the state database's URL cannot be read",
            hint="write it like sqlite:///.rivet_state.db or postgresql://user:password@host/database",
        ) from error
    for secret in (parsed.password, parsed.query.get("password"), parsed.query.get("sslpassword")):
        if isinstance(secret, str):
            register_secret(secret)
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    dialect = parsed.get_backend_name()
    if dialect not in {"sqlite", *_EXTRAS}:
        raise StateError(
            f"the state cannot be kept in {dialect}", hint="use a database of SQLite, PostgreSQL, MySQL or MariaDB"
        )
    if dialect != "sqlite":
        return parsed
    if not parsed.database or ":memory:" in parsed.database or parsed.query.get("mode") == "memory":
        raise StateError(
            "the state database must be a file: what is in memory keeps no two processes apart",
            hint="write it like sqlite:///.rivet_state.db",
        )
    if parsed.database.startswith("file:"):  # SQLite's own URI form, taken as it is
        return parsed
    return parsed.set(database=str(base_dir / parsed.database))


def _create_engine(url: URL) -> Engine:
    dialect = url.get_backend_name()
    options: dict[str, Any] = {"hide_parameters": True}
    if dialect == "sqlite":
        options["connect_args"] = {"timeout": LOCK_WAIT_SECONDS}
    else:
        options["connect_args"] = _server_defaults(url)
        options["pool_pre_ping"] = True  # a long run may find its idle connections closed
        options["isolation_level"] = "READ COMMITTED"
    try:
        engine = create_engine(url, **options)
    except NoSuchModuleError as error:
        raise StateError(f"SQLAlchemy knows no driver {url.drivername}", hint="leave the driver out") from error
    except ImportError as error:
        hint = f'pip install "rivet-core[{_EXTRAS[dialect]}]"' if dialect in _EXTRAS else ""
        raise StateError(f"the driver of the state database ({url.drivername}) is not installed", hint=hint) from error
    except SQLAlchemyError as error:
        raise _state_error(error, _shown(url)) from error
    if dialect == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif dialect == "postgresql":
        event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _server_defaults(url: URL) -> dict[str, Any]:
    """Return the driver's options beside the URL: a bounded wait, TLS to other hosts, a password in UTF-8."""
    options: dict[str, Any] = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
    if url.get_backend_name() != "postgresql" and url.password is not None:
        options["password"] = str(url.password).encode()  # PyMySQL makes Latin-1 of text, other clients UTF-8
    if url.host is None or _is_loopback(url.host) or any(name.startswith("ssl") for name in url.query):
        return options
    if url.get_backend_name() == "postgresql":
        options["sslmode"] = os.environ.get("PGSSLMODE", "require")
    else:  # as `require` does: encrypted, the certificate unchecked
        options["ssl"] = context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return options


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _set_up_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # the driver begins no transactions by itself: _begin_sqlite does
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # in WAL mode NORMAL may lose commits when the power fails


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the lock: SQLite fails it at once.
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _set_up_postgresql(connection: Any, record: object) -> None:
    # A process cut off in the middle of a transaction must not keep its row locks until TCP gives up.
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'")
    connection.execute(f"SET idle_in_transaction_session_timeout = '{LOCK_WAIT_SECONDS}s'")
    connection.autocommit = False


def _enable_wal(engine: Engine) -> None:
    """Switch the file to WAL, which it remembers. The switch does not wait for locks by itself."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except engine.dialect.loaded_dbapi.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    finally:
        connection.close()


def _shown(url: URL) -> str:
    """Return the URL without its password and options, a file by its path."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def _state_error(error: Exception, shown: str) -> StateError:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    detail = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
    searched = f"{type(cause).__name__} {cause}".lower()
    for words, what, hint in _SYMPTOMS:
        if any(word in searched for word in words):
            return StateError(f"the state database {shown} {what}: {detail}", hint=hint)
    return StateError(
        f"the state database {shown} failed: {detail}",
        hint="is it running and reachable, and is `state.url` or RIVET_STATE_URL right?",
    )
