"""Runs ``rivet`` as users do, in a directory with a ``rivet.yaml``, and says what it must have left there."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from crash import observer
from integration.failures.forked import TIMEOUT_SECONDS, ForkServer

PROGRAM = str(Path(sys.executable).with_name("rivet"))
Section = Mapping[str, Any]
# A busy machine lets any run take long enough to report its progress.
_PROGRESS = re.compile(r"^\w+: \w+, .* rows/s.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Finished:
    """A command that has ended; ``err`` is without lines of progress."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed

    def succeeded(self) -> None:
        assert (self.exit_code, self.err) == (0, ""), self

    def failed(self, exit_code: int, code: str, *message: str, hint: str = "") -> None:
        """Assert that stderr holds one error with its hint, and nothing beside it.

        Args:
            message: each of these is in the message.
            hint: is in the hint.
        """
        assert self.exit_code == exit_code, self
        head, separator, shown_hint = self.err.partition("\nhint: ")
        assert head.startswith(f"error[{code}]: "), self
        assert self.err.count("error[") == 1, self
        assert separator, self
        assert shown_hint.count("\n") == 1, self
        assert all(part in head for part in message), self
        assert hint in shown_hint, self
        assert "Traceback" not in self.out + self.err


class Workspace:
    """A directory with a configuration, its state and its output ``out``.

    Args:
        directory: exists.
        forks: runs the commands that need no process of their own.
    """

    def __init__(self, directory: Path, forks: ForkServer) -> None:
        self.directory = directory
        self.out = directory / "out"
        self.environment: dict[str, str] = {}
        self._forks = forks
        self._started: list[subprocess.Popen[str]] = []

    def configure(self, source: Section, *exports: Section, **top: object) -> None:
        """Write ``rivet.yaml``. An export without a name is ``orders``, one without a destination goes to ``out``."""
        default = {"name": "orders", "destination": {"type": "local", "path": "out"}}
        document = {"source": source, "exports": [{**default, **export} for export in exports], **top}
        (self.directory / "rivet.yaml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")

    def start(
        self,
        *arguments: str,
        inside: Sequence[str] = (),
        stdout: Any = subprocess.PIPE,
        **environment: str,
    ) -> subprocess.Popen[str]:
        """Start the program ``rivet`` in the directory.

        Args:
            inside: a command that runs the rest of its arguments.
        """
        process = subprocess.Popen(
            [*inside, PROGRAM, *arguments],
            cwd=self.directory,
            env={**self._inherited(), "PYTHONWARNINGS": "error", **environment},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def kill_programs(self) -> None:
        """End what ``start`` has started and a failing test has left."""
        for process in self._started:
            with process:
                process.kill()

    def rivet(self, *arguments: str, **environment: str) -> Finished:
        """Run ``rivet`` to its end."""
        code, out, err = self._forks.run(arguments, self.directory, {**self._inherited(), **environment})
        return Finished(code, out, _PROGRESS.sub("", err))

    def _inherited(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RIVET_", "PG"))}
        return {**kept, **self.environment}

    def dataset(self) -> observer.Dataset | None:
        """What ``out`` certifies, as a reader without any of Rivet's code finds it."""
        return observer.check(self.out)

    def rows(self) -> list[dict[str, object]]:
        """The rows that ``out`` certifies, of a Parquet dataset."""
        found = self.dataset()
        assert found is not None
        return found.rows()

    def output(self) -> dict[str, bytes | str]:
        """Every file under ``out`` with its bytes, a link with its target."""
        return {
            str(path.relative_to(self.out)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
            for path in sorted(self.out.rglob("*"))
            if path.is_symlink() or path.is_file()
        }

    def state(self, query: str) -> list[Any]:
        """Run a query on the state database."""
        with closing(sqlite3.connect(f"file:{self.directory}/.rivet_state.db?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()


def finish(process: subprocess.Popen[str]) -> Finished:
    """Wait for the end of a program."""
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    return Finished(process.returncode, out or "", _PROGRESS.sub("", err))


def mount_or_skip(*commands: str) -> list[str]:
    """Return the shell and its script that mount, run its arguments and keep their exit code in ``$code``."""
    shell = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "sh", "-c"]
    try:
        subprocess.run([*shell, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("this user cannot mount")
    return [*shell, " && ".join((*commands, '"$@"; code=$?'))]


def sqlite_table(path: Path, *statements: str) -> None:
    """Run statements in a SQLite file, created if it is not there."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
