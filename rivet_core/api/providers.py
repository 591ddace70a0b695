"""Credential providers for resolvers to return: read once, or read again whenever the last one is over."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from rivet_core.api.auth import Credential
from rivet_core.api.errors import ConfigError, CredentialsExpired
from rivet_core.api.secret import Secret


def secret_from_environment(field: str, variable: object) -> Secret:
    """Read a secret from the environment variable that a configuration field names.

    Args:
        field: the field, for the message: ``secret_key_env``.
        variable: the field's value.

    Raises:
        ConfigError: the value is no name, or the variable is not set or empty.
    """
    if not isinstance(variable, str) or not variable:
        raise ConfigError(f"{field} must be the name of an environment variable")
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(
            f"{field}: the environment variable {variable} is not set", hint=f"export {variable} before the run"
        )
    return Secret(value)


def anonymous(fields: Mapping[str, object], destination_type: str) -> StaticProvider:
    """Log in as nobody: the factory of a resolver that is selected by ``allow_anonymous``.

    Raises:
        ConfigError: ``allow_anonymous`` is something else than ``true``.
    """
    if fields.get("allow_anonymous") is not True:
        raise ConfigError("allow_anonymous must be true or false", hint="leave it out to use credentials")
    return StaticProvider(Credential("anonymous", {}), "anonymous")


class StaticProvider:
    """One credential that cannot be refreshed.

    Args:
        credential: the credential.
        identity: who this is, for ``rivet doctor``; no secret.
    """

    def __init__(self, credential: Credential, identity: str) -> None:
        self._credential = credential
        self._identity = identity

    def get(self, *, force: bool = False) -> Credential:
        """Return the credential; ``force`` finds no other one.

        Raises:
            CredentialsExpired: its time is over.
        """
        expires_at = self._credential.expires_at
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise CredentialsExpired(
                f"the credential ({self._identity}) expired at {expires_at:%Y-%m-%d %H:%M:%S} UTC",
                hint="get a new one and run the export again",
            )
        return self._credential

    def identity(self) -> str:
        """Say who this is."""
        return self._identity


class RefreshingProvider:
    """A credential that is loaded again shortly before it is over, and whenever the store has refused it.

    Args:
        load: gets the credential that is valid now, from its file or service.
        identity: who this is, for ``rivet doctor``; no secret.
        margin: how long before its end a credential is replaced.
    """

    def __init__(
        self, load: Callable[[], Credential], identity: str, *, margin: timedelta = timedelta(minutes=5)
    ) -> None:
        self._load = load
        self._identity = identity
        self._margin = margin
        self._lock = threading.Lock()
        self._current: Credential | None = None

    def get(self, *, force: bool = False) -> Credential:
        """Return a valid credential.

        Raises:
            CredentialsExpired: the newest one that there is, is over, too.
            ConfigError: there is none.
        """
        with self._lock:
            if force or self._current is None or self._ends_within(self._current, self._margin):
                self._current = self._load()
            if self._ends_within(self._current, timedelta()):
                raise CredentialsExpired(
                    f"the credential ({self._identity}) expired at {self._current.expires_at:%Y-%m-%d %H:%M:%S} UTC",
                    hint="put a new one in its place and run the export again",
                )
            return self._current

    def identity(self) -> str:
        """Say who this is."""
        return self._identity

    @staticmethod
    def _ends_within(credential: Credential, span: timedelta) -> bool:
        return credential.expires_at is not None and credential.expires_at - span <= datetime.now(UTC)
