"""Gives libpq the server's messages that were read past it."""

from __future__ import annotations

import os
import socket
from typing import Any, Final

from psycopg import OperationalError

_MAX_HELD: Final = 1 << 16


class Aside:
    """Messages for one connection of libpq, in the server's order and cut anywhere.

    libpq reads from a descriptor, so for a moment that is one of ours: the other end of it holds the messages. What
    they say of the transaction, of errors and of settings is then known to libpq as if it had received it.
    """

    def __init__(self, pgconn: Any) -> None:
        self._pgconn = pgconn
        self._held = bytearray()

    def add(self, data: bytes) -> None:
        """Take some bytes; libpq gets them when there are many.

        Raises:
            OSError: there is no descriptor left.
        """
        self._held += data
        if len(self._held) >= _MAX_HELD:
            self.hand_over()

    def hand_over(self) -> None:
        """Let libpq read all that is held; it must not have read anything else since the statement began.

        Raises:
            OSError: there is no descriptor left.
        """
        if not self._held:
            return
        held, self._held = self._held, bytearray()
        number = self._pgconn.socket
        kept = os.dup(number)
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                # As libpq's own, which it reads until nothing comes.
                ours.setblocking(False)
                theirs.setblocking(False)
                os.dup2(theirs.fileno(), number, inheritable=False)
                try:
                    self._pass(memoryview(held), ours, theirs)
                finally:
                    # libpq closes a descriptor whose messages it cannot read; then the number may be anybody's.
                    if self._is_open():
                        os.dup2(kept, number, inheritable=False)
        finally:
            os.close(kept)

    def _is_open(self) -> bool:
        try:
            return bool(self._pgconn.socket >= 0)
        except OperationalError:
            return False

    def _pass(self, held: memoryview, ours: socket.socket, theirs: socket.socket) -> None:
        while held:
            held = held[ours.send(held) :]
            while _has_input(theirs):
                self._pgconn.consume_input()
                self._pgconn.is_busy()  # it looks at what it has read


def _has_input(end: socket.socket) -> bool:
    try:
        return bool(end.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
