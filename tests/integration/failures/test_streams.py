"""An export to the standard output: a reader that leaves is no error, and what needs a store is refused."""

from __future__ import annotations

import pytest

from integration.failures.command import Workspace
from integration.failures.long_run import LONG_QUERIES


@pytest.fixture
def streaming(workspace: Workspace) -> Workspace:
    (workspace.directory / "empty.db").touch()
    export = {"query": LONG_QUERIES["sqlite"], "format": "csv", "destination": {"type": "stdout"}}
    workspace.configure({"type": "sqlite", "database": "empty.db"}, export, {**export, "name": "again"})
    return workspace


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_closed_pipe_ends_quietly(streaming: Workspace, option: list[str]) -> None:
    process = streaming.start("run", "-e", "orders", "--param", "rows=10000000", *option)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(6) == '"i"\n1\n'
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 1


def test_stream_cannot_be_validated(streaming: Workspace) -> None:
    arguments = ("run", "-e", "orders", "--param", "rows=1", "--validate")
    streaming.rivet(*arguments).failed(2, "R101", "cannot be validated", hint="leave --validate and --reconcile out")
    streaming.rivet("validate").failed(2, "R101", "cannot be validated")


def test_two_exports_cannot_share_a_stream(streaming: Workspace) -> None:
    finished = streaming.rivet("run", "--param", "rows=1")
    finished.failed(2, "R101", "2 exports cannot share one stream: orders, again", hint="-e NAME")
    assert finished.out == ""


def test_data_and_nothing_else_on_stdout(streaming: Workspace) -> None:
    for option in ([], ["--json"]):
        finished = streaming.rivet("run", "-e", "orders", "--param", "rows=2", *option)
        assert (finished.exit_code, finished.out) == (0, '"i"\n1\n2\n')
        assert "orders" in finished.err


def test_failure_half_way_is_on_stderr_alone(streaming: Workspace) -> None:
    query = "SELECT 1 AS i UNION ALL SELECT 'two'"
    streaming.configure(
        {"type": "sqlite", "database": "empty.db"},
        {"query": query, "columns": {"i": "int64"}, "format": "csv", "destination": {"type": "stdout"}},
    )
    finished = streaming.rivet("run")
    assert finished.exit_code == 3
    assert finished.out == ""
    assert "error[R306]: column 'i'" in finished.err
