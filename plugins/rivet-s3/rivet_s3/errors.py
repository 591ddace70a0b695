"""The one place where errors of requests to the store become Rivet's; for those of logging in see `login_errors`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from rivet_core.api import (
    BucketMissing,
    ConfigError,
    CredentialsExpired,
    DestinationError,
    IntegrityError,
    InvalidKey,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    RivetError,
    StorageFull,
    Transient,
    retry_after,
)

_CLOCK: Final = "set this machine's clock: S3 refuses requests that are signed more than 15 minutes off"
_KEYS: Final = "check the access key and the secret key; `rivet doctor` shows which ones are in use"
_RENEW: Final = "get new credentials and run the command again"
_DIGEST: Final = "the bytes were damaged on their way; nothing was recorded, run the export again"
_REGION: Final = "set region to the bucket's own; `rivet doctor` shows it"


class UploadGone(DestinationError):
    """The multipart upload was completed or aborted, by a request whose answer was lost or by somebody else."""


class RangeEmpty(DestinationError):
    """The range begins behind the end of the object."""


class Unexplained(DestinationError):
    """An answer to HEAD, which has no body that would say why it was refused."""


#: By S3's error code, or by the status where an answer has no body (HEAD).
_KINDS: Final[dict[str, tuple[type[DestinationError], str]]] = {
    "NoSuchBucket": (BucketMissing, "create the bucket, or correct bucket, region and endpoint"),
    "NoSuchKey": (NotFound, ""),
    "404": (NotFound, ""),
    "NoSuchUpload": (UploadGone, "the upload was aborted elsewhere; run the export again"),
    "InvalidRange": (RangeEmpty, ""),
    "PreconditionFailed": (PreconditionFailed, ""),
    "412": (PreconditionFailed, ""),
    # Another request is at work at the same key; AWS asks to repeat this one.
    "ConditionalRequestConflict": (Transient, ""),
    "OperationAborted": (Transient, ""),
    "AccessDenied": (PermissionDenied, ""),
    "AllAccessDisabled": (PermissionDenied, ""),
    "401": (PermissionDenied, ""),
    "AccountProblem": (PermissionDenied, "ask AWS about the account"),
    "InvalidAccessKeyId": (PermissionDenied, _KEYS),
    "SignatureDoesNotMatch": (PermissionDenied, _KEYS),
    "RequestTimeTooSkewed": (PermissionDenied, _CLOCK),
    "ExpiredToken": (CredentialsExpired, _RENEW),
    "ExpiredTokenException": (CredentialsExpired, _RENEW),
    "TokenRefreshRequired": (CredentialsExpired, _RENEW),
    "InvalidToken": (CredentialsExpired, f"the session token is over or belongs to other keys; {_RENEW}"),
    "BadDigest": (IntegrityError, _DIGEST),
    "InvalidDigest": (IntegrityError, _DIGEST),
    "XAmzContentChecksumMismatch": (IntegrityError, _DIGEST),
    "XAmzContentSHA256Mismatch": (IntegrityError, _DIGEST),
    "KeyTooLongError": (InvalidKey, "shorten the prefix or the export's name; S3 takes keys of up to 1024 bytes"),
    "QuotaExceeded": (StorageFull, "the bucket's quota is used up"),
    "XMinioStorageFull": (StorageFull, "the store has no room left"),
    "507": (StorageFull, "the store has no room left"),
    "PermanentRedirect": (DestinationError, _REGION),
    "AuthorizationHeaderMalformed": (DestinationError, _REGION),
    "IllegalLocationConstraintException": (DestinationError, _REGION),
    "InvalidStorageClass": (DestinationError, "check storage_class: the store does not know this one"),
    "InvalidTag": (DestinationError, "tags hold letters, digits, spaces and + - = . _ : / @ only"),
    "InvalidObjectState": (DestinationError, "the object is archived; restore it, or export to another prefix"),
    "NotImplemented": (DestinationError, "the store does not support an option; leave it out"),
}
#: Codes that the SDK makes up from the status: an expired token is a 400, a wrong signature a 403.
_UNEXPLAINED: Final = {"400", "403"}
_TRANSIENT_CODES: Final = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "BandwidthLimitExceeded",
}

#: The permission that a request needs, for the hint when it is denied.
_PERMISSIONS: Final = {
    "put_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject (and s3:ListBucket, without which S3 answers so for absent objects, too)",
    "list_objects_v2": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "get_bucket_lifecycle_configuration": "s3:GetLifecycleConfiguration",
    "delete_object": "s3:DeleteObject",
    "copy_object": "s3:GetObject and s3:PutObject (with tags also s3:GetObjectTagging and s3:PutObjectTagging)",
    "upload_part_copy": "s3:GetObject and s3:PutObject",
}

#: What happened without an answer of the store: the SDK's errors, Rivet's, what to say of it, and the hint. The first
#: that fits counts; ``{endpoint}`` and ``{error}`` are filled in.
_FAILURES: Final[tuple[tuple[tuple[type[Exception], ...], type[RivetError], str, str], ...]] = (
    (
        (sdk.SSLError,),
        DestinationError,
        "the certificate of {endpoint} is not trusted",
        "for a private certificate authority set AWS_CA_BUNDLE to its file",
    ),
    ((sdk.ProxyConnectionError,), Transient, "the proxy does not answer", "check HTTPS_PROXY and NO_PROXY"),
    (
        (sdk.EndpointConnectionError, sdk.ConnectTimeoutError),
        Transient,
        "cannot connect to {endpoint}",
        "check endpoint, region and network",
    ),
    ((sdk.ReadTimeoutError,), Transient, "{endpoint} does not answer", "raise timeout_seconds if it is slow"),
    (
        (sdk.HTTPClientError, sdk.IncompleteReadError, ResponseParserError, HTTPError, OSError),
        Transient,
        "the connection to {endpoint} was lost",
        "",
    ),
    ((Exception,), ConfigError, "{error}", "check the destination's options"),
)


@contextmanager
def s3_errors(operation: str, action: str, endpoint: str) -> Iterator[None]:
    """Raise every error of the SDK in the block as Rivet's.

    Args:
        operation: the SDK's method, such as ``put_object``.
        action: what was tried, to follow "cannot": ``write s3://bucket/orders/part-000001.parquet``.
        endpoint: URL of the service.
    """
    try:
        yield
    except (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, HTTPError, OSError) as error:
        raise translate(error, operation, action, endpoint) from error


def translate(error: Exception, operation: str, action: str, endpoint: str) -> RivetError:
    """Return the error of Rivet's family for one of the SDK; see ``s3_errors``."""
    if isinstance(error, sdk.ClientError):
        return _answered(error, operation, action)
    _, kind, text, hint = next(row for row in _FAILURES if isinstance(error, row[0]))
    return kind(f"cannot {action}: {text.format(endpoint=endpoint, error=error)}", hint=hint)


def _answered(error: sdk.ClientError, operation: str, action: str) -> DestinationError:
    """Return the error for an answer of the store."""
    answer: dict[str, Any] = error.response
    details = answer.get("Error", {})
    code = str(details.get("Code", ""))
    metadata = answer.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    said = details.get("Message") or ""
    message = f"cannot {action}: {code} {said}".rstrip(" .")
    if code in _UNEXPLAINED:
        return Unexplained(message)
    kind, hint = _KINDS.get(code) or _KINDS.get(str(status)) or (DestinationError, "")
    if code in _TRANSIENT_CODES or (kind is DestinationError and (status >= 500 or status in (408, 429))):
        return Transient(message, retry_after=retry_after(metadata.get("HTTPHeaders", {}).get("retry-after")))
    if kind is PermissionDenied and not hint:
        hint = f"the identity in use needs {_PERMISSIONS.get(operation, 'more permissions')} here"
    return kind(message, hint=hint)
