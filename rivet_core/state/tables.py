"""The tables of the state database, in the types that SQLite, PostgreSQL and MySQL share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.event import listens_for
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

#: The version of the tables below; a change of them needs a migration (``database.MIGRATIONS``).
SCHEMA_VERSION = 3

#: SQLAlchemy's names of the dialect; an option of a table begins with the one that is used.
MYSQL_DIALECTS: Final = frozenset({"mysql", "mariadb"})
_ON_MYSQL: Final = {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}
_Name = String(255)


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored as ISO 8601 text in UTC with microseconds: it sorts, and every engine keeps all of it."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Write ``2026-11-22T17:21:00.123000Z``; a naive time is refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Read it back as an aware time in UTC."""
        return None if value is None else datetime.fromisoformat(value)


class database_clock(FunctionElement[float]):  # noqa: N801  reads like a function in a statement
    """The database's own time when the statement runs, in seconds since 1970-01-01 UTC."""

    type = Double()
    inherit_cache = True


@compiles(database_clock, "sqlite")
def _sqlite_clock(element: database_clock, compiler: SQLCompiler, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # 2440587.5 is the Julian day of 1970-01-01


@compiles(database_clock, "postgresql")
def _postgresql_clock(element: database_clock, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(database_clock, "mysql")
@compiles(database_clock, "mariadb")
def _mysql_clock(element: database_clock, compiler: SQLCompiler, **kw: Any) -> str:
    return "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6)"


metadata = MetaData()


@listens_for(Table, "before_create")
def _as_on_mysql(target: Table, connection: Connection, **_kw: Any) -> None:
    """Say how MySQL shall keep a table. Said in its definition, it would load that dialect in every process."""
    name = connection.dialect.name
    if target.metadata is metadata and name in MYSQL_DIALECTS:
        target.dialect_kwargs.update({f"{name}_{option}": value for option, value in _ON_MYSQL.items()})


schema = Table("rivet_schema", metadata, Column("version", Integer, nullable=False))

lease = Table(
    "rivet_lease",
    metadata,
    Column("export", _Name, primary_key=True),
    # Counts the acquisitions. The row outlives its owner, so that no token is ever given twice.
    Column("token", BigInteger, nullable=False),
    Column("pid", BigInteger),  # NULL: released
    Column("pid_started", Double),
    Column("host", Text),
    Column("host_identity", Text),
    Column("acquired_at", Double),
    Column("heartbeat", Double),
)

run = Table(
    "rivet_run",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("run_id", _Name, nullable=False, unique=True),
    Column("export", _Name, nullable=False),
    Column("mode", String(32), nullable=False),
    Column("prefix_uri", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("success_version", Text),
    Column("manifest_fingerprint", String(64)),
    Column("error_code", String(16)),
    Column("error_message", Text),
    Column("rows", BigInteger, nullable=False, default=0),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    Column("parts", BigInteger, nullable=False, default=0),
    Column("prefix", Text),
    Column("inputs", Text),
    Column("resumes", _Name),
    # The columns of the result, as the manifest has them.
    Column("columns", Text),
    Index("rivet_run_export", "export", "sequence"),
    sqlite_autoincrement=True,
)

part = Table(
    "rivet_part",
    metadata,
    Column("run_id", _Name, ForeignKey(run.c.run_id, ondelete="CASCADE"), primary_key=True),
    Column("key", _Name, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("committed", Integer, nullable=False, default=0),
    Column("rows", BigInteger),
    Column("size_bytes", BigInteger),
    Column("content_fingerprint", String(64)),
    Column("version", Text),
    Column("attempt", Integer),
    Column("chunk", BigInteger),
    Column("checksums", Text),
    # The run whose part it is: that of the row, or an earlier one that it resumes.
    Column("written_by", _Name),
)

chunk = Table(
    "rivet_chunk",
    metadata,
    Column("run_id", _Name, ForeignKey(run.c.run_id, ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("bounds", Text, nullable=False),
    # The attempt whose parts are all committed; NULL while there is none.
    Column("attempt", Integer),
)

cursor = Table(
    "rivet_cursor",
    metadata,
    Column("export", _Name, primary_key=True),
    Column("column", _Name, nullable=False),
    Column("value", Text, nullable=False),
    Column("run_id", _Name, nullable=False),
    Column("advanced_at", UtcTime, nullable=False),
)

event = Table(
    "rivet_event",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("run_id", _Name, nullable=False, index=True),
    Column("export", _Name, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("fields", Text, nullable=False),
    sqlite_autoincrement=True,
)
