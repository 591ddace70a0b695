"""Keeps connections to PostgreSQL between the reads of one source: a new one costs more than a small chunk."""

from __future__ import annotations

import select
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from rivet_core.builtin.sqlalchemy.postgres_session import drop

if TYPE_CHECKING:
    from rivet_core.builtin.sqlalchemy.backend import Backend

# After so long somebody on the way may have forgotten the connection.
_PARKED_SECONDS: Final = 30.0


class Parking:
    """Connections between the reads of one source, which several threads may do at a time.

    Each is as good as a new one: its transaction has ended, and nothing was set beyond that.

    Args:
        backend: opens connections of psycopg.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._parked: deque[tuple[float, Any]] = deque()  # its ends are safe among threads

    def take(self) -> Any:
        """Return a parked connection, or a new one."""
        with suppress(IndexError):
            while True:
                since, connection = self._parked.pop()
                if time.monotonic() - since < _PARKED_SECONDS and _is_quiet(connection):
                    return connection
                drop(connection)
        return self._backend.connect()

    def park(self, connection: Any) -> None:
        """Keep a connection that is in order and reads nothing any more; any other is dropped."""
        if connection.closed or connection.info.transaction_status.name != "IDLE":
            drop(connection)
            return
        connection.isolation_level = None
        self._parked.append((time.monotonic(), connection))

    def clear(self) -> None:
        """Close all that are parked."""
        with suppress(IndexError):
            while True:
                drop(self._parked.pop()[1])


def _is_quiet(connection: Any) -> bool:
    """Whether the server has said nothing since: what it says unasked is mostly that it ends the session."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)
