"""A state database that is damaged, read-only, away or a server: one clear error, or the same promises as a file."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from integration.failures.command import Workspace, finish, mount_or_skip
from servers.mariadb import Mariadb
from servers.postgres import Postgres
from servers.process import free_port

STATE = ".rivet_state.db"


@pytest.mark.parametrize("damage", ["no database", "torn"])
def test_damaged_state(published: Workspace, damage: str) -> None:
    state = published.directory / STATE
    data = state.read_bytes()
    state.write_bytes(b"garbage" * 1000 if damage == "no database" else data[:100] + os.urandom(len(data) - 100))
    before = published.output()
    published.rivet("run").failed(1, "R801", STATE, "damaged or no database", hint="restore it from a backup")
    assert published.output() == before
    state.unlink()
    published.rivet("run", "--validate").succeeded()


def test_read_only_state(published: Workspace) -> None:
    before, directory = published.output(), shlex.quote(str(published.directory))
    *inside, script = mount_or_skip(f"mount --bind {directory} {directory}", f"mount -o remount,ro,bind {directory}")
    refused = finish(published.start("run", inside=[*inside, f"{script}; exit $code", "sh"]))
    refused.failed(1, "R801", STATE, "cannot be opened", hint="writable by this user")
    assert published.output() == before


@pytest.mark.parametrize("server", ["postgres_database", "mariadb_database"])
def test_state_server_away_or_refusing(published: Workspace, request: pytest.FixtureRequest, server: str) -> None:
    database = request.getfixturevalue(server)
    before = published.output()
    away = database.through(free_port())
    published.rivet("run", RIVET_STATE_URL=away.url).failed(1, "R801", str(away.port), hint="RIVET_STATE_URL")
    wrong = replace(database, password="wrong")
    published.rivet("run", RIVET_STATE_URL=wrong.url).failed(
        1, "R801", "refuses this user", hint="check user, password"
    )
    assert published.output() == before


@pytest.mark.parametrize("fixture", ["postgres", "mariadb"])
def test_state_in_a_server_end_to_end(workspace: Workspace, request: pytest.FixtureRequest, fixture: str) -> None:
    server: Postgres | Mariadb = request.getfixturevalue(fixture)
    state = server.create_database()
    source = request.getfixturevalue(f"{fixture}_database")
    workspace.environment = {"RIVET_STATE_URL": state.url}
    workspace.configure(
        {"type": fixture, "url": source.url},
        {"table": "orders", "destination": {"type": "local", "path": "out/{run_id}"}},
    )
    for _ in range(2):
        workspace.rivet("run").succeeded()
    workspace.rivet("doctor").succeeded()
    validated = workspace.rivet("validate", "--json")  # the newest run, as only the state knows it
    assert validated.exit_code == 0
    with state.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT status, run_id FROM rivet_run ORDER BY sequence DESC")
        rows = cursor.fetchall()
        cursor.execute("SELECT pid FROM rivet_lease")
        assert list(cursor.fetchall()) == [(None,)]
    assert [status for status, _ in rows] == ["succeeded"] * 2
    assert validated.document["reports"][0]["run_id"] == rows[0][1]
    assert not Path(workspace.directory, STATE).exists()
