"""The built-in source passes the conformance kit with SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy

from rivet_core.testing import SourceHarness, SourceSuite, TypeCase
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres

ID = uuid.UUID("0e9ff0a0-1d0c-4b83-9e0e-3c2a7b1d9f00")
DATE = dt.date(2026, 11, 22)
TIME = dt.datetime(2026, 11, 22, 17, 21, 0, 123456)

COMMON = (
    TypeCase("INTEGER", "-7", "int32", -7),
    TypeCase("BIGINT", "9223372036854775807", "int64", 2**63 - 1),
    TypeCase("DECIMAL(12,2)", "1.50", "decimal(12,2)", Decimal("1.50")),
    TypeCase("VARCHAR(20)", "'50%'", "string", "50%"),
    TypeCase("DATE", "'2026-11-22'", "date32", DATE),
)
SQLITE = (
    TypeCase("INTEGER", "-7", "int64", -7),
    TypeCase("DECIMAL(12,2)", "1.5", "decimal(12,2)", Decimal("1.50")),
    TypeCase("TEXT", "''", "string", ""),
    TypeCase("BLOB", "x'00ff'", "binary", b"\x00\xff"),
    TypeCase("DATE", "'2026-11-22'", "date32", DATE),
    TypeCase("TIMESTAMP", "'2026-11-22 17:21:00.123456'", "timestamp[us]", TIME),
)
POSTGRES = (
    *COMMON,
    TypeCase("bytea", r"'\x00ff'", "binary", b"\x00\xff"),
    TypeCase("timestamp", "'2026-11-22 17:21:00.123456'", "timestamp[us]", TIME),
    TypeCase("timestamptz", "'2026-11-22 18:21:00.123456+01'", "timestamp[us,UTC]", TIME.replace(tzinfo=dt.UTC)),
    TypeCase("uuid", f"'{ID}'", "uuid", ID),
    TypeCase("integer[]", "'{1,NULL}'", "list<int32>", [1, None]),
)
MARIADB = (
    *COMMON,
    TypeCase("BIGINT UNSIGNED", "18446744073709551615", "uint64", 2**64 - 1),
    TypeCase("VARBINARY(8)", "x'00ff'", "binary", b"\x00\xff"),
    TypeCase("DATETIME(6)", "'2026-11-22 17:21:00.123456'", "timestamp[us]", TIME),
)


@contextmanager
def raw_access(url: str) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def served(server: DatabaseServer, types: tuple[TypeCase, ...]) -> Iterator[SourceHarness]:
    database = server.create_database()
    with raw_access(database.url) as engine:
        yield SourceHarness(
            config={"url": database.url},
            engine=engine,
            types=types,
            unreachable={"url": database.through(1).url},
            secrets=[database.password],
        )


class TestSqlite(SourceSuite):
    source = "sqlite"

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[SourceHarness]:
        path = tmp_path / "kit.db"
        path.touch()
        with raw_access(f"sqlite:///{path}") as engine:
            yield SourceHarness(config={"database": str(path)}, engine=engine, types=SQLITE)


class TestPostgres(SourceSuite):
    source = "sqlalchemy"  # `postgres` is the native source where that is installed

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, postgres: Postgres) -> Iterator[SourceHarness]:
        with served(postgres, POSTGRES) as harness:
            yield harness


class TestMariadb(SourceSuite):
    source = "sqlalchemy"  # `mariadb` is the native source where that is installed

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, mariadb: Mariadb) -> Iterator[SourceHarness]:
        with served(mariadb, MARIADB) as harness:
            yield harness
