"""What ``rivet doctor`` prints about a bucket and the login, beside the core's own probe of an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import Check, DestinationError, RivetError

if TYPE_CHECKING:
    from rivet_s3.client import Login
    from rivet_s3.objects import Objects

#: Beyond it S3 refuses signatures ("RequestTimeTooSkewed"); half of it is near enough for a warning.
_LARGEST_SKEW: Final = timedelta(minutes=15)
_RULE: Final = "add a lifecycle rule with AbortIncompleteMultipartUpload to the bucket, or run `rivet clean`"


def check_all(objects: Objects, login: Login) -> Iterator[Check]:
    """Yield every check; what needs the bucket is left out where there is none."""
    yield _identity(login)
    try:
        answer = objects.look_around(f"reach the bucket {objects.bucket.name}")
    except RivetError as error:
        yield Check("bucket", "failed", error.message, error.hint or "check endpoint and network")
        return
    yield Check("bucket", "ok", f"{objects.bucket.name} answers at {objects.bucket.endpoint}")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    yield from _region(objects, headers)
    yield from _clock(headers)
    yield _aborted_uploads(objects)
    yield from _features(objects)


def _identity(login: Login) -> Check:
    try:
        temporary, expiry = login.temporary(), login.expiry()
    except RivetError as error:
        return Check("identity", "failed", error.message, error.hint or "log in again")
    if temporary:
        hint = "use aws_profile or credential_process for runs that may take longer than the session token is valid"
        return Check("identity", "warning", f"{login.identity}; they cannot be refreshed", hint)
    if expiry is None:
        return Check("identity", "ok", login.identity)
    message = f"{login.identity}, valid until {expiry:%Y-%m-%d %H:%M} UTC"
    if expiry < datetime.now(UTC):
        return Check("identity", "failed", message, "log in again")
    return Check("identity", "ok", message)


def _region(objects: Objects, headers: Mapping[str, str]) -> Iterator[Check]:
    actual, configured = headers.get("x-amz-bucket-region"), objects.bucket.region
    if actual is None:
        return  # compatible stores seldom say it
    if actual == configured:
        yield Check("region", "ok", actual)
    else:
        yield Check(
            "region",
            "failed",
            f"the bucket is in {actual}, requests go to {configured}",
            f"set region: {actual}; until then every request is redirected or refused",
        )


def _clock(headers: Mapping[str, str]) -> Iterator[Check]:
    try:
        skew = abs(datetime.now(UTC) - parsedate_to_datetime(headers["date"]))
    except (KeyError, ValueError, TypeError):
        return  # no Date header, or none with a time zone
    seconds = f"{skew.total_seconds():.0f} s"
    if skew < _LARGEST_SKEW / 2:
        yield Check("clock", "ok", f"within {seconds} of the store's")
    else:
        yield Check(
            "clock",
            "warning" if skew < _LARGEST_SKEW else "failed",
            f"{seconds} off the store's",
            "set this machine's clock (NTP): beyond 15 minutes S3 refuses every request",
        )


def _aborted_uploads(objects: Objects) -> Check:
    name = "unfinished uploads"
    try:
        answer = objects.bucket.request("get_bucket_lifecycle_configuration", "read the bucket's lifecycle rules")
    except DestinationError as error:
        if "NoSuchLifecycleConfiguration" in error.message:
            return Check(name, "warning", "no lifecycle rule removes what killed runs have left", _RULE)
        return Check(
            name,
            "skipped",
            "whether a lifecycle rule removes what killed runs have left is not known",
            "allow s3:GetLifecycleConfiguration, or run `rivet clean` from time to time",
        )
    days = [
        rule["AbortIncompleteMultipartUpload"].get("DaysAfterInitiation", 0)
        for rule in answer.get("Rules", ())
        if rule.get("Status") == "Enabled"
        and "AbortIncompleteMultipartUpload" in rule
        and objects.root.startswith(_prefix_of(rule))
    ]
    if not days:
        return Check(name, "warning", "no lifecycle rule removes what killed runs have left here", _RULE)
    return Check(name, "ok", f"a lifecycle rule removes them after {min(days)} days")


def _prefix_of(rule: Mapping[str, Any]) -> str:
    """Return the prefix that a lifecycle rule is about; rules about tags or sizes do not reach uploads."""
    return str(rule.get("Prefix") or rule.get("Filter", {}).get("Prefix") or "")


def _features(objects: Objects) -> Iterator[Check]:
    try:
        features = objects.features
    except DestinationError as error:
        yield Check("features", "failed", error.message, error.hint or "allow s3:PutObject at the prefix")
        return
    yield Check(
        "conditional writes",
        "ok" if features.conditions else "warning",
        "the store decides who publishes" if features.conditions else "the store has none, or they are switched off",
        "" if features.conditions else "let one run at a time write to a prefix",
    )
    proof = {
        "crc32c": "the store verifies CRC-32C, and validating compares it",
        "md5": "the store has no CRC-32C; MD5 and ETag prove each upload",
        "size": "checksum: off, so only sizes are compared",
    }
    yield Check("integrity", "warning" if features.method == "size" else "ok", proof[features.method])
