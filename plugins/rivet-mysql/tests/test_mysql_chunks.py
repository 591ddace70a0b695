"""Chunks of MySQL and MariaDB where their order, their NULL or a session's settings have a meaning of their own."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import pyarrow as pa
import pytest
import sqlalchemy
from pymysql.cursors import SSCursor

from integration.source.both_sources import open_builtin, open_native, read
from rivet_core.api import Query, QueryError
from rivet_core.config import Chunking
from rivet_core.engine.selecting.chunks import plan_chunks
from rivet_mysql import prepared
from servers.mariadb import Mariadb
from servers.mysql import Mysql

OPENERS = pytest.mark.parametrize("open_source", [open_native, open_builtin])
ROWS = 12


@pytest.fixture
def database(server: Mariadb | Mysql) -> Mariadb | Mysql:
    return server.create_database()


def fill(database: Mariadb, table: str, columns: str, *values: str) -> None:
    """Create a table of twelve rows that repeats the values of its first column, and counts in ``n``."""
    rows = ", ".join(f"({values[n % len(values)]}, {n})" for n in range(ROWS))
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute(f"CREATE TABLE {table} ({columns}, n int NOT NULL)")
        cursor.execute(f"INSERT INTO {table} VALUES {rows}")


def chunked(open_source, database: Mariadb, query: Query | str, *key: str, size: int = 2, **options) -> pa.Table:
    """Read all chunks, one after the other."""
    with closing(open_source(database.url, **options)) as source:
        query = source.table_query(query) if isinstance(query, str) else query
        batches = []
        for chunk in plan_chunks(source, query, source.describe(query), Chunking(key, size=size)).chunks:
            with source.read(chunk.query, batch_bytes=1_000_000) as stream:
                batches += stream
    return pa.Table.from_batches(batches)


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("enum('new','done')", ("'new'", "'done'")),
        ("set('z','a')", ("'z'", "'a'", "'z,a'")),
        ("json", ("'{}'", "'[1]'", "'1'")),
        ("bit(8)", ("1", "40", "200")),
    ],
)
def test_a_type_that_is_sorted_otherwise_than_compared_cuts_no_chunks(
    database: Mariadb, declared: str, values: tuple[str, ...]
) -> None:
    fill(database, "things", f"state {declared} NOT NULL", *values)
    for query in ("things", Query("SELECT state, n FROM things")):
        if declared == "json" and isinstance(query, Query) and not isinstance(database, Mysql):
            continue  # MariaDB's is text, and is known by the table alone
        for key in (("state",), ("state", "n")):
            with pytest.raises(QueryError, match="chunks cannot be cut by state, which is a"):
                chunked(open_native, database, query, *key)


@pytest.mark.parametrize("declared", ["date", "datetime", "datetime(6)"])
def test_a_zero_date_that_becomes_null_is_in_one_chunk(database: Mariadb, declared: str) -> None:
    fill(database, "days", f"day {declared} NOT NULL", "'0000-00-00'", "'2026-11-22'", "'2026-11-23'")
    table = chunked(open_native, database, "days", "day", zero_dates="null")
    assert Counter(table["n"].to_pylist()) == Counter(range(ROWS))
    assert table["day"].null_count == ROWS // 3
    fill(database, "absent", f"day {declared}", "'0000-00-00'", "NULL", "'2026-11-23'")
    table = chunked(open_native, database, "absent", "day", zero_dates="null")
    assert Counter(table["n"].to_pylist()) == Counter(range(ROWS))


def test_texts_that_differ_behind_what_is_sorted_by_default(database: Mariadb) -> None:
    names = [f"CONCAT(REPEAT('x', 1100), '{n * 7 % ROWS:02}')" for n in range(ROWS)]
    fill(database, "named", "name varchar(2000) CHARACTER SET latin1 NOT NULL", *names)
    table = chunked(open_native, database, "named", "name")
    assert Counter(table["n"].to_pylist()) == Counter(range(ROWS))


@OPENERS
def test_no_setting_of_the_server_ends_a_result_early(database: Mariadb, open_source) -> None:
    fill(database, "many", "x int", "1")
    url = sqlalchemy.make_url(database.url).update_query_dict({"init_command": "SET sql_select_limit = 5"})
    assert read(open_source, url.render_as_string(hide_password=False), "many").num_rows == ROWS


def test_bytes_in_the_text_are_left_to_the_driver_that_wrote_them(server: Mariadb | Mysql) -> None:
    with server.connect() as connection, connection.cursor(SSCursor) as cursor:
        assert not prepared.run(cursor, "SELECT _binary'\udc80'", lambda described: True)
        assert prepared.run(cursor, "SELECT 1", lambda described: True)
        cursor._result._finish_unbuffered_query()
