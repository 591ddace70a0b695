"""What can be wrong with a state database on a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from rivet_core.api import StateError
from rivet_core.state import open_state
from servers.mariadb import Mariadb
from servers.postgres import Postgres
from servers.process import free_port


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Postgres | Mariadb:
    found: Postgres | Mariadb = request.getfixturevalue(request.param)
    return found


def refusal(url: str) -> StateError:
    with pytest.raises(StateError) as caught:
        open_state(url, Path())
    assert caught.value.hint
    return caught.value


def test_a_wrong_password_is_refused_and_not_shown(server: Postgres | Mariadb) -> None:
    error = refusal(replace(server, password="correct-horse").url)
    assert "refuses this user" in error.message
    assert "correct-horse" not in repr(error) + error.hint


def test_a_missing_database(server: Postgres | Mariadb) -> None:
    assert "does not exist" in refusal(replace(server, database="missing").url).message


def test_a_server_that_does_not_answer(server: Postgres | Mariadb) -> None:
    error = refusal(server.through(free_port()).url)
    assert "failed" in error.message
    assert "running and reachable" in error.hint
    assert server.password not in repr(error)


def test_a_server_elsewhere_must_speak_tls(server: Postgres | Mariadb) -> None:
    elsewhere = replace(server, host="127.1")  # the same server by a name that does not look like this host
    assert "cannot be reached with TLS" in refusal(elsewhere.url).message


def test_a_lost_connection_is_replaced(server: Postgres | Mariadb, tmp_path: Path) -> None:
    own = server.create_database()
    with open_state(own.url, tmp_path) as store, store.acquire("orders") as lease:
        end_other_sessions(own)
        lease.check()


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
def test_names_that_differ_in_case_are_two_exports(mariadb: Mariadb, tmp_path: Path, scheme: str) -> None:
    url = make_url(mariadb.create_database().url).set(drivername=scheme)
    with (
        open_state(url.render_as_string(hide_password=False), tmp_path) as store,
        store.acquire("orders"),
        store.acquire("Orders"),
    ):
        holders = [store.lease_holder(name) for name in ("orders", "Orders")]
    assert [holder.owner.export for holder in holders if holder is not None] == ["orders", "Orders"]


def end_other_sessions(server: Postgres | Mariadb) -> None:
    if isinstance(server, Postgres):
        server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{server.database}' "
            "AND pid <> pg_backend_pid()"
        )
        return
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()", [server.database]
        )
        for (session,) in cursor.fetchall():
            cursor.execute(f"KILL {session}")
