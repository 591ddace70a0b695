"""Retries of single requests, for plugins. The core never repeats a whole upload blindly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeVar

from rivet_core.api.errors import CredentialsExpired, Transient

T = TypeVar("T")

logger = logging.getLogger(__name__)


def retry(
    request: Callable[[], T],
    *,
    attempts: int = 5,
    timeout_seconds: float = 120.0,
    renew: Callable[[], bool] | None = None,
    stop: threading.Event | None = None,
) -> T:
    """Call ``request`` until it succeeds, with exponential backoff and jitter (stamina).

    Only ``Transient`` is retried, after its ``retry_after`` where the store named one; and, with ``renew``, once after
    each ``CredentialsExpired``.

    Args:
        request: one idempotent request; an outcome that was lost is looked up by the caller, not repeated blindly.
        attempts: tries in all.
        timeout_seconds: no further try starts after this long.
        renew: gets a fresh credential (``Provider.get(force=True)``) and returns whether it is another one than the
            one that was refused.
        stop: when it is set, no further try starts.

    Raises:
        Transient: the last failure, when the tries are used up.
        CredentialsExpired: the credential was refused, and there is no other one.
    """
    import stamina

    failures = 0

    def delay(error: Exception) -> bool | float | timedelta:
        nonlocal failures
        failures += 1
        if not isinstance(error, Transient) or (stop is not None and stop.is_set()):
            return False
        if failures < attempts:
            logger.warning("%s; trying again", error)
        return error.retry_after if error.retry_after is not None else True

    for attempt in stamina.retry_context(on=delay, attempts=attempts, timeout=timeout_seconds):
        with attempt:
            try:
                return request()
            except CredentialsExpired:
                if renew is None or not renew():
                    raise
                return request()
    raise AssertionError("unreachable")


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3); ``None`` for none or a wrong one.

    >>> retry_after("7")
    7.0
    >>> retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
    0.0
    >>> retry_after("soon")
    """
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
