"""Chunks of tables on PostgreSQL and MariaDB by every kind of key: together they are the table, each row once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from integration.source.open_source import BATCH_BYTES, opened
from rivet_core.api import Query, Source
from rivet_core.config import Chunking
from rivet_core.engine.selecting.chunks import Chunk, plan_chunks
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres

ROWS = 500

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


@pytest.fixture(scope="module")
def postgres_table(postgres: Postgres) -> Postgres:
    database = postgres.create_database()
    database.execute(
        f"CREATE TABLE keys (n int PRIMARY KEY, maybe int, {columns(POSTGRES_KEYS)})",
        f"INSERT INTO keys SELECT i, nullif(i % 7, 0), {', '.join(POSTGRES_VALUES.values())} "
        f"FROM generate_series(1, {ROWS}) AS i",
    )
    return database


@pytest.fixture(scope="module")
def mariadb_table(mariadb: Mariadb) -> Mariadb:
    database = mariadb.create_database()
    database.execute(
        f"CREATE TABLE `keys` (n int PRIMARY KEY, maybe int, {columns(MARIADB_KEYS)})",
        f"INSERT INTO `keys` SELECT i, nullif(i % 7, 0), {', '.join(MARIADB_VALUES.values())} "
        f"FROM (SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_{ROWS}) AS s",
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


@pytest.fixture(params=["postgres_table", "mariadb_table"])
def table(request: pytest.FixtureRequest) -> DatabaseServer:
    return request.getfixturevalue(request.param)


def test_the_primary_key_is_the_default(table: DatabaseServer):
    assert check(table, Chunking(size=200)) == [200, 200, 100]


def test_a_key_of_two_columns(table: DatabaseServer):
    assert check(table, Chunking(("day", "code"), size=200)) == [200, 200, 100]


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
