"""Chunks of tables on PostgreSQL and MariaDB by every kind of key: together they are the table, each row once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy

from integration.source.open_source import BATCH_BYTES, opened
from rivet_core.api import Query, Source
from rivet_core.config import Chunking
from rivet_core.engine.selecting import key_order
from rivet_core.engine.selecting.chunks import Bounds, Chunk, plan_chunks
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres

ROWS = 500
CheckBothWays = Callable[..., None]

# Each key is unique; signs, gaps, letters of both cases, accents and trailing spaces are where engines differ.
POSTGRES_KEYS = {
    "small": "smallint", "large": "bigint", "amount": "numeric(12,2)", "wide": "numeric(40,5)", "day": "date",
    "moment": "timestamp", "instant": "timestamptz", "code": "varchar(40)", "fixed": "char(8)", "id": "uuid",
    "body": "bytea",
}  # fmt: skip
MARIADB_KEYS = {
    "small": "smallint", "large": "bigint unsigned", "amount": "decimal(12,2)", "wide": "decimal(40,5)", "day": "date",
    "moment": "datetime(6)", "instant": "timestamp(6)", "code": "varchar(40)", "fixed": "char(8)", "id": "uuid",
    "body": "varbinary(40)",
}  # fmt: skip
POSTGRES_VALUES = {
    "small": "i - 250", "large": "9223372036854775807 - i * i * 1000003::bigint", "amount": "(i - 250) * 1.25",
    "wide": "(i - 250) * 12345678901234567890.12345", "day": "date '1899-12-31' + i * 37",
    "moment": "timestamp '1969-12-31 23:59:59.999999' + i * interval '25 hours 1 microsecond'",
    "instant": "timestamptz '2026-03-28 23:59:59.5+00' + i * interval '10 minutes'",
    "code": "(ARRAY['a', 'B', 'ä', 'Z ', '%', 'ß '])[1 + i % 6] || i", "fixed": "'x' || i",
    "id": "md5(i::text)::uuid", "body": "decode(md5(i::text), 'hex')",
}  # fmt: skip
MARIADB_VALUES = {
    "small": "i - 250", "large": "18446744073709551615 - CAST(i * i * 1000003 AS UNSIGNED)",
    "amount": "(i - 250) * 1.25",
    "wide": "(i - 250) * 12345678901234567890.12345", "day": "DATE '1899-12-31' + INTERVAL i * 37 DAY",
    "moment": "TIMESTAMP '1969-12-31 23:59:59.999999' + INTERVAL i * 90001 SECOND",
    "instant": "TIMESTAMP '2026-03-28 23:59:59.5' + INTERVAL i * 10 MINUTE",
    "code": "CONCAT(ELT(1 + i % 6, 'a', 'B', 'ä', 'Z ', '%', 'ß '), i)", "fixed": "CONCAT('x', i)",
    "id": "CONCAT(LPAD(HEX(i * 7919 % 65536), 8, '0'), '-aaaa-4bbb-8ccc-', LPAD(HEX(i), 12, 'f'))",
    "body": "UNHEX(MD5(i))",
}  # fmt: skip


def columns(types: dict[str, str]) -> str:
    return ", ".join(f"{name} {type_} NOT NULL" for name, type_ in types.items())


def indexes(names: Iterable[str], table: str = "keys") -> list[str]:
    keys = {f"by_{name}": name for name in [*names, "maybe"]} | {"code_day": "code, day", "few_n": "few, n"}
    return [f"CREATE INDEX {name} ON {table} ({key})" for name, key in keys.items()]


@pytest.fixture(scope="module")
def postgres_table(postgres: Postgres) -> Postgres:
    database = postgres.create_database()
    database.execute(
        f"CREATE TABLE keys (n int PRIMARY KEY, maybe int, few int NOT NULL, {columns(POSTGRES_KEYS)})",
        f"INSERT INTO keys SELECT i, nullif(i % 7, 0), i % 3, {', '.join(POSTGRES_VALUES.values())} "
        f"FROM generate_series(1, {ROWS}) AS i",
        *indexes(POSTGRES_KEYS),
        "ANALYZE keys",
    )
    return database


@pytest.fixture(scope="module")
def mariadb_table(mariadb: Mariadb) -> Mariadb:
    database = mariadb.create_database()
    database.execute(
        f"CREATE TABLE `keys` (n int PRIMARY KEY, maybe int, few int NOT NULL, {columns(MARIADB_KEYS)})",
        f"INSERT INTO `keys` SELECT i, nullif(i % 7, 0), i % 3, {', '.join(MARIADB_VALUES.values())} "
        f"FROM (SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_{ROWS}) AS s",
        *indexes(MARIADB_KEYS, "`keys`"),
        "ANALYZE TABLE `keys`",
    )
    return database


def numbers(source: Source, chunk: Chunk) -> list[int]:
    with source.read(chunk.query, batch_bytes=BATCH_BYTES) as stream:
        return [n for batch in stream for n in batch.column("n").to_pylist()]


def check(server: DatabaseServer, chunking: Chunking, query: Query | None = None, table: str = "keys") -> list[int]:
    """Read every chunk, three at a time, and return their sizes."""
    with opened(server.url) as source:
        query = query or source.table_query(table)
        plan = plan_chunks(source, query, source.describe(query), chunking)
        with ThreadPoolExecutor(3) as threads:
            read = list(threads.map(lambda chunk: numbers(source, chunk), plan.chunks))
    assert Counter(n for chunk in read for n in chunk) == Counter(range(1, ROWS + 1))
    return [len(chunk) for chunk in read if chunk]


@pytest.mark.parametrize("name", POSTGRES_KEYS)
def test_postgres(postgres_table: Postgres, name: str):
    assert check(postgres_table, Chunking((name,), size=60)) == [60] * 8 + [20]


@pytest.mark.parametrize("name", MARIADB_KEYS)
def test_mariadb(mariadb_table: Mariadb, name: str):
    assert check(mariadb_table, Chunking((name,), size=60)) == [60] * 8 + [20]


def planned(server: DatabaseServer, chunking: Chunking, *, known: bool) -> tuple[list[Bounds], list[str]]:
    """Return the bounds of the table's chunks, and the statements that have found them.

    Args:
        known: whether the plan is told that it is a table, which may have an index.
    """
    statements: list[str] = []
    with opened(server.url) as source:
        query = source.table_query("keys")
        schema = source.describe(query)
        sqlalchemy.event.listen(source.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
        plan = plan_chunks(source, query if known else replace(query, table=None), schema, chunking)
    return [chunk.bounds for chunk in plan.chunks], [text for text in statements if "rivet_keys" in text]


@pytest.fixture
def check_both_ways(monkeypatch: pytest.MonkeyPatch) -> CheckBothWays:
    def compare(server: DatabaseServer, *columns: str) -> None:
        """Walk along the index of the table, by single steps and by several, and sort all keys."""
        chunking = Chunking(columns, size=60)
        sorted_, statements = planned(server, chunking, known=False)
        assert len(sorted_) == 9
        assert sum("ROW_NUMBER" in text for text in statements) == 1
        monkeypatch.setattr(key_order, "LONG_STEP", 1)
        bounds, statements = planned(server, chunking, known=True)
        assert bounds == sorted_
        assert not any("ROW_NUMBER" in text for text in statements)
        assert sum("LIMIT 1 OFFSET 59" in text for text in statements) == 9
        monkeypatch.undo()
        monkeypatch.setattr(key_order, "STRIDE", 150)
        bounds, statements = planned(server, chunking, known=True)
        assert bounds == sorted_
        assert sum("LIMIT 120" in text for text in statements) == 5

    return compare


@pytest.mark.parametrize("name", POSTGRES_KEYS)
def test_the_index_on_postgres_gives_what_a_sort_gives(
    postgres_table: Postgres, name: str, check_both_ways: CheckBothWays
):
    check_both_ways(postgres_table, name)


@pytest.mark.parametrize("name", MARIADB_KEYS)
def test_the_index_on_mariadb_gives_what_a_sort_gives(
    mariadb_table: Mariadb, name: str, check_both_ways: CheckBothWays
):
    check_both_ways(mariadb_table, name)


@pytest.fixture(params=["postgres_table", "mariadb_table"])
def table(request: pytest.FixtureRequest) -> DatabaseServer:
    return request.getfixturevalue(request.param)


def test_the_primary_key_is_the_default(table: DatabaseServer):
    assert check(table, Chunking(size=200)) == [200, 200, 100]


@pytest.mark.parametrize("columns", [("day", "code"), ("code", "day"), ("few", "n")])
def test_a_key_of_two_columns(table: DatabaseServer, columns: tuple[str, str]):
    assert check(table, Chunking(columns, size=200)) == [200, 200, 100]


@pytest.mark.parametrize("columns", [("code", "day"), ("few", "n")])
def test_the_index_on_two_columns_gives_what_a_sort_gives(
    table: DatabaseServer, columns: tuple[str, str], check_both_ways: CheckBothWays
):
    check_both_ways(table, *columns)


def test_each_chunk_of_two_columns_is_found_by_the_index(table: DatabaseServer):
    series = "generate_series(1, 3000) AS n" if isinstance(table, Postgres) else "seq_1_to_3000"
    number = "n" if isinstance(table, Postgres) else "seq"
    table.execute(
        "CREATE TABLE pairs (few int NOT NULL, n int NOT NULL, filler char(200), PRIMARY KEY (few, n))",
        f"INSERT INTO pairs SELECT {number} % 3, {number}, 'x' FROM {series}",
        "ANALYZE pairs" if isinstance(table, Postgres) else "ANALYZE TABLE pairs",
    )
    with opened(table.url) as source:
        query = source.table_query("pairs")
        chunks = plan_chunks(source, query, source.describe(query), Chunking(size=60)).chunks
        plans = [source.fetch(replace(chunk.query, text=f"EXPLAIN {chunk.query.text}")) for chunk in chunks]
    assert len(plans) == 50
    for chunk, rows in list(zip(chunks, plans, strict=True))[1:]:  # bounded on both sides
        if not isinstance(table, Postgres):
            ((_, _, _, access, _, key, length, *_),) = rows
            assert (access, key, length) == ("range", "PRIMARY", "8")  # bytes: both columns
        elif chunk.bounds.low[0] == chunk.bounds.high[0]:
            assert re.search(r"Index Cond: \(\(few = .*n > .*n <= ", "\n".join(str(text) for (text,) in rows))
        else:  # what the planner expects of rows is by their first column, so that it may well read all of this table
            assert "(ROW(few, n) > ROW(" in "\n".join(str(text) for (text,) in rows)


def test_chunks_that_are_read_one_after_the_other_share_a_connection(table: DatabaseServer):
    connected: list[object] = []
    with opened(table.url) as source:
        query = source.table_query("keys")
        chunks = plan_chunks(source, query, source.describe(query), Chunking(size=60)).chunks
        numbers(source, chunks[0])
        sqlalchemy.event.listen(source.engine, "connect", lambda *call: connected.append(call))
        assert sum(len(numbers(source, chunk)) for chunk in chunks[1:]) == ROWS - 60
        assert len(connected) <= 1  # for metadata
        with source.read(query, batch_bytes=1000) as stream:
            next(iter(stream))
        assert len(numbers(source, chunks[0])) == 60  # what was left early is not read on


def test_a_key_that_repeats_and_is_missing(table: DatabaseServer):
    sizes = check(table, Chunking(("maybe",), size=60))
    assert sizes == [72, 72, 72, 71, 71, 71, 71]  # equal keys stay together, the missing ones are the last chunk


def test_names_that_look_like_formats(table: DatabaseServer):
    mark = '"' if isinstance(table, Postgres) else "`"
    table.execute(
        f"CREATE TABLE {mark}50% off%s{mark} AS SELECT n, n AS {mark}per%cent %(x)s{mark} FROM {mark}keys{mark}"
    )
    assert check(table, Chunking(("per%cent %(x)s",), size=200), table="50% off%s") == [200, 200, 100]


@pytest.mark.parametrize("name", ["day", "moment", "instant"])
def test_days(table: DatabaseServer, name: str):
    assert len(check(table, Chunking((name,), days=2 if name == "instant" else 400))) > 1


def test_a_query_with_binds(table: DatabaseServer):
    query = Query("SELECT n, large FROM `keys` WHERE code NOT LIKE ${like} -- %", {"like": "nothing%"})
    if isinstance(table, Postgres):
        query = Query(query.text.replace("`", ""), query.params)
    assert check(table, Chunking(("large",), size=100), query) == [100] * 5
