"""Two processes on one export or one prefix: one wins, the other says why it does not, and readers notice nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from integration.failures.command import Finished, Workspace, finish, sqlite_table
from integration.failures.forked import ForkServer
from integration.failures.long_run import LONG_QUERIES, start_long_run

ROUNDS = 2
ROWS = 100_000  # so many that both are still reading when the first one wants to publish


def test_lease_of_a_living_process(workspace: Workspace) -> None:
    (workspace.directory / "empty.db").touch()
    workspace.configure({"type": "sqlite", "database": "empty.db"}, {"query": LONG_QUERIES["sqlite"], "format": "csv"})
    holder = start_long_run(workspace)
    workspace.rivet("run", "--param", "rows=1").failed(
        5, "R702", "'orders'", f"process {holder.pid} ", hint="wait until it has finished"
    )
    holder.send_signal(signal.SIGKILL)
    assert finish(holder).exit_code == -signal.SIGKILL
    workspace.rivet("run", "--param", "rows=1").succeeded()
    dataset = workspace.dataset()
    assert dataset is not None
    assert dataset.manifest["row_count"] == 1


@pytest.fixture
def writers(tmp_path: Path, forks: ForkServer) -> list[Workspace]:
    """Two directories, each with a state and a database of its own, that export to one prefix."""
    found = []
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        sqlite_table(
            directory / "shop.db",
            "CREATE TABLE orders (writer TEXT NOT NULL, id INTEGER NOT NULL)",
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {ROWS})"
            f" INSERT INTO orders SELECT '{name}', i FROM n",
        )
        workspace = Workspace(directory, forks)
        workspace.out = tmp_path / "out"
        destination = {"type": "local", "path": str(workspace.out)}
        workspace.configure({"type": "sqlite", "database": "shop.db"}, {"table": "orders", "destination": destination})
        found.append(workspace)
    return found


def test_two_processes_publish_at_once(writers: list[Workspace]) -> None:
    for _ in range(ROUNDS):
        finished = [finish(process) for process in [writer.start("run", "--json") for writer in writers]]
        winners = [run for run in map(succeeded_run, finished) if run is not None]
        assert winners, finished
        dataset = writers[0].dataset()
        assert dataset is not None
        assert dataset.run_id in winners
        assert len({row["writer"] for row in dataset.rows()}) == 1
        assert sorted(row["id"] for row in dataset.rows()) == list(range(1, ROWS + 1))  # type: ignore[type-var]
    writers[0].rivet("run", "--validate").succeeded()
    assert {row["writer"] for row in writers[0].rows()} == {"first"}


def succeeded_run(finished: Finished) -> str | None:
    """Return the run's id; ``None`` for a loser, which must say that it was one."""
    (run,) = json.loads(finished.out)["runs"]
    if finished.exit_code == 0:
        return str(run["run_id"])
    assert finished.exit_code == 5, finished
    assert run["error"]["code"] == "R703", finished
    assert "since this one started" in run["error"]["message"]
    return None
