"""Watches a database from outside: how long its statements run, and the CPU time that its processes spend."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from servers.database import DatabaseServer

# A look costs the server well below a millisecond; a statement is at most this much longer than what was seen of it.
LOOK_SECONDS = 0.05

_LONGEST = {
    "postgresql+psycopg": (
        "SELECT max(extract(epoch FROM clock_timestamp() - query_start)) FROM pg_stat_activity "
        "WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ),
    "mysql+pymysql": (
        "SELECT max(time_ms) / 1000 FROM information_schema.processlist "
        "WHERE command NOT IN ('Sleep', 'Daemon') AND id <> connection_id()"
    ),
}


def version_of(server: DatabaseServer) -> str:
    """Return a server's name and version."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        (text,) = cursor.fetchone()
    return " ".join(text.split()[:2]) if text.startswith("PostgreSQL") else f"MariaDB {text.split('-')[0]}"


class StatementWatch:
    """What other sessions do while the block lasts.

    Attributes:
        longest_seconds: the longest time that a statement has been seen to run.
        cpu_seconds: user and system time of the server's processes, known after the block; the looks are in it.
    """

    def __init__(self, server: DatabaseServer) -> None:
        self.longest_seconds = 0.0
        self.cpu_seconds = 0.0
        self._server = server
        self._process = _process_of(server)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StatementWatch:
        self.cpu_seconds = -_cpu_seconds(self._process)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        self.cpu_seconds += _cpu_seconds(self._process)

    def _run(self) -> None:
        with self._server.connect() as connection, connection.cursor() as cursor:
            while not self._ended.wait(LOOK_SECONDS):
                self._look(cursor)

    def _look(self, cursor: Any) -> None:
        cursor.execute(_LONGEST[self._server.driver])
        (seconds,) = cursor.fetchone()
        self.longest_seconds = max(self.longest_seconds, float(seconds or 0))


def _process_of(server: DatabaseServer) -> psutil.Process:
    """Return the process that all others of the server descend from."""
    with server.connect() as connection, connection.cursor() as cursor:
        if server.driver == "mysql+pymysql":
            cursor.execute("SELECT @@pid_file")
            return psutil.Process(int(Path(cursor.fetchone()[0]).read_text()))
        cursor.execute("SELECT pg_backend_pid()")
        return psutil.Process(psutil.Process(cursor.fetchone()[0]).ppid())


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process, of its ended children and of its running ones."""
    while True:
        own = process.cpu_times()[:4]
        running = 0.0
        for child in process.children():
            with suppress(psutil.Error):  # it ended meanwhile
                running += sum(child.cpu_times()[:2])
        # Had a child ended in between, its time would be in neither.
        if process.cpu_times()[2:4] == own[2:4]:
            return float(sum(own)) + running
