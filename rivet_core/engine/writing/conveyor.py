"""Hands items to another thread, which takes them in order while the caller goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Conveyor(Generic[T]):
    """A thread that takes items in order; at most some of them wait.

    An error of the thread is raised from the next ``put`` or from ``finish``, whichever comes first.

    Args:
        take: is called with each item, in the thread; with none any more after an error or ``cancel``.
        places: how many items wait before ``put`` does.
        name: of the thread.
    """

    def __init__(self, take: Callable[[T], object], *, places: int, name: str) -> None:
        self._take = take
        # `SimpleQueue` works in C: an interrupt in the middle of it leaves no lock behind for which the other thread
        # would wait for ever, as it may in `Queue`. It has no bound; one token per place in the queue is the bound.
        self._items: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(places):
            self._places.put(None)
        self._error: BaseException | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand an item over; waits while all places are taken."""
        self._raise_error()
        self._places.get()
        self._items.put(item)

    def finish(self) -> None:
        """Wait until every item was taken."""
        self._stop()
        self._raise_error()

    def cancel(self) -> None:
        """Stop the thread; what waits may or may not be taken. Raises nothing."""
        self._cancelled = True
        self._stop()

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._items.put(None)
            self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        # After an error the queue is still emptied, or the caller would wait for a place in it for ever.
        while (item := self._items.get()) is not None:
            if self._error is None and not self._cancelled:
                try:
                    self._take(item)
                except BaseException as error:  # noqa: BLE001  it is raised again, in the thread that writes
                    self._error = error
            self._places.put(None)
