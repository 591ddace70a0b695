"""``rivet state``: what it shows of the exports, and that nothing is forgotten unless it is asked for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rivet_core.api import Secret
from rivet_core.cli.main import main
from rivet_core.state import CursorRow, RunStart, StateStore, open_state

CONFIG = """
source: {type: sqlite, database: shop.db}
exports:
  - name: orders
    table: orders
    mode: incremental
    cursor_column: id
    destination: {type: local, path: "out/{export}"}
  - {name: notes, table: notes, destination: {type: local, path: "out/{export}"}}
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateStore]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    (tmp_path / "rivet.yaml").write_text(CONFIG)
    with open_state(Secret("sqlite:///.rivet_state.db"), tmp_path) as store:
        yield store


def advance(state: StateStore, value: str) -> None:
    """Record a run of the orders that has got so far."""
    now = datetime.now(UTC)
    with state.acquire("orders") as lease:
        state.start_run(lease, RunStart(f"run-{value}", "orders", "incremental", "file:///out/orders/", now))
        cursor = CursorRow("id", value, f"run-{value}")
        state.finish_run(lease, f"run-{value}", "succeeded", finished_at=now, cursor=cursor)


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = main([*arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found.get("exit_code", code) == code
    return found


def test_where_every_export_stands(state: StateStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    advance(state, "41")
    found = document(capsys, "state", "show")
    orders, notes = found["exports"]
    assert found["state"] == str(tmp_path / ".rivet_state.db")
    assert orders["cursor"] == {"column": "id", "value": "41", "run_id": "run-41"}
    assert (orders["last_run"]["run_id"], orders["last_run"]["status"]) == ("run-41", "succeeded")
    assert (notes["cursor"], notes["last_run"], notes["lease"]) == (None, None, None)
    assert main(["state", "show", "-e", "orders"]) == 0
    text = capsys.readouterr().out
    for fact in (str(tmp_path / ".rivet_state.db"), "id = 41", "run-41, succeeded"):
        assert fact in text
    assert "notes" not in text


def test_who_runs_an_export_now(state: StateStore, capsys: pytest.CaptureFixture[str]):
    with state.acquire("orders") as lease:
        (orders,) = document(capsys, "state", "show", "-e", "orders")["exports"]
        assert orders["lease"]["pid"] > 0
        assert main(["state", "show"]) == 0
        assert "being run by process" in capsys.readouterr().out
        refused = document(capsys, "state", "reset", "-e", "orders", "--execute")
        assert refused["error"]["code"] == "R702"
        lease.release()
    (orders,) = document(capsys, "state", "show", "-e", "orders")["exports"]
    assert orders["lease"] is None


def test_an_owner_that_is_dead_runs_nothing(state: StateStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with state.acquire("orders"):
        with closing(sqlite3.connect(tmp_path / ".rivet_state.db")) as connection, connection:
            connection.execute("UPDATE rivet_lease SET pid_started = pid_started - 1000")  # that process's number again
        (orders,) = document(capsys, "state", "show", "-e", "orders")["exports"]
    assert orders["lease"] is None


def test_a_cursor_is_forgotten_only_on_request(state: StateStore, capsys: pytest.CaptureFixture[str]):
    advance(state, "41")
    assert main(["state", "reset", "-e", "orders"]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert state.cursor("orders") is not None
    found = document(capsys, "state", "reset", "-e", "orders", "--execute")
    assert (found["executed"], found["cursor"]["value"]) == (True, "41")
    assert state.cursor("orders") is None
    assert document(capsys, "state", "reset", "-e", "orders", "--execute")["cursor"] is None


def test_no_password_is_shown(state: StateStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("RIVET_STATE_URL", "postgresql://user:canary-password@127.0.0.1:1/state?sslmode=disable")
    assert main(["state", "show"]) == 1
    shown = capsys.readouterr()
    assert "canary" not in shown.out + shown.err


def test_looking_creates_and_migrates_nothing(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    (tmp_path / "rivet.yaml").write_text(CONFIG)
    found = document(capsys, "state", "show")
    assert found["state"] == str(tmp_path / ".rivet_state.db")
    assert [(item["cursor"], item["last_run"], item["lease"]) for item in found["exports"]] == [(None, None, None)] * 2
    assert document(capsys, "state", "reset", "-e", "orders")["cursor"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["rivet.yaml"]
    open_state(Secret("sqlite:///.rivet_state.db"), tmp_path).close()
    with closing(sqlite3.connect(tmp_path / ".rivet_state.db")) as connection, connection:
        connection.execute("UPDATE rivet_schema SET version = version - 1")
    assert document(capsys, "state", "show")["error"]["hint"] == "the next `rivet run` brings it up to date"
