"""Watches from outside how long the statements of a database run."""

from __future__ import annotations

import threading
from typing import Any

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


class StatementWatch:
    """Keeps the longest time that a statement of another session has been seen to run, while the block lasts."""

    def __init__(self, server: DatabaseServer) -> None:
        self.longest_seconds = 0.0
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StatementWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with self._server.connect() as connection, connection.cursor() as cursor:
            while not self._ended.wait(LOOK_SECONDS):
                self._look(cursor)

    def _look(self, cursor: Any) -> None:
        cursor.execute(_LONGEST[self._server.driver])
        (seconds,) = cursor.fetchone()
        self.longest_seconds = max(self.longest_seconds, float(seconds or 0))
