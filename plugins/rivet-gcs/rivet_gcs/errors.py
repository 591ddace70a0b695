"""The one place where errors of Google's libraries become Rivet's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import requests
import urllib3
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError

from rivet_core.api import (
    BucketMissing,
    ConfigError,
    CredentialsExpired,
    DestinationError,
    IntegrityError,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    RivetError,
    StorageFull,
    Transient,
    retry_after,
)

_PERMISSION: Final = re.compile(r"\bstorage\.[a-zA-Z]+\.[a-zA-Z]+\b")
_SAID_CHARACTERS: Final = 300
#: 403 and 429 with these reasons are a matter of pace, not of permission.
_RATE_LIMITS: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_HELD_BACK: Final = frozenset({"retentionPolicyNotMet", "objectUnderActiveHold"})
_TRANSIENT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
#: The SDK lets some errors of the layers below pass; for a body that breaks off those of urllib3.
_FOREIGN: Final = (GoogleAPICallError, GoogleAuthError, requests.RequestException, urllib3.exceptions.HTTPError)
_CLOCK: Final = "check the machine's clock: Google refuses a signature that is minutes off (rivet doctor compares)"
_ANONYMOUS: Final = "log in: replace allow_anonymous, which is for emulators and public buckets"
_BUSY: Final = "the service is slow or overloaded: run the export again later, or raise timeout_seconds"
_BUCKET: Final = "create the bucket, or correct bucket in the configuration; Rivet never creates one"


@dataclass(frozen=True)
class Action:
    """What is being done, for messages.

    Attributes:
        text: to follow "cannot": ``write gs://bucket/orders/part-000001.parquet``.
        endpoint: URL of the service.
        permission: what the identity needs for it, unless the service names another one.
        needs_bucket: only the bucket can be what is missing when something is: there need be no object.
    """

    text: str
    endpoint: str
    permission: str = ""
    needs_bucket: bool = False


@contextmanager
def google_errors(action: Action) -> Iterator[None]:
    """Raise every error of Google's libraries and of the HTTP transport in the block as ``translate`` names it."""
    try:
        yield
    except _FOREIGN as error:
        raise translate(error, action) from error


def translate(error: Exception, action: Action) -> RivetError:
    """Return the error of Rivet's family for one of Google's libraries. No message holds a URL with a query."""
    if isinstance(error, GoogleAPICallError):
        return _answered(error, action)
    if isinstance(error, GoogleAuthError):
        return _not_logged_in(error, action)
    if isinstance(error, requests.exceptions.SSLError):
        return DestinationError(
            f"cannot {action.text}: the certificate of {action.endpoint} is not trusted",
            hint="name the certificate authority's file in REQUESTS_CA_BUNDLE",
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return Transient(f"cannot {action.text}: the proxy fails", hint="check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
    if isinstance(error, requests.Timeout):
        return Transient(f"cannot {action.text}: {action.endpoint} does not answer in time", hint=_BUSY)
    return Transient(
        f"cannot {action.text}: the connection to {action.endpoint} failed ({_innermost(error)})",
        hint="check the network, the name of the host and the proxy settings",
    )


def _answered(error: GoogleAPICallError, action: Action) -> DestinationError:
    """Return the error for an answer of the service."""
    status = int(error.code or 0)
    reason, said = _details(error)
    message = f"cannot {action.text}: {said}"
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR or reason in _RATE_LIMITS:
        headers = getattr(error.response, "headers", {})
        return Transient(message, hint=_BUSY, retry_after=retry_after(headers.get("Retry-After")))
    lower = said.lower()
    match status:
        case HTTPStatus.UNAUTHORIZED if "anonymous caller" in lower:
            found: DestinationError = PermissionDenied(message, hint=_ANONYMOUS)
        case HTTPStatus.UNAUTHORIZED:
            hint = f"the service refuses the credential; log in again, or {_CLOCK}"
            found = CredentialsExpired(message, hint=hint)
        case HTTPStatus.FORBIDDEN:
            found = _forbidden(message, reason, said, action)
        case HTTPStatus.NOT_FOUND if action.needs_bucket or "the specified bucket does not exist" in lower:
            found = BucketMissing(message, hint=_BUCKET)
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            found = NotFound(message)
        case HTTPStatus.PRECONDITION_FAILED:
            found = PreconditionFailed(message)
        case HTTPStatus.BAD_REQUEST if any(name in lower for name in ("crc32c", "md5", "checksum")):
            found = IntegrityError(message, hint="the bytes changed on their way; run the export again")
        case HTTPStatus.BAD_REQUEST if "user project" in lower:
            found = PermissionDenied(message, hint="the bucket's requester pays: set user_project")
        case _:
            found = DestinationError(message)
    return found


def _forbidden(message: str, reason: str, said: str, action: Action) -> DestinationError:
    """Return the error for status 403: which permission is missing, or what else forbids it."""
    if reason in _HELD_BACK:
        return PermissionDenied(message, hint="a retention policy or a hold of the bucket protects the object")
    if "quota" in reason.lower():
        return StorageFull(message, hint="raise the project's quota")
    named = _PERMISSION.search(said)
    permission = named.group() if named else action.permission
    return PermissionDenied(message, hint=f"grant {permission} on the bucket to the identity that rivet doctor shows")


def _not_logged_in(error: GoogleAuthError, action: Action) -> RivetError:
    """Return the error for a token that could not be had."""
    said = _short(str(error.args[0]) if error.args else type(error).__name__)
    if isinstance(error, DefaultCredentialsError):
        return ConfigError(said, hint="set credentials_file, or run gcloud auth application-default login")
    if isinstance(error, TransportError) or (isinstance(error, RefreshError) and error.retryable):
        return Transient(
            f"cannot {action.text}: no access token, because the token service cannot be reached",
            hint="check the network, and HTTPS_PROXY and REQUESTS_CA_BUNDLE",
        )
    if "invalid_grant" in said and "JWT" in said:
        return CredentialsExpired(f"cannot {action.text}: {said}", hint=f"{_CLOCK}, or create a new key")
    if "invalid_grant" in said:
        return CredentialsExpired(
            f"cannot {action.text}: {said}",
            hint="the login expired or was revoked: gcloud auth application-default login, or create a new key",
        )
    return PermissionDenied(
        f"cannot {action.text}: no access token: {said}", hint="check the credential with rivet doctor"
    )


def _details(error: GoogleAPICallError) -> tuple[str, str]:
    """Return the reason and the words of the service; the library's own message would begin with the URL."""
    answer = error.response
    if not isinstance(answer, requests.Response):
        return "", f"status {int(error.code or 0)}"
    try:
        described = answer.json()["error"]
        reasons = [str(item.get("reason", "")) for item in described.get("errors", ())]
        return next(iter(reasons), ""), _short(str(described["message"]))
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", _short(f"status {answer.status_code} {answer.text}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SAID_CHARACTERS else f"{text[:_SAID_CHARACTERS]}…"


def _innermost(error: BaseException) -> str:
    """Return the operating system's words for a failed connection, or the name of the error."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, OSError) and current.strerror:
            return current.strerror
        inner = [argument for argument in current.args if isinstance(argument, BaseException)]
        reason = getattr(current, "reason", None)
        current = inner[-1] if inner else reason if isinstance(reason, BaseException) else current.__cause__
    return type(error).__name__
