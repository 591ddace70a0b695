"""A destination in a fresh directory, and Python subprocesses that use one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytest

from rivet_core.api import DestinationContext
from rivet_local.config import LocalConfig
from rivet_local.destination import LocalDestination, open_local

PRELUDE = """
import errno, os, resource, signal, sys, time
from pathlib import Path
from rivet_core.api import *
from rivet_local.config import LocalConfig
from rivet_local.destination import open_local
destination = open_local(LocalConfig(path=sys.argv[1]), DestinationContext(Path("/")))
"""


class Spawn(Protocol):
    def __call__(self, code: str, *, path: Path | None = None, inside: Sequence[str] = ()) -> subprocess.Popen[str]: ...


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the destination writes; it does not exist yet."""
    return tmp_path / "exports" / "orders"


@pytest.fixture
def destination(root: Path) -> LocalDestination:
    return open_local(LocalConfig(path=str(root)), DestinationContext(base_dir=Path("/")))


@pytest.fixture
def spawn(root: Path) -> Spawn:
    """Start Python with ``destination`` bound to ``path`` (by default the same directory), its streams as pipes.

    ``inside`` is a command that runs the rest of its arguments.
    """

    def run(code: str, *, path: Path | None = None, inside: Sequence[str] = ()) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*inside, sys.executable, "-W", "error", "-c", PRELUDE + code, str(path or root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run
