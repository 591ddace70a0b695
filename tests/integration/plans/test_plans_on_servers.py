"""Plans of tables on PostgreSQL and MariaDB by every kind of key, made by one process and applied by another."""

from __future__ import annotations

import json

import pytest

from crash import observer
from integration.failures.command import Workspace
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres

ROWS = 200
#: Definition and value of each key, for ``i`` from 1 to ``ROWS``.
POSTGRES_KEYS = {
    "large": ("bigint", "i * 1000003::bigint"),
    "amount": ("numeric(12,2)", "(i - 100) * 1.25"),
    "day": ("date", "date '1999-12-31' + i"),
    "moment": ("timestamp", "timestamp '2026-03-28 23:59:59.999999' + i * interval '1 hour 1 microsecond'"),
    "instant": ("timestamptz", "timestamptz '2026-03-28 23:59:59.5+00' + i * interval '10 minutes'"),
    "code": ("text", "(ARRAY['a', 'B', 'ä', '\"', '%'])[1 + i % 5] || i"),
    "id": ("uuid", "md5(i::text)::uuid"),
    "body": ("bytea", "decode(md5(i::text), 'hex')"),
}
MARIADB_KEYS = {
    "large": ("bigint unsigned", "18446744073709551615 - i"),
    "amount": ("decimal(12,2)", "(i - 100) * 1.25"),
    "day": ("date", "DATE '1999-12-31' + INTERVAL i DAY"),
    "moment": ("datetime(6)", "TIMESTAMP '2026-03-28 23:59:59.999999' + INTERVAL i HOUR"),
    "instant": ("timestamp(6)", "TIMESTAMP '2026-03-28 20:59:59.5' + INTERVAL i * 10 MINUTE"),
    "code": ("varchar(40)", "CONCAT(ELT(1 + i % 5, 'a', 'B', 'ä', '\"', '%'), i)"),
    "body": ("varbinary(40)", "UNHEX(MD5(i))"),
}


@pytest.fixture(params=["postgres", "mariadb"])
def table(request: pytest.FixtureRequest) -> DatabaseServer:
    """A database with a table ``items``."""
    database: Postgres | Mariadb = request.getfixturevalue(request.param).create_database()
    is_postgres = isinstance(database, Postgres)
    keys = POSTGRES_KEYS if is_postgres else MARIADB_KEYS
    numbers = (
        f"generate_series(1, {ROWS}) AS i"
        if is_postgres
        else f"(SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_{ROWS}) AS s"
    )
    values = ", ".join(value for _, value in keys.values())
    columns = ", ".join(f"{name} {type_} NOT NULL" for name, (type_, _) in keys.items())
    database.execute(
        f"CREATE TABLE items (n int PRIMARY KEY, {columns})",
        f"INSERT INTO items SELECT i, {values} FROM {numbers}",
    )
    return database


def test_a_plan_of_every_kind_of_key_is_applied_to_the_letter(workspace: Workspace, table: DatabaseServer) -> None:
    keys = POSTGRES_KEYS if isinstance(table, Postgres) else MARIADB_KEYS
    chunked = {"table": "items", "mode": "chunked", "chunk_size": 30, "parallel": 2}
    exports = [
        {**chunked, "name": key, "chunk_column": key, "destination": {"type": "local", "path": f"out/{key}"}}
        for key in keys
    ]
    exports.append({**exports[0], "name": "view", "consistency": "snapshot"})
    exports[-1]["destination"] = {"type": "local", "path": "out/view"}
    source = {"type": "postgres" if isinstance(table, Postgres) else "mariadb", "url": table.url}
    workspace.configure(source, *exports)
    workspace.rivet("plan", "-o", "plan.json").succeeded()
    table.execute("DELETE FROM items WHERE n BETWEEN 50 AND 129")
    workspace.rivet("apply", "plan.json", "--validate").succeeded()
    plans = {plan["export"]: plan for plan in json.loads((workspace.directory / "plan.json").read_text())["exports"]}
    for export in exports:
        name = str(export["name"])
        dataset = observer.check(workspace.out / name)
        assert dataset is not None
        assert sorted(int(str(row["n"])) for row in dataset.rows()) == [*range(1, 50), *range(130, ROWS + 1)]
        manifest = json.loads((workspace.out / name / "manifest.json").read_text())
        assert plans[name]["rows"] == ROWS
        assert (len(plans[name]["chunks"]), plans[name]["rows_from"]) == (7, "chunk_size")
        planned = {chunk["number"]: chunk["bounds"] for chunk in plans[name]["chunks"]}
        for part in manifest["parts"]:
            for side in ("low", "high"):
                bound = planned[part["chunk"]][side]
                assert part["range"].get(side) == (bound and [text for _, text in bound])
    workspace.rivet("apply", "plan.json").failed(5, "R704", "was applied by the run")


def test_history_is_read_from_a_server_and_nothing_is_made_there(
    workspace: Workspace,
    table: DatabaseServer,
) -> None:
    state = table.create_database()
    environment = {"RIVET_STATE_URL": state.url}
    source = {"type": "postgres" if isinstance(table, Postgres) else "mariadb", "url": table.url}
    workspace.configure(source, {"table": "items", "mode": "chunked", "chunk_size": 100})
    nothing = workspace.rivet("runs", "list", "--json", **environment)
    assert nothing.document == {"runs": []}
    schema = "public" if isinstance(state, Postgres) else state.database
    with state.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{schema}'")
        assert [*cursor.fetchall()] == [(0,)]
    run_id = workspace.rivet("run", "--json", **environment).document["runs"][0]["run_id"]
    (listed,) = workspace.rivet("runs", "list", "--json", **environment).document["runs"]
    assert (listed["run_id"], listed["status"], listed["chunks_done"]) == (run_id, "succeeded", 2)
    shown = workspace.rivet("runs", "show", run_id[:-2], "--json", **environment).document
    assert [event["kind"] for event in shown["events"]][-1] == "run_succeeded"
    chunks = workspace.rivet("state", "chunks", "-e", "orders", "--json", **environment).document["chunks"]
    assert [(chunk["state"], chunk["rows"]) for chunk in chunks] == [("done", 100), ("done", 100)]
