"""Behind PgBouncer in transaction mode: right values whatever its clients have set, and nothing left for them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from integration.modes.exports import Exports
from rivet_core.api import Query, SourceContext
from rivet_core.plugins import discover
from rivet_postgres import source as postgres_source
from rivet_postgres.config import PostgresConfig
from servers.pgbouncer import Pool

#: What another client may leave. PgBouncer itself looks after few of them.
ODD_SETTINGS = (
    "SET datestyle = 'SQL, DMY'",
    "SET timezone = 'Asia/Tokyo'",
    "SET bytea_output = 'escape'",
    "SET extra_float_digits = -10",
    "SET intervalstyle = 'sql_standard'",
    "SET client_encoding = 'LATIN1'",
    "SET search_path = pg_temp",
    "SET quote_all_identifiers = on",
    "SET lock_timeout = 12345",
)
LEFT = (
    "SELECT pg_backend_pid()::text, NULL UNION ALL SELECT name, setting FROM pg_settings"
    " WHERE source = 'session' AND name <> 'application_name'"  # which the pooler itself sets for each of its clients
    " UNION ALL SELECT 'prepared', name FROM pg_prepared_statements UNION ALL SELECT 'cursor', name FROM pg_cursors"
    " WHERE name <> '' UNION ALL SELECT 'advisory lock', NULL FROM pg_locks WHERE locktype = 'advisory' ORDER BY 1, 2"
)


def left_in(pool: Pool) -> list[Any]:
    """What each connection to the server has beyond a new one: its number tells it from one that took its place."""
    return sorted(pool.every_connection(LEFT))


def rows_of(url: str) -> tuple[list[dict[str, Any]], Any]:
    """Read the table, and what the planning of chunks asks for."""
    with closing(postgres_source.open_source(PostgresConfig(url=url), SourceContext(Path("/")))) as source:
        query = source.table_query("t")
        with source.read(query, batch_bytes=10_000) as stream:
            rows = [row for batch in stream for row in batch.to_pylist()]
        asked = source.fetch(Query("SELECT min(at), max(f8), min(span), min(encode(body, 'escape')), min(day) FROM t"))
    return sorted(rows, key=lambda row: row["id"]), [tuple(row) for row in asked]


def test_settings_that_other_clients_left_change_no_value(pool: Pool, reading: str) -> None:
    expected = rows_of(pool.behind.url)
    pool.every_connection(*ODD_SETTINGS, "SELECT 1")
    before = left_in(pool)
    assert any(("lock_timeout", "12345") in rows for rows in before)
    assert rows_of(pool.url) == expected
    assert expected[0][0]["about"] == "pg_class"
    assert left_in(pool) == before


def test_a_role_that_another_client_took_hides_no_rows(pool: Pool, reading: str) -> None:
    expected = rows_of(pool.behind.url)
    pool.behind.execute(
        "CREATE ROLE few",
        "GRANT SELECT ON t TO few",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON t TO few USING (id < 10)",
    )
    try:
        pool.every_connection("SET ROLE few", "SELECT 1")
        assert rows_of(pool.url) == expected
    finally:
        pool.behind.execute("DROP OWNED BY few", "DROP ROLE few")


def test_pieces_are_of_the_same_table_whatever_path_other_clients_left(
    pool: Pool, reading: str, tmp_path: Path
) -> None:
    pool.behind.execute(
        "CREATE SCHEMA other", "CREATE TABLE other.t (LIKE t)", "INSERT INTO other.t SELECT * FROM t WHERE id > 100"
    )
    exports = Exports(tmp_path, pool)
    exports.registry = discover({"RIVET_PLUGINS": "local,postgres"})
    exports.export(mode="full", parallel=2)
    pool.every_connection("SET search_path = other", "SELECT 1")
    exports.succeed()
    rows = sorted(exports.delivered(), key=lambda row: row["id"])
    assert rows == rows_of(pool.behind.url)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "full", "parallel": 1},
        {"mode": "full", "parallel": 2},
        {"mode": "full", "query": "WITH a AS (SELECT * FROM t) SELECT * FROM a WHERE id > 0"},
        {"mode": "chunked", "chunk_size": 50, "parallel": 2},
        {"mode": "chunked", "chunk_column": "id", "chunk_size": 50, "parallel": 2, "consistency": "snapshot"},
        {"mode": "incremental", "cursor_column": "at", "key": "id"},
    ],
    ids=["full", "pieces", "query", "chunked", "snapshot", "incremental"],
)
def test_a_run_leaves_the_pool_as_it_was(pool: Pool, reading: str, tmp_path: Path, fields: dict[str, Any]) -> None:
    exports = Exports(tmp_path, pool)
    exports.registry = discover({"RIVET_PLUGINS": "local,postgres"})
    if "query" in fields:
        fields = {**fields, "table": None}
    exports.export(**fields)
    before = left_in(pool)
    exports.succeed()
    if fields["mode"] == "incremental":
        pool.behind.execute("INSERT INTO t (id, at) VALUES (1000, now())", "UPDATE t SET at = now() WHERE id = 5")
        exports.succeed()
        assert sorted(row["id"] for row in exports.delivered()) == sorted([*range(1, 301), 1000, 5])
    else:
        rows = sorted(exports.delivered(), key=lambda row: row["id"])
        assert rows == rows_of(pool.behind.url)[0]
    assert left_in(pool) == before
