"""Standard streams that are closed or full: no traceback, and the exit code is that of the command."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

CONFIG = """
source: {type: sqlite, database: shop.db}
exports:
  - {name: orders, table: orders, destination: {type: local, path: out}}
  - {name: stream, table: orders, format: csv, destination: {type: stdout}}
"""
Rivet = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def rivet(tmp_path: Path) -> Rivet:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
        connection.execute("INSERT INTO orders VALUES (1)")
    (tmp_path / "rivet.yaml").write_text(CONFIG)
    program = f"'{sys.executable}' -c 'import sys; from rivet_core.cli.main import main; sys.exit(main())'"

    def run(arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``rivet`` in a shell, with the shell's redirections."""
        environ = {name: value for name, value in os.environ.items() if name != "RIVET_STATE_URL"}
        command = f"{program} {arguments}"
        return subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("arguments", ["run -e orders", "run -e orders --json", "schema config"])
def test_a_report_that_has_no_room_is_one_clear_error(rivet: Rivet, arguments: str) -> None:
    ended = rivet(f"{arguments} > /dev/full")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "error[R000]: cannot write the report: No space left on device",
        "hint: what the command has done is done",
    ]


@pytest.mark.parametrize("stderr", ["2> /dev/full", "2>&-"])
def test_an_error_that_nobody_can_read_keeps_its_exit_code(rivet: Rivet, stderr: str) -> None:
    assert rivet(f"run -e missing {stderr}").returncode == 2


def test_a_warning_that_nobody_can_read_fails_no_run(rivet: Rivet, tmp_path: Path) -> None:
    (tmp_path / ".rivet").write_text("in the way of the summary, which is a warning")
    ended = rivet("run -e orders --json 2> /dev/full")
    assert ended.returncode == 0
    assert "the summary could not be written" in ended.stdout


def test_a_warning_is_one_plain_line(rivet: Rivet, tmp_path: Path) -> None:
    (tmp_path / ".rivet").write_text("in the way of the summary, which is a warning")
    assert rivet("run -e orders --json").stderr.startswith("warning: orders: the summary could not be written to ")


def test_a_closed_stdout_is_no_reason_to_fail(rivet: Rivet, tmp_path: Path) -> None:
    assert (rivet("run -e orders >&-").returncode, rivet("validate -e orders >&- 2>&-").returncode) == (0, 0)
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_no_file_gets_the_descriptor_of_a_closed_stdout(rivet: Rivet, tmp_path: Path) -> None:
    before = (tmp_path / "shop.db").read_bytes()
    ended = rivet("run -e stream <&- >&-")
    assert ended.returncode == 1
    assert "error[R401]: cannot write to the standard output: Bad file descriptor" in ended.stderr
    assert (tmp_path / "shop.db").read_bytes() == before


def test_a_summary_that_cannot_be_written_hides_no_other_exit_code(rivet: Rivet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = rivet("run -e orders --json --summary-output file/summary.json")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error[R101]: cannot write file/summary.json: ")
    assert '"status": "succeeded"' in ended.stdout
    assert '"exit_code": 2' in ended.stdout
