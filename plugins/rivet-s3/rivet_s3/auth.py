"""The auth resolvers: keys from the environment, and all that the AWS SDK finds by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import botocore.session
from botocore.credentials import DeferredRefreshableCredentials, ReadOnlyCredentials
from botocore.exceptions import ProfileNotFound

from rivet_core.api import ConfigError, Credential, NativeAuth, register_secret
from rivet_core.api.providers import StaticProvider, secret_from_environment
from rivet_s3.login_errors import login_errors, place_of

_NAMES: Final = {"access_key": "access_key_env", "secret_key": "secret_key_env", "session_token": "session_token_env"}


def open_session(profile: str | None) -> botocore.session.Session:
    """Return a session of the SDK that knows the region as every other AWS SDK does.

    The one for Python ignores ``AWS_REGION``, and its logins by STS would go to another partition of AWS.
    """
    session = botocore.session.Session(profile=profile)
    region = os.environ.get("AWS_REGION")
    if region:
        session.set_config_variable("region", region)
    return session


def keys_from_environment(fields: Mapping[str, object], destination_type: str) -> StaticProvider:
    """Read an access key, a secret key and, if named, a session token, once.

    Raises:
        ConfigError: a variable is not set.
    """
    values = {name: secret_from_environment(field, fields[field]) for name, field in _NAMES.items() if field in fields}
    kind = "temporary keys" if "session_token" in values else "keys"
    identity = f"{kind} of {fields['access_key_env']}, access key {shorten(values['access_key'].reveal())}"
    return StaticProvider(Credential("keys", values), identity)


def profile(fields: Mapping[str, object], destination_type: str) -> NativeAuth:
    """Use a profile of ``~/.aws/config`` and ``~/.aws/credentials`` with all that the AWS CLI makes of it.

    Raises:
        ConfigError: there is no such profile, or it holds no credentials.
    """
    name = fields["aws_profile"]
    if not isinstance(name, str) or not name:
        raise ConfigError("aws_profile must be the name of a profile", hint="see `aws configure list-profiles`")
    return _native(SdkCredentials(name))


def default_chain(fields: Mapping[str, object], destination_type: str) -> NativeAuth:
    """Look where the AWS SDK looks: environment, profile, web identity, container, instance.

    Raises:
        ConfigError: there are no credentials.
    """
    return _native(SdkCredentials(None))


def _native(credentials: SdkCredentials) -> NativeAuth:
    return NativeAuth(credentials, credentials.identity())


class SdkCredentials:
    """What the AWS SDK finds for a profile or, without one, in its default chain; found anew on request.

    Args:
        profile: name of the profile, or ``None`` for the default chain.

    Raises:
        ConfigError: nothing was found.
    """

    def __init__(self, profile: str | None) -> None:
        self.profile = profile
        self.credentials = self.load()

    def load(self) -> Any:
        """Return the SDK's credentials, which refresh themselves where they can.

        Raises:
            ConfigError: there are none.
            CredentialsExpired: those that there are cannot be refreshed.
        """
        with login_errors(self.profile):
            try:
                found = open_session(self.profile).get_credentials()
            except ProfileNotFound as error:
                raise ConfigError(
                    f"there is no AWS profile {self.profile or 'of the name in AWS_PROFILE'}",
                    hint="see `aws configure list-profiles`",
                ) from error
        if found is None:
            raise ConfigError(
                f"{place_of(self.profile)} holds no credentials",
                hint="set access_key_env and secret_key_env, aws_profile, or allow_anonymous: true",
            )
        # Those of an assumed role are asked for by the first request only.
        if not isinstance(found, DeferredRefreshableCredentials):
            self.current(found)
        return found

    def current(self, credentials: Any) -> ReadOnlyCredentials:
        """Return the keys of the SDK's ``credentials`` that are valid now; the SDK refreshes what is nearly over.

        Raises:
            CredentialsExpired: they cannot be refreshed.
        """
        with login_errors(self.profile):
            keys: ReadOnlyCredentials = credentials.get_frozen_credentials()
        conceal(keys)
        return keys

    def identity(self) -> str:
        """Say where the credentials come from."""
        place = f"profile {self.profile}" if self.profile else "default chain"
        if isinstance(self.credentials, DeferredRefreshableCredentials):
            return f"{place} ({self.credentials.method})"
        key = self.current(self.credentials).access_key
        return f"{place} ({self.credentials.method}), access key {shorten(key)}"


def conceal(keys: Any) -> None:
    """Make the redactor know the secrets among an SDK's keys."""
    for value in (keys.secret_key, keys.token):
        if value:
            register_secret(value)


def shorten(access_key: str) -> str:
    """Return the end of an access key, enough to tell it from others.

    >>> shorten("AKIAIOSFODNN7EXAMPLE")
    '…MPLE'
    """
    return f"…{access_key[-4:]}" if len(access_key) > 8 else "…"


def expiry_of(credentials: Any) -> datetime | None:
    """Return when an SDK's credentials are over, as far as they know."""
    # The SDK has no public name for it.
    expiry = getattr(credentials, "_expiry_time", None)
    return expiry if isinstance(expiry, datetime) else None
