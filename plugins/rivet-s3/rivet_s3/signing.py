"""Gives the AWS SDK the keys that it signs each request with, and fresh ones when the store has refused them."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Protocol

from botocore.credentials import Credentials, ReadOnlyCredentials

from rivet_core.api import Credential, Provider
from rivet_s3.auth import SdkCredentials, expiry_of


class KeySource(Protocol):
    """Where keys come from."""

    def keys(self) -> ReadOnlyCredentials:
        """Return the keys that are valid now."""

    def renew(self) -> None:
        """Get others; the last ones were refused."""

    def expiry(self) -> datetime | None:
        """Return when they are over, as far as that is known."""


class ProviderKeys:
    """The keys of a Rivet provider: of variables, or of a vault that somebody has written a resolver for."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def keys(self) -> ReadOnlyCredentials:
        """Ask the provider."""
        return _keys_of(self._provider.get())

    def renew(self) -> None:
        """Let the provider ask anew."""
        self._provider.get(force=True)

    def expiry(self) -> datetime | None:
        """See ``Credential``."""
        return self._provider.get().expires_at


class SdkKeys:
    """The keys that the AWS SDK finds and refreshes itself."""

    def __init__(self, source: SdkCredentials) -> None:
        self._source = source
        self._credentials = source.credentials

    def keys(self) -> ReadOnlyCredentials:
        """Let the SDK refresh them if they are nearly over."""
        return self._source.current(self._credentials)

    def renew(self) -> None:
        """Find them anew: the SDK refreshes by the clock only, and a store may revoke them before."""
        self._credentials = self._source.load()

    def expiry(self) -> datetime | None:
        """Ask the SDK."""
        return expiry_of(self._credentials)


class Signer(Credentials):  # type: ignore[misc]  # the SDK ships no types
    """What the SDK takes for its credentials: asked before each request, in that request's thread."""

    def __init__(self, source: KeySource) -> None:
        super().__init__("", "", method="rivet")
        self._source = source
        self._lock = threading.Lock()
        self._used = threading.local()

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return the keys for one request."""
        keys = self._source.keys()
        self._used.keys = keys
        return keys

    def renew(self) -> bool:
        """Get other keys than those which this thread's last request was refused with; whether there are any."""
        refused: ReadOnlyCredentials | None = getattr(self._used, "keys", None)
        with self._lock:
            if self._source.keys() == refused:  # unless another thread has renewed them meanwhile
                self._source.renew()
            return bool(self._source.keys() != refused)

    def expiry(self) -> datetime | None:
        """Return when the keys are over, as far as that is known."""
        return self._source.expiry()

    def temporary(self) -> bool:
        """Whether the keys are over some time and nobody refreshes them."""
        return self._source.keys().token is not None and self._source.expiry() is None


def _keys_of(credential: Credential) -> ReadOnlyCredentials:
    values = {name: value.reveal() for name, value in credential.values.items()}
    return ReadOnlyCredentials(values["access_key"], values["secret_key"], values.get("session_token"))
