"""Incremental runs on PostgreSQL and MariaDB by every kind of cursor: late, tied and updated rows, the state lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from integration.modes.exports import Exports
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres


class Cursor(NamedTuple):
    """A type, six of its values as SQL in their order, and a lag that reaches from the fourth to the first, if any."""

    type: str
    values: tuple[str, str, str, str, str, str]
    lag: Any = None


def numbers(*values: object) -> tuple[str, ...]:
    return tuple(map(str, values))


def texts(*values: str) -> tuple[str, ...]:
    return tuple(f"'{value}'" for value in values)


UUIDS = texts(*(f"{first}0000000-0000-4000-8000-000000000000" for first in "019abf"))
DAYS = texts("1969-12-30", "1969-12-31", "2026-03-28", "2026-03-29", "2026-03-30", "2026-11-23")
MOMENTS = texts(
    "2026-03-28 23:59:59.5", "2026-03-29 00:59:59.999999", "2026-03-29 01:30:00", "2026-03-29 02:30:00",
    "2026-03-29 02:30:00.000001", "2026-10-25 02:30:00",
)  # fmt: skip
POSTGRES = {
    "smallint": Cursor("smallint", numbers(-9, -1, 0, 1, 2, 32767), 10),
    "bigint": Cursor("bigint", numbers(-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1)),
    "numeric": Cursor("numeric(12,2)", numbers(-1.5, -0.25, 0, 10, 10.01, 9999999999.99), 12),
    "wide": Cursor("numeric(40,5)", numbers(*(f"{n}2345678901234567890.12345" for n in (-1, 1, 2, 3, 4, 5)))),
    "date": Cursor("date", DAYS, "25000d"),
    "timestamp": Cursor("timestamp", MOMENTS, "3h"),
    "timestamptz": Cursor("timestamptz", MOMENTS, "3h"),
    "text": Cursor("text", texts("", "10", "9", "a", "b", "c")),
    "char": Cursor("char(8)", texts("1", "10", "9", "a", "b", "c")),
    "nocase": Cursor('text COLLATE "nocase"', texts("1", "9", "A", "b", "C", "d")),
    "uuid": Cursor("uuid", UUIDS),
    "enum": Cursor("state", texts("new", "paid", "lost", "found", "back", "gone")),
    "bytea": Cursor("bytea", texts("", "\\x00", "\\x0001", "\\x7f", "\\x80", "\\xff")),
}
MARIADB = {
    "tinyint": Cursor("tinyint", numbers(-9, -1, 0, 1, 2, 127), 10),
    "unsigned": Cursor("bigint unsigned", numbers(0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1)),
    "decimal": Cursor("decimal(12,2)", numbers(-1.5, -0.25, 0, 10, 10.01, 9999999999.99), 12),
    "date": Cursor("date", DAYS, "25000d"),
    "datetime": Cursor("datetime(6)", MOMENTS, "3h"),
    "timestamp": Cursor("timestamp(6)", MOMENTS, "3h"),
    "nocase": Cursor("varchar(20)", texts("1", "9", "A", "b", "C", "d")),
    "binary": Cursor("varbinary(20)", texts("", "10", "9", "A", "a", "b")),
    "uuid": Cursor("uuid", UUIDS),
}


@pytest.fixture(scope="module")
def postgres_database(postgres: Postgres) -> Postgres:
    database = postgres.create_database()
    database.execute(
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TYPE state AS ENUM ('new', 'paid', 'lost', 'found', 'back', 'gone')",
    )
    return database


@pytest.fixture(scope="module")
def mariadb_database(mariadb: Mariadb) -> Mariadb:
    return mariadb.create_database()


@pytest.mark.parametrize("name", POSTGRES)
def test_postgres(postgres_database: Postgres, tmp_path: Path, name: str):
    check(Exports(tmp_path, postgres_database), postgres_database, POSTGRES[name])


@pytest.mark.parametrize("name", MARIADB)
def test_mariadb(mariadb_database: Mariadb, tmp_path: Path, name: str):
    check(Exports(tmp_path, mariadb_database), mariadb_database, MARIADB[name])


def check(exports: Exports, server: DatabaseServer, cursor: Cursor) -> None:
    v = cursor.values
    server.execute(
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id int NOT NULL, part varchar(5) NOT NULL, note varchar(20), v {cursor.type} NOT NULL, "
        "PRIMARY KEY (id, part))",
        f"INSERT INTO t VALUES (1, 'x', 'first', {v[1]}), (2, 'x', 'second', {v[2]}), (3, 'x', 'third', {v[3]})",
    )
    options = {} if cursor.lag is None else {"lag": cursor.lag}
    exports.export("incremental", cursor_column="v", **options)
    assert exports.succeed().new_rows == 3
    assert exports.succeed().unchanged

    server.execute(
        f"INSERT INTO t VALUES (4, 'x', 'tied', {v[3]}), (5, 'x', 'fifth', {v[4]}), (6, 'x', 'late', {v[0]})",
        f"UPDATE t SET note = 'updated', v = {v[4]} WHERE id = 1",
    )
    late = int(cursor.lag is not None)
    assert exports.succeed().new_rows == 3 + late
    exports.forget()
    assert exports.succeed().unchanged

    server.execute(f"INSERT INTO t VALUES (7, 'x', 'tied', {v[4]}), (8, 'x', 'last', {v[5]})")
    assert exports.succeed().new_rows == 2
    server.execute("DELETE FROM t WHERE id = 8", f"INSERT INTO t VALUES (9, 'x', 'tied with none', {v[5]})")
    assert exports.succeed().new_rows == 1
    exports.forget()
    assert exports.succeed().unchanged

    rows = exports.delivered()
    assert len({(row["id"], str(row["v"])) for row in rows}) == len(rows) == 9 + late
    gone = [row for row in exports.latest() if row["id"] == 8]
    missing = [row for row in exports.in_source() if row["id"] == 6 and not late]
    assert [row for row in exports.latest() if row not in gone] == [
        row for row in exports.in_source() if row not in missing
    ]


@pytest.fixture(params=["postgres_database", "mariadb_database"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    return request.getfixturevalue(request.param)


def test_a_key_that_differs_only_in_what_a_collation_ignores_is_another_key(server: DatabaseServer, tmp_path: Path):
    collation = 'COLLATE "C"' if isinstance(server, Postgres) else "COLLATE utf8mb4_nopad_bin"
    server.execute(
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id varchar(20) {collation} PRIMARY KEY, v int NOT NULL)",
        "INSERT INTO t VALUES ('a', 1), ('ä', 1)",
    )
    exports = Exports(tmp_path, server)
    exports.export("incremental", cursor_column="v")
    assert exports.succeed().new_rows == 2
    server.execute("INSERT INTO t VALUES ('A', 1), ('a ', 1)")
    assert exports.succeed().new_rows == 2
    assert exports.latest() == exports.in_source()


def test_a_fallback_stands_in_for_null(server: DatabaseServer, tmp_path: Path):
    server.execute(
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (id int PRIMARY KEY, created timestamp NOT NULL, updated timestamp NULL)",
        "INSERT INTO t VALUES (1, '2026-01-01 10:00:00', NULL), (2, '2026-01-01 11:00:00', '2026-01-02 10:00:00')",
    )
    exports = Exports(tmp_path, server)
    exports.export("incremental", cursor_column="updated", cursor_fallback_column="created")
    assert exports.succeed().new_rows == 2
    server.execute(
        "INSERT INTO t VALUES (3, '2026-01-02 10:00:00', NULL)",
        "UPDATE t SET updated = '2026-01-03 00:00:00' WHERE id = 1",
    )
    assert exports.succeed().new_rows == 2
    assert exports.succeed().unchanged
    assert exports.latest() == exports.in_source()


def test_null_without_a_fallback_is_refused(server: DatabaseServer, tmp_path: Path):
    server.execute(
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (id int PRIMARY KEY, v int)",
        "INSERT INTO t VALUES (1, 1), (2, NULL)",
    )
    exports = Exports(tmp_path, server)
    exports.export("incremental", cursor_column="v")
    result = exports.run()
    assert result.error is not None
    assert "cursor_fallback_column" in result.error.hint


def test_floating_point_is_no_cursor(server: DatabaseServer, tmp_path: Path):
    server.execute("DROP TABLE IF EXISTS t", "CREATE TABLE t (id int PRIMARY KEY, v double precision NOT NULL)")
    exports = Exports(tmp_path, server)
    exports.export("incremental", cursor_column="v")
    result = exports.run()
    assert result.error is not None
    assert result.error.exit_code == 2


def test_a_time_that_gets_a_zone_is_another_cursor(server: DatabaseServer, tmp_path: Path):
    is_postgres = isinstance(server, Postgres)
    naive, zoned = ("timestamp", "timestamptz") if is_postgres else ("datetime", "timestamp")
    server.execute(
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id int PRIMARY KEY, v {naive} NOT NULL)",
        "INSERT INTO t VALUES (1, '2026-11-01 10:00:00')",
    )
    exports = Exports(tmp_path, server)
    exports.export("incremental", cursor_column="v")
    assert exports.succeed().new_rows == 1
    server.execute(
        f"ALTER TABLE t {f'ALTER v TYPE {zoned}' if is_postgres else f'MODIFY v {zoned} NOT NULL'}",
        # The server's zone is ahead of UTC, so this is the newest row and yet no larger than the last cursor.
        "INSERT INTO t VALUES (2, '2026-11-01 12:00:00')",
    )
    error = exports.run().error
    assert error is not None
    assert (error.exit_code, "when v was timestamp[us]" in error.message) == (5, True)


def test_an_infinite_cursor_is_refused(postgres_database: Postgres, tmp_path: Path):
    exports = Exports(tmp_path, postgres_database)
    for type_ in ("date", "timestamp", "timestamptz"):
        postgres_database.execute(
            "DROP TABLE IF EXISTS t",
            f"CREATE TABLE t (id int PRIMARY KEY, v {type_} NOT NULL)",
            "INSERT INTO t VALUES (1, 'infinity')",
        )
        exports.export("incremental", cursor_column="v")
        error = exports.run().error
        assert error is not None
        assert "is infinite" in error.message


def zero_dates(server: Mariadb, type_: str, *rows: str) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("DROP TABLE IF EXISTS t")
        cursor.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {type_})")
        cursor.execute(f"INSERT INTO t VALUES {', '.join(rows)}")


def test_zero_dates_that_are_not_null_are_delivered_once(mariadb_database: Mariadb, tmp_path: Path):
    for type_ in ("date NOT NULL", "date NULL"):
        zero_dates(mariadb_database, type_, "(1, '0000-00-00')", "(2, '2026-11-20')")
        directory = tmp_path / type_[5:]
        directory.mkdir()
        exports = Exports(directory, mariadb_database)
        exports.export("incremental", cursor_column="v", lag="1d", types={"zero_dates": "null"})
        assert exports.succeed().new_rows == 2
        assert exports.succeed().unchanged
        assert [row["v"] is None for row in exports.delivered()] == [True, False]


@pytest.mark.parametrize("largest", ["0000-00-00", "2026-12-00"])
@pytest.mark.parametrize("type_", ["date", "datetime"])
def test_no_run_ends_with_a_zero_date(mariadb_database: Mariadb, tmp_path: Path, type_: str, largest: str):
    zero_dates(mariadb_database, type_, "(1, '0000-00-00')", f"(2, '{largest}')")
    exports = Exports(tmp_path, mariadb_database)
    exports.export("incremental", cursor_column="v", types={"zero_dates": "null"})
    error = exports.run().error
    assert error is not None
    assert f"the largest v is {largest}" in error.message


def test_a_zero_date_within_the_lag_is_not_delivered_twice(mariadb_database: Mariadb, tmp_path: Path):
    zero_dates(mariadb_database, "date", "(1, '2026-12-00')", "(2, '2026-12-01')")
    exports = Exports(tmp_path, mariadb_database)
    exports.export("incremental", cursor_column="v", lag="2d", types={"zero_dates": "null"})
    assert exports.succeed().new_rows == 2
    error = exports.run().error
    assert error is not None
    assert "a v that is exported as NULL" in error.message


def test_the_rows_of_heirs_have_no_key_by_themselves(postgres_database: Postgres, tmp_path: Path):
    postgres_database.execute(
        'CREATE TABLE "Events" (id int PRIMARY KEY, v int NOT NULL)',
        'CREATE TABLE "heir" () INHERITS ("Events")',
        'INSERT INTO "Events" VALUES (1, 10)',
    )
    exports = Exports(tmp_path, postgres_database)
    for table in ("Events", "public.Events"):
        exports.export("incremental", table=table, cursor_column="v")
        error = exports.run().error
        assert error is not None
        assert "primary key" in error.message
        assert "inherit" in error.message
    exports.export("incremental", table="Events", cursor_column="v", key=["id", "v"])
    assert exports.succeed().new_rows == 1


def test_the_key_of_a_partitioned_table_holds_for_its_partitions(postgres_database: Postgres, tmp_path: Path):
    postgres_database.execute(
        "CREATE TABLE days (id int PRIMARY KEY, v int NOT NULL) PARTITION BY RANGE (id)",
        "CREATE TABLE first_days PARTITION OF days FOR VALUES FROM (0) TO (10)",
        "INSERT INTO days VALUES (1, 10)",
    )
    exports = Exports(tmp_path, postgres_database)
    exports.export("incremental", table="days", cursor_column="v")
    assert exports.succeed().new_rows == 1


@pytest.mark.parametrize("mode", ["incremental", "chunked"])
def test_what_an_heir_has_as_null_is_not_lost(postgres_database: Postgres, tmp_path: Path, mode: str):
    postgres_database.execute(
        "DROP TABLE IF EXISTS parent CASCADE",
        "CREATE TABLE parent (id int NOT NULL, v int NOT NULL)",
        "CREATE TABLE child () INHERITS (parent)",
        "INSERT INTO child VALUES (1, 10)",
    )
    try:
        postgres_database.execute("ALTER TABLE child ALTER v DROP NOT NULL")
    except psycopg.errors.Error:
        pytest.skip("this PostgreSQL lets no heir drop a constraint")
    postgres_database.execute("INSERT INTO child VALUES (2, NULL)")
    exports = Exports(tmp_path, postgres_database)
    if mode == "chunked":
        exports.export(mode, table="parent", chunk_column="v")
        assert exports.succeed().rows == 2
        return
    exports.export(mode, table="parent", cursor_column="v", key="id")
    error = exports.run().error
    assert error is not None
    assert "NULL in v" in error.message
