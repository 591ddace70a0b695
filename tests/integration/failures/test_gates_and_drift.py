"""Quality gates and schema drift on the types and the catalogues of real servers, in chunks and in parallel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.failures.command import Workspace
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres

ROWS = 3000
UNIQUE = ["id", "uid", "code", "amount", "moment", "body", "document"]
POSTGRES = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, uid uuid, code text, amount numeric(20,4), moment timestamptz, "
    "body bytea, document jsonb, maybe int)",
    "INSERT INTO orders SELECT i, md5(i::text)::uuid, 'Ä code ' || i, i * 1.0001, timestamptz '2026-01-01 00:00Z' + i "
    "* interval '1 microsecond', decode(md5(i::text), 'hex'), jsonb_build_object('n', i), nullif(i % 4, 0) "
    f"FROM generate_series(1, {ROWS}) AS i",
)
MARIADB = (
    "CREATE TABLE orders (id bigint unsigned PRIMARY KEY, uid uuid, code varchar(40), amount decimal(20,4), "
    "moment timestamp(6) NULL, body varbinary(40), document json, maybe int) CHARACTER SET utf8mb4",
    "INSERT INTO orders SELECT i, CONCAT(LPAD(HEX(i), 8, '0'), '-aaaa-4bbb-8ccc-ffffffffffff'), CONCAT('Ä code ', i), "
    "i * 1.0001, TIMESTAMP '2026-01-01 00:00:00' + INTERVAL i MICROSECOND, UNHEX(MD5(i)), JSON_OBJECT('n', i), "
    f"NULLIF(i % 4, 0) FROM (SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_{ROWS}) AS s",
)


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    database: Postgres | Mariadb = request.getfixturevalue(request.param).create_database()
    database.execute(*(POSTGRES if request.param == "postgres" else MARIADB))
    return database


@pytest.fixture
def configure(server: DatabaseServer, workspace: Workspace) -> Callable[..., None]:
    type_ = server.driver.partition("+")[0]
    source = {
        "type": "postgres" if type_ == "postgresql" else "mysql",
        "url": server.url,
        "tls": {"mode": "disable"},
    }

    def configure(**export: Any) -> None:
        chunked = {"mode": "chunked", "chunk_size": 400, "parallel": 3}
        workspace.configure(source, {"table": "orders", **chunked, **export})

    return configure


def test_gates_judge_the_rows_of_a_server(server: DatabaseServer, workspace: Workspace, configure: Callable[..., None]):
    gates = {
        "row_count_min": ROWS, "row_count_max": ROWS, "null_ratio_max": {"maybe": 0.25}, "unique_columns": UNIQUE,
    }  # fmt: skip
    configure(quality=gates, format="csv")
    done = workspace.rivet("run", "--validate", "--json")
    done.succeeded()
    (run,) = done.document["runs"]
    assert [(gate["measure"], gate["passed"]) for gate in run["quality"]] == [
        (ROWS, True), (ROWS, True), (0.25, True), *[(0, True)] * len(UNIQUE),
    ]  # fmt: skip
    before = workspace.output()
    same = ", ".join(f"{name} = NULL" for name in UNIQUE[1:])
    server.execute(f"UPDATE orders SET {same}, maybe = NULL WHERE id IN (1, {ROWS})")
    last = server_value(server)
    server.execute(f"UPDATE orders SET code = '{last}' WHERE id = 1")
    failed = workspace.rivet("run")
    failed.failed(3, "R603", "1 row repeats a value of code", "0.250333 of maybe is NULL, at most 0.25 allowed")
    assert last not in failed.out + failed.err
    after = workspace.output()
    assert {name: data for name, data in after.items() if name in before} == before


def server_value(server: DatabaseServer) -> str:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT code FROM orders WHERE id = 1000")
        return str(cursor.fetchone()[0])


def test_a_table_that_was_altered_is_drift(
    server: DatabaseServer, workspace: Workspace, configure: Callable[..., None]
):
    configure(on_schema_drift="fail")
    workspace.rivet("run").succeeded()
    workspace.rivet("run").succeeded()
    before = workspace.output()
    server.execute(
        "ALTER TABLE orders ADD COLUMN added varchar(10)",
        "ALTER TABLE orders DROP COLUMN maybe",
        "UPDATE orders SET amount = 1",
    )
    if isinstance(server, Postgres):
        server.execute("ALTER TABLE orders ALTER COLUMN amount TYPE bigint")
    else:
        server.execute("ALTER TABLE orders MODIFY amount bigint")
    refused = workspace.rivet("run")
    refused.failed(
        4, "R308", "'maybe' (int32) is gone", "'amount' was decimal(20,4), is int64", "'added' (string) is new"
    )
    assert workspace.output() == before
    configure(on_schema_drift="continue")
    workspace.rivet("run").succeeded()
    assert {row["amount"] for row in workspace.rows()} == {1}
