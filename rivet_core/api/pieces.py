"""Uploads in pieces: bounded memory, several requests at once, each piece kept until the store has acknowledged it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

R = TypeVar("R")


class PieceUpload(Generic[R]):
    """Cuts one object's bytes into pieces and sends them in threads, while the writer goes on with the next one.

    Used by one thread. An object that never fills its first piece is not sent at all: ``finish`` is not called then,
    and the writer stores ``rest`` in one request.

    Args:
        send: ``(number, data) -> receipt``; numbers count from 1; called in threads of ``pool``. Retries are its
            business.
        pool: threads of the destination, shared by its writers.
        piece_bytes: size of the piece with that number; the last piece may be smaller.
        in_flight_bytes: bound of what is being sent at any time; a single larger piece is sent alone.
    """

    def __init__(
        self,
        send: Callable[[int, bytes], R],
        pool: ThreadPoolExecutor,
        *,
        piece_bytes: Callable[[int], int],
        in_flight_bytes: int,
    ) -> None:
        self._send = send
        self._pool = pool
        self._piece_bytes = piece_bytes
        self._free = _Room(in_flight_bytes)
        self._held: list[memoryview | bytes] = []
        self._held_bytes = 0
        self._sent: list[Future[R]] = []
        self._error: BaseException | None = None
        #: Set when no further request is to be made; for ``api.retry``.
        self.stopped = threading.Event()

    @property
    def started(self) -> bool:
        """Whether a piece was sent, or is being sent."""
        return bool(self._sent)

    @property
    def rest(self) -> bytes:
        """What was written and not sent yet."""
        return b"".join(self._held)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take ``data`` and return its length; waits while too much is in flight.

        Raises:
            Exception: what ``send`` raised for an earlier piece.
        """
        view = memoryview(data if isinstance(data, bytes) else bytes(data))
        position = 0
        while position < len(view):
            room = self._piece_bytes(len(self._sent) + 1) - self._held_bytes
            if room == 0:  # only now it is known that this piece is not the last one
                self._submit()
                continue
            taken = view[position : position + room]
            self._held.append(taken)
            self._held_bytes += len(taken)
            position += len(taken)
        return len(view)

    def finish(self) -> list[R]:
        """Send the rest, wait for every piece and return the receipts in the order of the pieces.

        Raises:
            Exception: what ``send`` raised for the first piece that failed.
        """
        if self._held:
            self._submit()
        self._wait()
        self._raise_error()
        return [future.result() for future in self._sent]

    def cancel(self) -> None:
        """Start no further request and wait for those that are under way. Raises nothing."""
        self.stopped.set()
        for future in self._sent:
            future.cancel()
        self._wait()
        self._held.clear()

    def _submit(self) -> None:
        self._raise_error()
        number = len(self._sent) + 1
        piece = self.rest
        self._held.clear()
        self._held_bytes = 0
        size = len(piece)
        self._free.take(size)
        future = self._pool.submit(self._send_one, number, piece)
        # A future keeps its callbacks for ever: this one must not hold the piece.
        future.add_done_callback(lambda _: self._free.give_back(size))
        self._sent.append(future)

    def _send_one(self, number: int, piece: bytes) -> R:
        try:
            return self._send(number, piece)
        except BaseException as error:
            if self._error is None:
                self._error = error
            self.stopped.set()  # the object is lost: no other piece is worth a further try
            raise

    def _wait(self) -> None:
        for future in self._sent:
            if not future.cancelled():
                future.exception()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


class _Room:
    """Counts the bytes in flight."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + size <= self._limit)
            self._used += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify()
