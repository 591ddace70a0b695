"""A database that cannot be reached, refuses, or fails half-way: one clear error, and the old dataset stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from integration.failures.command import Workspace, sqlite_table
from rivet_core.engine.tries import ATTEMPTS
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres
from servers.process import free_port
from servers.proxy import Drop, Fault, FaultProxy, Reset

FAILING_ROW = 150_000


def refused(
    workspace: Workspace, source: Any, export: Any, exit_code: int, code: str, *message: str, hint: str = ""
) -> None:
    """Run an export that must fail, and assert that its prefix is what it was before, to the last byte."""
    before = workspace.output()
    workspace.configure(source, {"on_schema_drift": "continue", **export})  # the columns are not what is tried here
    workspace.rivet("run").failed(exit_code, code, *message, hint=hint)
    assert workspace.output() == before
    if before:
        assert workspace.dataset() is not None
    status = workspace.state("SELECT status, error_code FROM rivet_run ORDER BY sequence DESC LIMIT 1")
    assert status == [("failed", code)]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    found: DatabaseServer = request.getfixturevalue(f"{request.param}_database")
    return found


both_servers = pytest.mark.parametrize("server", ["postgres", "mariadb"], indirect=True)


def section(server: DatabaseServer) -> dict[str, str]:
    return {"type": "postgres" if isinstance(server, Postgres) else "mariadb", "url": server.url}


@both_servers
def test_unreachable_database(published: Workspace, server: DatabaseServer) -> None:
    nowhere = server.through(free_port())
    refused(
        published, section(nowhere), {"table": "orders"}, 1, "R302", "cannot connect", hint="whether the server runs"
    )


def test_host_that_is_no_name(published: Workspace) -> None:
    source = {"type": "postgres", "url": f"postgresql://user@{'x' * 70}.example/shop", "tls": {"mode": "disable"}}
    refused(published, source, {"table": "orders"}, 1, "R302", "no valid name", hint="check host")


@both_servers
def test_wrong_password(published: Workspace, server: DatabaseServer) -> None:
    impostor = replace(server, password="wrong")
    refused(
        published, section(impostor), {"table": "orders"}, 2, "R303", "the password", hint="check user and password"
    )


def test_missing_database_file(published: Workspace) -> None:
    before = published.output()
    published.configure({"type": "sqlite", "database": "shpo.db"}, {"table": "orders"})
    published.rivet("run").failed(2, "R201", "shpo.db", hint="relative paths start at the directory")
    assert published.output() == before


def test_missing_table(published: Workspace, engine_source: dict[str, str]) -> None:
    refused(published, engine_source, {"table": "order"}, 2, "R304", "order", hint="similar ones: orders")


@pytest.mark.parametrize("prefix", ["published", "workspace"])
def test_division_by_zero_half_way(request: pytest.FixtureRequest, postgres_database: Postgres, prefix: str) -> None:
    query = f"SELECT id, 10 / ({FAILING_ROW} - id) AS q FROM generate_series(1, 200000) AS id"
    workspace = request.getfixturevalue(prefix)
    refused(workspace, section(postgres_database), {"query": query}, 2, "R304", "fails on a value", hint="psql")


def test_number_out_of_range_half_way(published: Workspace, mariadb_database: Mariadb) -> None:
    query = f"SELECT seq, 9223372036854775807 - {FAILING_ROW} + CAST(seq AS SIGNED) AS q FROM seq_1_to_200000"
    refused(published, section(mariadb_database), {"query": query}, 2, "R304", "fails on a value", hint="mysql")


def test_value_of_another_storage_class_half_way(published: Workspace) -> None:
    sqlite_table(
        published.directory / "shop.db",
        "CREATE TABLE readings (value INTEGER)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
        f" INSERT INTO readings SELECT CASE i WHEN {FAILING_ROW} THEN 'broken' ELSE i END FROM n",
    )
    source = {"type": "sqlite", "database": "shop.db"}
    refused(published, source, {"table": "readings"}, 3, "R306", "'value'", f"rowid {FAILING_ROW}", hint="value: ")


@both_servers
@pytest.mark.parametrize("fault", [Reset(2_000_000), Drop(2_000_000)], ids=["reset", "closed"])
def test_connection_cut_half_way(published: Workspace, server: DatabaseServer, fault: Fault) -> None:
    numbers = "seq_1_to_1000000" if isinstance(server, Mariadb) else "generate_series(1, 1000000) AS seq"
    with FaultProxy(server.port) as proxy:
        proxy.inject(fault)
        through = section(server.through(proxy.port))
        query = f"SELECT seq, 'some text to fill the line with' AS note FROM {numbers}"
        before = published.output()
        published.configure(through, {"query": query})
        finished = published.rivet("run")
        *warnings, error, hint = finished.err.splitlines()
        replace(finished, err=f"{error}\n{hint}\n").failed(1, "R302", "connection", "lost", hint="the server runs")
        again = [line for line in warnings if line.startswith("warning: orders: the rows are read again: ")]
        assert len(again) == ATTEMPTS - 1
        assert proxy.fired == ATTEMPTS
        assert published.output() == before
        assert published.state("SELECT status FROM rivet_run ORDER BY sequence DESC LIMIT 1") == [("failed",)]


def test_duplicate_column_names(published: Workspace, engine_source: dict[str, str]) -> None:
    query = "SELECT id, note AS id FROM orders"
    refused(published, engine_source, {"query": query}, 2, "R304", "more than one column", hint="AS")


def test_query_without_columns(published: Workspace, postgres_database: Postgres) -> None:
    for export in ({"table": "nothing"}, {"query": "SELECT FROM orders"}):
        refused(published, section(postgres_database), export, 2, "R304", "no columns")


def test_statement_that_is_no_query(published: Workspace, engine_source: dict[str, str]) -> None:
    refused(published, engine_source, {"query": "DELETE FROM orders"}, 2, "R304")
    published.configure(engine_source, {"table": "orders", "on_schema_drift": "continue"})
    published.rivet("run").succeeded()
    assert published.rows() == [{"id": 1, "note": "new"}]


def test_two_statements(published: Workspace, engine_source: dict[str, str]) -> None:
    refused(published, engine_source, {"query": "SELECT 1 AS a; SELECT 2 AS a"}, 2, "R304", "more than one statement")


def test_value_above_the_limit(published: Workspace, engine_source: dict[str, str]) -> None:
    large = {"sqlite": "printf('%.100001c', 'x')"}.get(engine_source["type"], "repeat('x', 100001)")
    export = {"query": f"SELECT {large} AS body", "types": {"max_value_bytes": 100_000}}
    refused(published, engine_source, export, 3, "R306", "'body'", "100001 bytes", hint="raise max_value_bytes")


def test_parameter_that_is_no_text(published: Workspace, engine_source: dict[str, str]) -> None:
    published.configure(engine_source, {"query": "SELECT id FROM orders WHERE note = ${word}"})
    published.rivet("run", "--param", "word=\udcff").failed(2, "R304", "no valid Unicode", hint="UTF-8")
