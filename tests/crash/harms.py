"""What can befall a run besides its death, done to the process that runs it from within."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from rivet_core.engine import tries

SOURCE = "shop.db"
STATE = ".rivet_state.db"


def interrupt(directory: Path) -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def fill_disk(directory: Path) -> None:
    """No file takes another byte."""

    def refuse(*ignored: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.write = refuse


def lose_source(directory: Path) -> None:
    """The source is out of reach, for good; nobody needs to wait for it long."""
    tries._FIRST_WAIT_SECONDS = 0.001
    (directory / SOURCE).rename(directory / "away.db")


def restore_source(directory: Path) -> None:
    """Undo ``lose_source``."""
    (directory / "away.db").rename(directory / SOURCE)


def lose_state(directory: Path) -> None:
    """The state can be read and takes no part any more."""
    _in_state(directory, "ALTER TABLE rivet_part RENAME TO away")


def restore_state(directory: Path) -> None:
    """Undo ``lose_state``."""
    _in_state(directory, "ALTER TABLE away RENAME TO rivet_part")


def lose_lease(directory: Path) -> None:
    """Another process has taken the lease, and has ended since."""
    _in_state(directory, "UPDATE rivet_lease SET token = token + 1")


def _in_state(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(directory / STATE)) as connection, connection:
        connection.execute(statement)
