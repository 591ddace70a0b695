"""Runs ``rivet`` in forks of a process that has its imports behind it: a run costs a fifth of what a new program does.

As a program it reads one JSON request a line, ``{"arguments": […], "directory": PATH, "environment": {…}, "out": PATH,
"err": PATH}``, and answers with the exit code. Each fork ends as an interpreter does, so that whatever is left open
shows as a warning on its standard error.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

TIMEOUT_SECONDS = 60
_PRELOADED = (
    "psycopg",
    "pymysql",
    "rivet_core.builtin.csv",
    "rivet_core.builtin.parquet",
    "rivet_core.builtin.sqlalchemy.source",
    "rivet_core.builtin.stdout",
    "rivet_core.cli.doctor",
    "rivet_core.cli.run",
    "rivet_core.cli.validate",
    "rivet_core.config",
    "rivet_core.engine.doctor",
    "rivet_core.engine.run",
    "rivet_local.destination",
    "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg",
)


class ForkServer:
    """The parent's side; a context manager."""

    def __init__(self, directory: Path) -> None:
        self._out, self._err = directory / "stdout", directory / "stderr"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
        """Run ``rivet`` with ``arguments`` in ``directory``; return its exit code, stdout and stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "arguments": [*arguments],
            "directory": str(directory),
            "environment": {**environment},
            "out": str(self._out),
            "err": str(self._err),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], TIMEOUT_SECONDS)[0]:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise TimeoutError(f"rivet {' '.join(arguments)} has not ended: {self._err.read_text()}")
        code = int(self._process.stdout.readline())
        return code, self._out.read_text("utf-8"), self._err.read_text("utf-8")

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _become(request: Mapping[str, object]) -> None:
    """Turn a fork into the program that the request describes."""
    os.close(0)
    for descriptor, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        opened = os.open(str(name), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, descriptor)
        if opened != descriptor:
            os.close(opened)
    os.chdir(str(request["directory"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]


def main() -> None:
    from rivet_core.cli.main import main as rivet
    from rivet_core.engine import tries

    tries._FIRST_WAIT_SECONDS = 0.01
    for name in _PRELOADED:
        import_module(name)
    gc.freeze()  # or every fork copies all pages at its end
    # Standard input and output are the fork's own; requests and answers go through copies that it closes.
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers:
        for line in requests:
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                requests.close()
                answers.close()
                _become(request)
                sys.exit(rivet(request["arguments"]))
            answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
            answers.flush()


if __name__ == "__main__":
    main()
