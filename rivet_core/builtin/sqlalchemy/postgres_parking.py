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

    Each is as good as a new one: its transaction has ended, and nothing was set beyond that but how values are loaded.

    Args:
        backend: opens connections of psycopg.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # Their ends are safe among threads.
        self._plain: deque[tuple[float, Any]] = deque()
        self._others: deque[tuple[float, Any]] = deque()

    def take(self, *, plain: bool = False) -> Any:
        """Return a parked connection, or a new one.

        Args:
            plain: one that loads values as psycopg does by itself.
        """
        for parked in (self._plain, *([] if plain else [self._others])):
            with suppress(IndexError):
                while True:
                    since, connection = parked.pop()
                    if time.monotonic() - since < _PARKED_SECONDS and _is_quiet(connection):
                        return connection
                    drop(connection)
        return self._backend.connect()

    def park(self, connection: Any, *, plain: bool = False) -> None:
        """Keep a connection that is in order and reads nothing any more; any other is dropped.

        Args:
            plain: no loader of its own was registered.
        """
        if connection.closed or connection.info.transaction_status.name != "IDLE":
            drop(connection)
            return
        connection.isolation_level = None
        (self._plain if plain else self._others).append((time.monotonic(), connection))

    def clear(self) -> None:
        """Close all that are parked."""
        for parked in (self._plain, self._others):
            with suppress(IndexError):
                while True:
                    drop(parked.pop()[1])


def _is_quiet(connection: Any) -> bool:
    """Whether the server has said nothing since: what it says unasked is mostly that it ends the session."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)
