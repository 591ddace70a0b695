"""Says how often a read of the source is tried, and waits between two tries."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from rivet_core.api.errors import RivetError, SnapshotLost, SourceUnavailable

T = TypeVar("T")

#: Tries at one chunk or one planning query; with the waits between them they outlast the restart of a server.
ATTEMPTS: Final = 8
#: Tries at all rows of a run that shows one instant; each reads them from the first on.
STARTS: Final = 3

_FIRST_WAIT_SECONDS = 1.0
_MAX_WAIT_SECONDS: Final = 30.0


def pause(attempt: int, stop: threading.Event | None = None) -> None:
    """Wait before the try after the ``attempt``-th: longer each time, and not as long as other workers.

    Args:
        stop: ends the wait.
    """
    seconds = min(_MAX_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
    (stop or threading.Event()).wait(seconds)


def keep_trying(work: Callable[[], T], again: Callable[[RivetError], None]) -> T:
    """Do something that only reads the source, and do it again while the source is unavailable.

    Args:
        again: is told why, before each further try.

    Raises:
        SourceUnavailable: the tries are used up.
    """
    return _try(work, again, SourceUnavailable, ATTEMPTS)


def start_over(work: Callable[[], T], again: Callable[[RivetError], None]) -> T:
    """Do something that shows one instant of the source, and do all of it at another one where that is lost.

    Args:
        again: is told why, before each further try.

    Raises:
        SnapshotLost: the tries are used up.
    """
    return _try(work, again, SnapshotLost, STARTS)


def _try(work: Callable[[], T], again: Callable[[RivetError], None], failure: type[RivetError], most: int) -> T:
    for number in range(1, most):
        try:
            return work()
        except failure as error:
            again(error)
            pause(number)
    return work()
