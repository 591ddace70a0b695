"""Keeps connections to a server between the reads of one source: a new one costs more than a small chunk."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rivet_core.builtin.sqlalchemy.backend import Backend

# After so long somebody on the way may have forgotten the connection.
_PARKED_SECONDS: Final = 30.0


class Parking:
    """Connections between the reads of one source, which several threads may do at a time.

    Each is as good as a new one: its transaction has ended, and nothing was set beyond that but how values are loaded.

    Args:
        backend: opens connections of the driver.
        clear_up: ends what a reader has left on a connection, and returns whether it is in order.
        drop: closes a connection, in whatever state it is.
        line: returns a connection's socket, or its number.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clear_up: Callable[[Any], bool],
        drop: Callable[[Any], object],
        line: Callable[[Any], Any],
    ) -> None:
        self._backend = backend
        self._clear_up = clear_up
        self._drop = drop
        self._line = line
        # Their ends are safe among threads.
        self._plain: deque[tuple[float, Any]] = deque()
        self._others: deque[tuple[float, Any]] = deque()

    def take(self, *, plain: bool = False) -> Any:
        """Return a parked connection, or a new one.

        Args:
            plain: one that loads values as the driver does by itself.
        """
        for parked in (self._plain, *([] if plain else [self._others])):
            with suppress(IndexError):
                while True:
                    since, connection = parked.pop()
                    if time.monotonic() - since < _PARKED_SECONDS and self._is_quiet(connection):
                        return connection
                    self._drop(connection)
        return self._backend.connect()

    def park(self, connection: Any, *, plain: bool = False) -> None:
        """Keep a connection that is in order and reads nothing any more; any other is dropped.

        Args:
            plain: no loader of its own was registered.
        """
        if not self._clear_up(connection):
            self._drop(connection)
            return
        (self._plain if plain else self._others).append((time.monotonic(), connection))

    def clear(self) -> None:
        """Close all that are parked."""
        for parked in (self._plain, self._others):
            with suppress(IndexError):
                while True:
                    self._drop(parked.pop()[1])

    def _is_quiet(self, connection: Any) -> bool:
        """Whether the server has said nothing since: what it says unasked is mostly that it ends the session."""
        poll = select.poll()
        poll.register(self._line(connection), select.POLLIN)
        return not poll.poll(0)
