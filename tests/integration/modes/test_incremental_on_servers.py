"""Incremental runs on PostgreSQL and MariaDB by every kind of cursor: late, tied and updated rows, the state lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

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
