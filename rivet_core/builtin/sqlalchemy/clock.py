"""Times the statements that a result takes: one, or one FETCH after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeVar

T = TypeVar("T")


class Clock:
    """The statements of one result.

    Attributes:
        longest_seconds: of the longest that has ended; ``None`` before.
    """

    longest_seconds: float | None = None

    def __init__(self) -> None:
        self._started = time.monotonic()

    def start(self) -> None:
        """A statement begins."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """The statement has ended."""
        self.longest_seconds = max(self.longest_seconds or 0.0, time.monotonic() - self._started)

    def until_the_end(self, rows: Iterator[T]) -> Iterator[T]:
        """Pass the rows of the statement on; it ends with the last one."""
        return chain(rows, self._ended())

    def _ended(self) -> Iterator[Any]:
        self.stop()
        yield from ()
