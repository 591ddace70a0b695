"""A run that is stopped by a signal in the middle says so everywhere, leaves nothing behind, and the next one works."""

from __future__ import annotations

import signal
import sqlite3
import time

import pytest

from integration.failures.command import Workspace, finish
from integration.failures.long_run import LONG_QUERIES, start_long_run

#: A prompt end, on a machine that is busy with other tests.
STOP_SECONDS = 15


def is_recorded(workspace: Workspace) -> bool:
    """Whether the state knows a run yet; it may not even have its tables."""
    try:
        return bool(workspace.state("SELECT 1 FROM rivet_run"))
    except sqlite3.OperationalError:
        return False


def configure(workspace: Workspace, source: dict[str, str]) -> None:
    options = {"format": "csv", "compression": "none", "on_schema_drift": "continue"}
    export = {"query": LONG_QUERIES[source["type"]], **options}
    workspace.configure(source, export, {**export, "name": "never", "destination": {"type": "local", "path": "never"}})


@pytest.mark.parametrize(
    ("engine_source", "stop"),
    [("sqlite", signal.SIGINT), ("sqlite", signal.SIGTERM), ("postgres", signal.SIGINT), ("mariadb", signal.SIGTERM)],
    indirect=["engine_source"],
)
def test_interrupted_in_the_middle(published: Workspace, engine_source: dict[str, str], stop: signal.Signals) -> None:
    configure(published, engine_source)
    before = published.output()
    process = start_long_run(published)
    process.send_signal(stop)
    stopped = time.monotonic()
    finished = finish(process)
    assert time.monotonic() - stopped < STOP_SECONDS
    finished.failed(130, "R901", "the run of 'orders' was interrupted", hint="nothing was published")
    assert finished.out.startswith("orders: interrupted in ")
    assert published.output() == before
    assert not (published.directory / "never").exists()
    ended = published.state("SELECT status, error_code FROM rivet_run ORDER BY sequence DESC LIMIT 1")
    assert ended == [("interrupted", "R901")]
    kinds = [kind for (kind,) in published.state("SELECT kind FROM rivet_event ORDER BY sequence DESC LIMIT 1")]
    assert kinds == ["run_interrupted"]
    assert published.state("SELECT pid FROM rivet_lease") == [(None,)]

    published.rivet("run", "-e", "orders", "--validate", "--param", "rows=5").succeeded()
    dataset = published.dataset()
    assert dataset is not None
    assert dataset.parts[0].read_text() == '"i"\n1\n2\n3\n4\n5\n'


def test_interrupted_before_the_first_row(workspace: Workspace) -> None:
    (workspace.directory / "empty.db").touch()
    counting = LONG_QUERIES["sqlite"].replace("SELECT i FROM n", "SELECT count(*) AS c FROM n")
    workspace.configure({"type": "sqlite", "database": "empty.db"}, {"query": counting})
    process = workspace.start("run", "--param", "rows=1000000000")
    deadline = time.monotonic() + 30
    while not is_recorded(workspace):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # from the record of the run's start to the query
    process.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    finish(process).failed(130, "R901", "the run of 'orders' was interrupted")
    assert time.monotonic() - stopped < STOP_SECONDS


def test_json_of_an_interrupted_run(workspace: Workspace) -> None:
    (workspace.directory / "empty.db").touch()
    configure(workspace, {"type": "sqlite", "database": "empty.db"})
    process = start_long_run(workspace, "--json")
    process.send_signal(signal.SIGINT)
    finished = finish(process)
    assert (finished.exit_code, finished.err) == (130, "")
    (run,) = finished.document["runs"]
    assert (run["status"], run["error"]["code"]) == ("interrupted", "R901")
    assert workspace.output() == {}
