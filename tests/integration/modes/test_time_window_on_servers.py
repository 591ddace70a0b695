"""Time windows on PostgreSQL and MariaDB by every type of time column."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from integration.modes.exports import Exports
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres

DAYS = 3


class Column(NamedTuple):
    """A type, and its value at a moment as SQL."""

    type: str
    value: str
    unit: str = "timestamp"


POSTGRES = {
    "date": Column("date", "'{day}'"),
    "timestamp": Column("timestamp", "'{utc}'"),
    "timestamptz": Column("timestamptz", "'{utc}+00'"),
    "text": Column("text", "'{utc}'"),
    "seconds": Column("int", "{seconds}", "seconds"),
    "decimal seconds": Column("numeric(20,6)", "{seconds}", "seconds"),
    "float seconds": Column("double precision", "{seconds}", "seconds"),
    "milliseconds": Column("bigint", "{milliseconds}", "milliseconds"),
}
MARIADB = {
    "date": Column("date", "'{day}'"),
    "datetime": Column("datetime(6)", "'{utc}'"),
    "timestamp": Column("timestamp(6)", "'{utc}'"),
    "text": Column("varchar(30)", "'{utc}'"),
    "seconds": Column("int unsigned", "{seconds}", "seconds"),
    "milliseconds": Column("bigint", "{milliseconds}", "milliseconds"),
}


@pytest.fixture(scope="module")
def postgres_database(postgres: Postgres) -> Postgres:
    return postgres.create_database()


@pytest.fixture(scope="module")
def mariadb_database(mariadb: Mariadb) -> Mariadb:
    return mariadb.create_database()


@pytest.mark.parametrize("name", POSTGRES)
def test_postgres(postgres_database: Postgres, tmp_path: Path, name: str):
    check(Exports(tmp_path, postgres_database), postgres_database, POSTGRES[name])


@pytest.mark.parametrize("name", MARIADB)
def test_mariadb(mariadb_database: Mariadb, tmp_path: Path, name: str):
    check(Exports(tmp_path, mariadb_database), mariadb_database, MARIADB[name])


def at(column: Column, moment: datetime) -> str:
    return column.value.format(
        day=moment.date(),
        utc=moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds"),
        seconds=int(moment.timestamp()),
        milliseconds=int(moment.timestamp() * 1000),
    )


def check(exports: Exports, server: DatabaseServer, column: Column) -> None:
    """Rows of an hour before and after the edge, of the edge's day, and without a time."""
    now = datetime.now(UTC)
    edge = now - timedelta(days=DAYS)
    outside = edge - timedelta(days=1) if column.type == "date" else edge - timedelta(hours=1)
    moments = [outside, edge + timedelta(hours=1), now, now + timedelta(days=1)]
    rows = [f"({number}, {at(column, moment)})" for number, moment in enumerate(moments)]
    server.execute(
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id int PRIMARY KEY, at {column.type})",
        "INSERT INTO t VALUES (100, NULL)",
    )
    exports.export("time_window", time_column="at", window_days=DAYS, time_unit=column.unit)
    assert exports.succeed().rows == 0
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'" if isinstance(server, Postgres) else "SET time_zone = '+00:00'")
        cursor.execute(f"INSERT INTO t VALUES {', '.join(rows)}")
    assert exports.succeed().rows == 3
    assert [row["id"] for row in exports.delivered()] == [1, 2, 3]
    extraction = exports.manifest.source.extraction
    assert (extraction.strategy, extraction.cursor_column) == ("time_window", "at")
    assert extraction.cursor_low is not None
    (part,) = exports.manifest.parts
    assert part.range is not None
    assert (part.range.low, part.range.low_inclusive) == ((extraction.cursor_low,), True)


@pytest.mark.parametrize(
    ("type_", "unit", "said"),
    [
        ("int", "timestamp", "no date or timestamp"),
        ("timestamp", "seconds", "no seconds"),
        ("text", "seconds", "no se"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(
    postgres_database: Postgres, tmp_path: Path, type_: str, unit: str, said: str
):
    postgres_database.execute("DROP TABLE IF EXISTS t", f"CREATE TABLE t (id int PRIMARY KEY, at {type_})")
    exports = Exports(tmp_path, postgres_database)
    exports.export("time_window", time_column="at", window_days=DAYS, time_unit=unit)
    result = exports.run()
    assert result.error is not None
    assert (result.error.exit_code, said in result.error.message) == (2, True)


@pytest.mark.parametrize("null", ["NULL", "NOT NULL"])
def test_zero_dates_alone_are_in_no_window(mariadb_database: Mariadb, tmp_path: Path, null: str):
    with mariadb_database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("DROP TABLE IF EXISTS t")
        cursor.execute(f"CREATE TABLE t (id int PRIMARY KEY, at date {null})")
        cursor.execute("INSERT INTO t VALUES (1, '0000-00-00')")
    exports = Exports(tmp_path, mariadb_database)
    exports.export("time_window", time_column="at", window_days=DAYS)
    assert exports.succeed().rows == 0
