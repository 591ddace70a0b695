"""Opens the AWS SDK's client for one destination: endpoint, region, login, timeouts, and no retries of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader

from rivet_core.api import ConfigError, NativeAuth, Provider
from rivet_core.api.object_store import refuse_plain_http
from rivet_s3.auth import SdkCredentials, open_session
from rivet_s3.logs import redact_logs
from rivet_s3.signing import KeySource, ProviderKeys, SdkKeys, Signer

if TYPE_CHECKING:
    from rivet_s3.config import S3Config

_CONNECT_SECONDS: Final = 10.0
_DEFAULT_REGION: Final = "us-east-1"


@dataclass(frozen=True)
class Login:
    """Who sends the requests.

    Attributes:
        signer: what signs them; ``None`` for anonymous ones.
        profile: the profile whose region and endpoint count, if one was named.
        identity: who it is, for ``rivet doctor``.
    """

    signer: Signer | None
    profile: str | None
    identity: str

    def expiry(self) -> datetime | None:
        """Return when the keys are over, as far as that is known."""
        return self.signer.expiry() if self.signer else None

    def temporary(self) -> bool:
        """Whether the keys are over some time and nobody refreshes them."""
        return self.signer is not None and self.signer.temporary()


def log_in(auth: Provider | NativeAuth | None) -> Login:
    """Return the login of what an auth resolver has given.

    Raises:
        ConfigError: it is nothing that S3 can use.
    """
    if isinstance(auth, NativeAuth) and isinstance(auth.sdk_object, SdkCredentials):
        return Login(Signer(SdkKeys(auth.sdk_object)), auth.sdk_object.profile, auth.identity)
    if auth is None or isinstance(auth, NativeAuth):
        raise ConfigError("s3 has no credentials that it can use", hint="see `rivet plugins list` for its resolvers")
    if auth.get().kind == "anonymous":
        return Login(None, None, auth.identity())
    source: KeySource = ProviderKeys(auth)
    return Login(Signer(source), None, auth.identity())


def open_client(config: S3Config, login: Login, *, connections: int) -> Any:
    """Return an S3 client that makes single requests.

    Args:
        connections: how many requests there will be at the same time.

    Raises:
        ConfigError: no region is known, an option is invalid, or credentials would go over plain HTTP.
    """
    redact_logs()
    try:
        session = open_session(login.profile)
        _check_authority(session)
        session.register_component("data_loader", _service_models())
        if login.signer is not None:
            session.register_component("credential_provider", _Fixed(login.signer))
        client = boto3.session.Session(botocore_session=session).client(
            "s3",
            region_name=_region(config, session),
            endpoint_url=config.endpoint,
            config=Config(
                signature_version="s3v4" if login.signer else UNSIGNED,
                s3={"addressing_style": _addressing_style(config)},
                retries={"mode": "standard", "total_max_attempts": 1},
                # Checksums are computed and compared here; the SDK's own break stores that do not know them.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=min(_CONNECT_SECONDS, config.timeout_seconds),
                read_timeout=config.timeout_seconds,
                max_pool_connections=connections,
                tcp_keepalive=True,
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"cannot set up access to S3: {error}", hint="check region, endpoint and profile") from error
    if login.signer is not None:
        refuse_plain_http(client.meta.endpoint_url)
    return client


@cache
def _service_models() -> Loader:
    """Return the SDK's descriptions of its services, a megabyte of JSON that need not be read for every client."""
    return Loader()


class _Fixed:
    """Hands the same credentials to a session whoever asks."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def load_credentials(self) -> Signer:
        return self._signer


def _check_authority(session: Any) -> None:
    """Refuse a certificate authority that is not there: the SDK would call the store's certificate untrusted."""
    bundle = session.get_config_variable("ca_bundle")
    if bundle and not Path(bundle).exists():
        raise ConfigError(
            f"there is no {bundle} with certificate authorities",
            hint="correct AWS_CA_BUNDLE or the profile's ca_bundle",
        )


def _addressing_style(config: S3Config) -> str:
    if config.addressing_style != "auto":
        return config.addressing_style
    return "path" if config.endpoint else "auto"


def _region(config: S3Config, session: Any) -> str:
    found = config.region or session.get_config_variable("region")
    if found:
        return str(found)
    if config.endpoint:
        return _DEFAULT_REGION
    raise ConfigError(
        "the region of the bucket is not known", hint="set region, AWS_REGION, or the region of the profile"
    )
