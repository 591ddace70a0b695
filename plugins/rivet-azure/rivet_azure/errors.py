"""The one place where errors of the Azure SDK become Rivet's, without their texts: URLs in them may hold tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests
from azure.core import exceptions as sdk
from azure.identity import CredentialUnavailableError

from rivet_core.api import (
    BucketMissing,
    CredentialsExpired,
    DestinationError,
    IntegrityError,
    InvalidKey,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    StorageFull,
    Transient,
    retry_after,
)

#: Beyond it the service refuses what was signed with a key ("Authorize with Shared Key").
LARGEST_SKEW: Final = timedelta(minutes=15)

_CLOCK: Final = "set this machine's clock: it differs from the service's by more than the 15 minutes that are allowed"
_DAMAGED: Final = "the bytes were damaged on their way; nothing was recorded, run the export again"
_LATER: Final = "run the command again; if it happens often, lower upload_concurrency or the export's parallel"
_ENTRA: Final = "check tenant, client and secret of the login; `rivet doctor` shows which one is in use"


class Refused(CredentialsExpired):
    """The login is over, or never was right, or the account's firewall is closed: the service says the same to all."""


class BlocksGone(DestinationError):
    """Blocks of an upload are not there any more: somebody has written the blob, or a week has passed."""


class BlockIdLength(DestinationError):
    """The blob has unfinished blocks whose ids are of another length, which the service does not mix."""


class RangeEmpty(DestinationError):
    """The range begins behind the end of the blob."""


class SourceChanged(DestinationError):
    """The source of a copy is not the expected version any more."""


#: By the service's error code.
_CODES: Final[dict[str, tuple[type[DestinationError], str]]] = {
    "ContainerNotFound": (BucketMissing, "create the container, or correct bucket, account_name and endpoint"),
    "ContainerBeingDeleted": (BucketMissing, "the container is being deleted"),
    "ContainerDisabled": (BucketMissing, "the container is disabled"),
    "BlobNotFound": (NotFound, ""),
    "ResourceNotFound": (NotFound, "anonymous access to a private container looks the same"),
    "ConditionNotMet": (PreconditionFailed, ""),
    "TargetConditionNotMet": (PreconditionFailed, ""),
    "BlobAlreadyExists": (PreconditionFailed, ""),
    "UnauthorizedBlobOverwrite": (PreconditionFailed, ""),
    "PendingCopyOperation": (PreconditionFailed, ""),
    "InvalidRange": (RangeEmpty, ""),
    "SourceConditionNotMet": (SourceChanged, ""),
    "CannotVerifyCopySource": (SourceChanged, ""),
    "InvalidBlockList": (BlocksGone, ""),
    "InvalidBlobOrBlock": (BlockIdLength, ""),
    "Md5Mismatch": (IntegrityError, _DAMAGED),
    "Crc64Mismatch": (IntegrityError, _DAMAGED),
    "AuthenticationFailed": (Refused, ""),
    "InvalidAuthenticationInfo": (Refused, ""),
    "AuthorizationFailure": (Refused, ""),
    "NoAuthenticationInformation": (PermissionDenied, "the container is not public: set the fields of a login"),
    "PublicAccessNotPermitted": (PermissionDenied, "the account allows no anonymous access: set the fields of a login"),
    "KeyBasedAuthenticationNotPermitted": (PermissionDenied, "the account allows no keys: use an identity of Entra"),
    "AuthorizationProtocolMismatch": (PermissionDenied, "the signature is for https only"),
    "AuthorizationSourceIPMismatch": (PermissionDenied, "the signature is for other addresses than this machine's"),
    "AccountIsDisabled": (PermissionDenied, "the storage account is disabled"),
    "BlobImmutableDueToPolicy": (PermissionDenied, "an immutability policy of the container forbids it"),
    "LeaseIdMissing": (PermissionDenied, "somebody holds a lease on the blob; break it, or wait"),
    "BlobArchived": (DestinationError, "the blob is archived; rehydrate it, or export to another prefix"),
    "InvalidResourceName": (
        InvalidKey,
        "shorten the prefix or the export's name; blob names have up to 1024 characters",
    ),
    "AccountLimitExceeded": (StorageFull, "the account has reached its limit"),
    "InsufficientAccountPermissions": (PermissionDenied, "the account does not allow the operation"),
    "FeatureNotSupportedForAccount": (DestinationError, "the account does not support an option; leave it out"),
    "InvalidHeaderValue": (
        DestinationError,
        "the store does not know an option, or this api_version; set or remove it",
    ),
    "EncryptionScopeNotFound": (DestinationError, "create the encryption scope, or correct encryption_scope"),
}
#: By the status, where there is no code: HEAD has no body, and proxies say nothing that the service would.
_STATUSES: Final[dict[int, tuple[type[DestinationError], str]]] = {
    401: (Refused, ""),
    403: (PermissionDenied, ""),
    404: (NotFound, ""),
    412: (PreconditionFailed, ""),
    416: (RangeEmpty, ""),
    507: (StorageFull, "the store has no room left"),
}
_TRANSIENT_STATUSES: Final = {408, 429}

_UNTRUSTED: Final = (
    DestinationError,
    "the certificate of {endpoint} is not trusted",
    "for a private certificate authority set REQUESTS_CA_BUNDLE to its file",
)
_ACKNOWLEDGED_OTHERS: Final = (IntegrityError, "{endpoint} acknowledges other bytes than were sent", _DAMAGED)
#: What happened without an answer: the SDK's error, Rivet's, what to say of it, the hint. The first that fits counts.
_FAILURES: Final[tuple[tuple[type[Exception], type[DestinationError], str, str], ...]] = (
    (
        CredentialUnavailableError,
        PermissionDenied,
        "there is no such identity here",
        "check the fields of the login, and what the environment says about identities",
    ),
    (
        FileNotFoundError,
        PermissionDenied,
        "the token file of the workload identity cannot be read",
        "AZURE_FEDERATED_TOKEN_FILE names it; Kubernetes puts it into pods with a labelled service account",
    ),
    (sdk.ClientAuthenticationError, PermissionDenied, "Microsoft Entra refuses the login", _ENTRA),
    (sdk.ServiceResponseTimeoutError, Transient, "{endpoint} does not answer", "raise timeout_seconds if it is slow"),
    (sdk.ServiceRequestError, Transient, "cannot connect to {endpoint}", "check account_name, endpoint and network"),
    (Exception, Transient, "the connection to {endpoint} was lost", _LATER),
)


@dataclass(frozen=True)
class Action:
    """What is tried, for messages.

    Attributes:
        text: follows "cannot": ``write az://exports/orders/part-000001.parquet``.
        endpoint: URL of the account, without a login.
        permission: what a login needs for it, to follow "needs".
    """

    text: str
    endpoint: str
    permission: str


@contextmanager
def azure_errors(action: Action) -> Iterator[None]:
    """Raise every error of the SDK in the block as Rivet's.

    The SDK's own is not chained: its text may hold the URL of the request, and that a shared access signature.
    """
    try:
        yield
    except (sdk.AzureError, requests.RequestException, OSError) as error:
        raise translate(error, action) from None


def translate(error: Exception, action: Action) -> DestinationError:
    """Return the error of Rivet's family for one of the SDK."""
    response = getattr(error, "response", None)
    if response is not None:
        return _answered(error, response, action)
    kind, text, hint = _unanswered(error)
    return kind(f"cannot {action.text}: {text.format(endpoint=action.endpoint)}", hint=hint)


def _answered(error: Exception, response: Any, action: Action) -> DestinationError:
    """Return the error for an answer of the service, or of Microsoft Entra."""
    status = int(response.status_code)
    headers = response.headers
    if isinstance(error, sdk.ClientAuthenticationError) and "x-ms-version" not in headers and status == 400:
        return PermissionDenied(f"cannot {action.text}: Microsoft Entra refuses the login", hint=_ENTRA)
    code = getattr(error, "error_code", None) or headers.get("x-ms-error-code") or ""
    code = str(getattr(code, "value", code))
    if code == "InvalidOperation" and "contentMD5" in str(error):
        code = "Md5Mismatch"  # as Azurite says it
    message = f"cannot {action.text}: {code or f'HTTP status {status}'}"
    if status >= 500 or status in _TRANSIENT_STATUSES:
        kind, hint = _STATUSES.get(status, (Transient, ""))
        if kind is Transient:
            return Transient(message, hint=_LATER, retry_after=retry_after(headers.get("retry-after")))
    else:
        kind, hint = _CODES.get(code) or _STATUSES.get(status) or (DestinationError, "")
    if kind is Refused and skew_of(headers) > LARGEST_SKEW:
        return PermissionDenied(message, hint=_CLOCK)
    if kind is PermissionDenied and not hint:
        hint = f"the login in use needs {action.permission}; `rivet doctor` shows which one it is"
    return kind(message, hint=hint)


def _unanswered(error: Exception) -> tuple[type[DestinationError], str, str]:
    """Return kind, text and hint for a failure without an answer of the service."""
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return _UNTRUSTED
    if type(error) is sdk.AzureError and "MD5" in said:
        return _ACKNOWLEDGED_OTHERS
    return next(row[1:] for row in _FAILURES if isinstance(error, row[0]))


def skew_of(headers: Any) -> timedelta:
    """Return how far this machine's clock is from that of the service, by the date of its answer; zero if unknown."""
    try:
        return abs(datetime.now(UTC) - parsedate_to_datetime(headers["date"]))
    except (KeyError, TypeError, ValueError):  # no Date, or none with a time zone
        return timedelta()
