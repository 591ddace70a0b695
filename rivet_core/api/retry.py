"""Retries of single requests, for plugins. The core never repeats a whole upload blindly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from rivet_core.api.errors import Transient

T = TypeVar("T")


def retry(request: Callable[[], T], *, attempts: int = 5, timeout_seconds: float = 120.0) -> T:
    """Call ``request`` until it succeeds, with exponential backoff and jitter (stamina).

    Only ``Transient`` is retried, after its ``retry_after`` where the store named one.

    Args:
        request: one idempotent request; an outcome that was lost is looked up by the caller, not repeated blindly.
        attempts: tries in all.
        timeout_seconds: no further try starts after this long.

    Raises:
        Transient: the last failure, when the tries are used up.
    """
    import stamina

    def delay(error: Exception) -> bool | float | timedelta:
        if not isinstance(error, Transient):
            return False
        return error.retry_after if error.retry_after is not None else True

    for attempt in stamina.retry_context(on=delay, attempts=attempts, timeout=timeout_seconds):
        with attempt:
            return request()
    raise AssertionError("unreachable")
