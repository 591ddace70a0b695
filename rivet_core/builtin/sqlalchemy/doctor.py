"""The checks of ``rivet doctor`` that several engines share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rivet_core.api import Check

_MAX_SKEW_SECONDS: Final = 30.0


def version_check(version: str) -> Check:
    """Report the server that answered."""
    return Check("source server", "ok", version)


def tls_check(encrypted: bool, *, required: bool) -> Check:
    """Report whether the connection is encrypted."""
    if encrypted:
        return Check("source encryption", "ok", "TLS is on")
    if required:
        return Check("source encryption", "failed", "TLS is off, but required", "check tls.mode and the server")
    return Check("source encryption", "ok", "TLS is off; it is required for remote databases only")


def clock_check(server_seconds: float) -> Check:
    """Compare the server's clock (seconds since 1970, UTC) with ours."""
    skew = float(server_seconds) - datetime.now(UTC).timestamp()
    message = f"the server's clock differs by {abs(skew):.1f} s"
    if abs(skew) <= _MAX_SKEW_SECONDS:
        return Check("source clock", "ok", message)
    return Check("source clock", "warning", message, "synchronise both clocks (NTP)")


def read_only_check(read_only: bool) -> Check:
    """Report whether the session refuses to write."""
    if read_only:
        return Check("source read-only", "ok", "the session cannot write")
    return Check(
        "source read-only", "warning", "the session could write; Rivet itself only reads", "use a read-only user"
    )
