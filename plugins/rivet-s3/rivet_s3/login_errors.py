"""What went wrong while the AWS SDK got credentials, as errors of Rivet: it asks files, programs and services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from rivet_core.api import ConfigError, CredentialsExpired, PermissionDenied, RivetError, Transient

_TRUST: Final = "check the role, who may assume it, and the token or keys that are shown for it"
_SOURCE: Final = "check what the profile or the environment gets its credentials from"

#: The first that fits counts; ``{error}`` and ``{service}``, the URL that was asked, are filled in.
_FAILURES: Final[tuple[tuple[tuple[type[Exception], ...], type[RivetError], str, str], ...]] = (
    (
        (sdk.UnauthorizedSSOTokenError, sdk.SSOTokenLoadError, sdk.TokenRetrievalError),
        CredentialsExpired,
        "{error}",
        "run `aws sso login{profile}`",
    ),
    (
        (sdk.EndpointConnectionError, sdk.ConnectTimeoutError),
        Transient,
        "cannot connect to {service}",
        "check network, region and the service's endpoint",
    ),
    (
        (sdk.SSLError,),
        ConfigError,
        "the certificate of {service} is not trusted",
        "for a private certificate authority set AWS_CA_BUNDLE to its file",
    ),
    ((sdk.HTTPClientError, ResponseParserError, HTTPError, ConnectionError), Transient, "{error}", ""),
    # A RuntimeError says that fresh keys are over already.
    ((sdk.CredentialRetrievalError, RuntimeError), CredentialsExpired, "{error}", _SOURCE),
    ((Exception,), ConfigError, "{error}", _SOURCE),
)


@contextmanager
def login_errors(profile: str | None) -> Iterator[None]:
    """Raise every error of the SDK in the block, which only gets credentials, as Rivet's.

    Args:
        profile: name of the profile in use, if one was named.
    """
    try:
        yield
    except (
        sdk.BotoCoreError,
        sdk.ClientError,
        ResponseParserError,
        HTTPError,
        OSError,
        RuntimeError,
        ValueError,
        KeyError,  # a document without keys
    ) as error:
        raise _translate(error, profile) from error


def place_of(profile: str | None) -> str:
    """Return where credentials come from, for messages."""
    return f"the profile {profile}" if profile else "the AWS SDK's default chain"


def _translate(error: Exception, profile: str | None) -> RivetError:
    failed = f"cannot get credentials from {place_of(profile)}"
    if isinstance(error, sdk.ClientError):
        return _answered(error, failed)
    _, kind, text, hint = next(row for row in _FAILURES if isinstance(error, row[0]))
    service = getattr(error, "kwargs", {}).get("endpoint_url", "").partition("?")[0]
    said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
    return kind(
        f"{failed}: {text.format(error=said, service=service)}".rstrip("."),
        hint=hint.format(profile=f" --profile {profile}" if profile else ""),
    )


def _answered(error: sdk.ClientError, failed: str) -> RivetError:
    """Return the error for an answer of STS or of the SSO portal."""
    details = error.response.get("Error", {})
    code, status = str(details.get("Code", "")), error.response["ResponseMetadata"]["HTTPStatusCode"]
    message = f"{failed}: {error.operation_name}: {code} {details.get('Message') or ''}".rstrip(" .")
    if status >= 500 or status == 429 or "Throttl" in code or "TooManyRequests" in code:
        return Transient(message)
    kind = CredentialsExpired if "Expired" in code else PermissionDenied
    return kind(message, hint=_TRUST)
