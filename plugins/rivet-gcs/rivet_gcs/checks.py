"""What ``rivet doctor`` prints about a bucket and the login, beside the core's own probe of an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from google.api_core.exceptions import from_http_response
from google.auth.credentials import AnonymousCredentials

from rivet_core.api import Check, DestinationError, PermissionDenied, RivetError
from rivet_gcs.auth import describe
from rivet_gcs.errors import Action, google_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from rivet_gcs.bucket import Bucket

#: Beyond it Google refuses what a service account has signed.
_LARGEST_SKEW: Final = timedelta(minutes=5)


def check_all(bucket: Bucket, identity: str, list_one: Callable[[], object]) -> Iterator[Check]:
    """Yield every check; what needs the bucket is left out where it cannot be reached.

    Args:
        identity: who logs in, as the auth resolver says it.
        list_one: asks for the first object, for an identity that may not ask for the bucket.
    """
    login = _identity(bucket, identity)
    yield login
    if login.status == "failed":
        return
    try:
        resource, headers = _ask(bucket)
    except PermissionDenied as error:
        yield from _without_settings(bucket, error, list_one)
        return
    except RivetError as error:
        yield Check("bucket", "failed", error.message, error.hint or "check bucket, endpoint and network")
        return
    yield Check("bucket", "ok", f"{bucket.config.bucket} answers at {bucket.endpoint}")
    yield Check("location", "ok", f"{resource.get('location', '?')}, {resource.get('storageClass', 'STANDARD')}")
    yield from _clock(headers)
    yield from _kept(resource)
    yield _unfinished()


def _identity(bucket: Bucket, identity: str) -> Check:
    credentials = bucket.session.credentials
    if isinstance(credentials, AnonymousCredentials):
        return Check("identity", "ok", identity)
    try:
        with google_errors(Action("log in", bucket.endpoint)):
            credentials.refresh(bucket.session._auth_request)
    except RivetError as error:
        return Check("identity", "failed", error.message, error.hint or "log in again")
    who = describe(credentials)
    message = identity if who in identity else f"{who}, {identity}"
    if credentials.expiry is None:
        return Check("identity", "ok", f"{message}; its token has no end that is known")
    return Check("identity", "ok", f"{message}; token until {credentials.expiry:%Y-%m-%d %H:%M} UTC, then renewed")


def _ask(bucket: Bucket) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return the bucket's description and the answer's headers."""
    action = Action(
        f"reach the bucket {bucket.config.bucket}", bucket.endpoint, "storage.buckets.get", needs_bucket=True
    )
    project = {"userProject": bucket.config.user_project} if bucket.config.user_project else {}

    def send() -> Any:
        answer = bucket.session.get(
            f"{bucket.endpoint}/storage/v1/b/{quote(bucket.config.bucket, safe='')}",
            params={"projection": "noAcl", **project},
            timeout=bucket.config.timeout_seconds,
        )
        if answer.status_code != HTTPStatus.OK:
            raise from_http_response(answer)  # type: ignore[no-untyped-call]  # google-api-core is half typed
        return answer

    answer = bucket.request(action, send)
    with google_errors(action):
        return answer.json(), answer.headers


def _without_settings(bucket: Bucket, refused: PermissionDenied, list_one: Callable[[], object]) -> Iterator[Check]:
    """Check an identity that may not read the bucket's settings, which no export needs."""
    try:
        list_one()
    except DestinationError as error:
        yield Check("bucket", "failed", error.message, error.hint or "check bucket, endpoint and network")
        return
    yield Check("bucket", "ok", f"{bucket.config.bucket} answers at {bucket.endpoint}")
    yield Check("location", "skipped", f"{refused.message}", "grant storage.buckets.get to see the bucket's settings")
    yield _unfinished()


def _clock(headers: Mapping[str, str]) -> Iterator[Check]:
    try:
        skew = abs(datetime.now(UTC) - parsedate_to_datetime(headers["Date"]))
    except (KeyError, ValueError, TypeError):
        return  # no Date header, or none with a time zone
    seconds = f"{skew.total_seconds():.0f} s"
    if skew < _LARGEST_SKEW / 2:
        yield Check("clock", "ok", f"within {seconds} of the service's")
        return
    yield Check(
        "clock",
        "warning" if skew < _LARGEST_SKEW else "failed",
        f"{seconds} off the service's",
        "set this machine's clock (NTP): Google refuses the signature of a service account that is minutes off",
    )


def _kept(resource: Mapping[str, Any]) -> Iterator[Check]:
    """Say what the bucket keeps beyond a delete, and whether that is in an export's way."""
    if retention := int(resource.get("retentionPolicy", {}).get("retentionPeriod", 0)):
        yield Check(
            "retention policy",
            "warning",
            f"no object can be replaced or deleted for {_days(retention)}",
            "give every run a prefix of its own with {run_id} or {date}, or use a bucket without the policy",
        )
    soft = int(resource.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0))
    if soft:
        yield Check("soft delete", "ok", f"what is deleted is kept, and billed, for {_days(soft)} more")
    if resource.get("versioning", {}).get("enabled"):
        yield Check("versioning", "ok", "what is deleted or replaced is kept, and billed, as a noncurrent version")


def _unfinished() -> Check:
    return Check("unfinished uploads", "ok", "the service forgets them after a week, unbilled; they cannot be listed")


def _days(seconds: int) -> str:
    return f"{seconds / 86400:g} days"
