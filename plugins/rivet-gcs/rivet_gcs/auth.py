"""Auth resolvers: from fields of the configuration, or the environment, to a credential of google-auth."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import google.auth
import google.auth.credentials
import google.auth.impersonated_credentials as impersonated
import google.oauth2.credentials as oauth2
from google.auth import aws, external_account_authorized_user, identity_pool, pluggable
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.oauth2 import service_account

from rivet_core.api import ConfigError, NativeAuth, Provider, register_secret

if TYPE_CHECKING:
    from google.auth.transport import Request

#: Reading and writing objects, no access control lists; what the identity may really do is up to its roles.
SCOPES: Final = ("https://www.googleapis.com/auth/devstorage.read_write",)
_SECRET_FIELDS: Final = ("private_key", "refresh_token", "client_secret", "access_token")
_FILE_KINDS: Final = "a service account's key, gcloud's authorized_user, external_account or an impersonated one"


def from_file(fields: Mapping[str, object], destination_type: str) -> NativeAuth:
    """Return the credential in ``credentials_file``: any kind of file that google-auth reads.

    Raises:
        ConfigError: the file cannot be read, or is none of these kinds.
    """
    return _load(Path(str(fields["credentials_file"])), "credentials_file")


def from_environment(fields: Mapping[str, object], destination_type: str) -> NativeAuth:
    """Return Application Default Credentials: the file that ``GOOGLE_APPLICATION_CREDENTIALS`` names, gcloud's, or
    those of the machine from its metadata server.

    Raises:
        ConfigError: there are none.
    """
    if path := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return _load(Path(path), "GOOGLE_APPLICATION_CREDENTIALS")
    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
    except DefaultCredentialsError as error:
        raise ConfigError(
            "there are no Google Cloud credentials on this machine",
            hint="set credentials_file or GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default "
            "login; allow_anonymous: true is for emulators and public buckets",
        ) from error
    for name in _SECRET_FIELDS:
        register_secret(str(getattr(credentials, name, None) or ""))
    return NativeAuth(credentials, f"{describe(credentials)}, from the environment")


def describe(credentials: Any) -> str:
    """Say who a credential of google-auth is; no secret."""
    email = getattr(credentials, "service_account_email", None)
    if email == "default":  # the metadata server has not been asked yet
        return "the machine's service account"
    if email:
        return f"service account {email}"
    if account := getattr(credentials, "account", None):
        return f"user {account}"
    kind = str(type(credentials).__module__).rpartition(".")[2]
    if audience := getattr(credentials, "info", {}).get("audience"):
        return f"workload identity {audience}"
    return {"credentials": "user credentials"}.get(kind, kind)


class ProviderCredentials(google.auth.credentials.Credentials):
    """Makes a provider's tokens, such as a vault's, a credential of google-auth.

    Args:
        provider: gives credentials of kind ``token``, their value named ``token``.
    """

    def __init__(self, provider: Provider) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # google-auth is half typed
        self._provider = provider

    def refresh(self, request: Request) -> None:
        """Get another token; google-auth calls this at first, before the end of the last one, and after status 401."""
        credential = self._provider.get(force=self.token is not None)
        self.token = credential.values["token"].reveal()
        ends = credential.expires_at
        self.expiry = ends.astimezone(UTC).replace(tzinfo=None) if ends is not None else None  # as google-auth has it


def _load(path: Path, field: str) -> NativeAuth:
    """Load a credentials file and make its secrets known to the redactor."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{field}: cannot read {path}: {error.strerror}", hint=f"name {_FILE_KINDS}") from error
    except ValueError:  # its text may be the secret itself, so the cause is not kept
        raise ConfigError(f"{field}: {path} is no JSON", hint=f"name {_FILE_KINDS}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{field}: {path} is no credentials file", hint=f"name {_FILE_KINDS}")
    _register(document)
    try:
        credentials = _loader(document)(document, scopes=SCOPES)
    except (GoogleAuthError, ValueError, LookupError, TypeError, AttributeError):  # the cause may quote the file
        raise ConfigError(f"{field}: {path} holds no usable credential", hint=f"name {_FILE_KINDS}") from None
    return NativeAuth(credentials, f"{describe(credentials)}, from {path}")


def _loader(document: Mapping[str, Any]) -> Any:
    """Return what makes a credential of a file of this kind; google-auth's own choice by kind is deprecated.

    Raises:
        LookupError: there is no such kind.
    """
    kind = document["type"]
    if kind == "external_account":
        source = document["credential_source"]
        foreign = aws if "environment_id" in source else pluggable if "executable" in source else identity_pool
        return foreign.Credentials.from_info
    loaders: dict[str, Any] = {
        "service_account": service_account.Credentials.from_service_account_info,
        "authorized_user": oauth2.Credentials.from_authorized_user_info,
        "external_account_authorized_user": external_account_authorized_user.Credentials.from_info,
        "impersonated_service_account": impersonated.Credentials.from_impersonated_service_account_info,
    }
    return loaders[kind]


def _register(document: Mapping[str, object]) -> None:
    """Make the secrets of a credentials file known to the redactor, also those of the identity it starts from."""
    for name, value in document.items():
        if name in _SECRET_FIELDS and isinstance(value, str):
            register_secret(value)
        elif isinstance(value, dict):
            _register(value)
