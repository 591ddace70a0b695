"""Opens the Azure SDK's client for one container: endpoint, login, timeouts, and no retries of its own."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import requests
from azure.core.credentials import AzureSasCredential
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient
from requests.adapters import HTTPAdapter

from rivet_azure.connection_string import parse_connection_string
from rivet_azure.sas import Sas
from rivet_core.api import ConfigError, Credential, NativeAuth, Provider
from rivet_core.api.object_store import refuse_plain_http

if TYPE_CHECKING:
    from rivet_azure.config import AzureConfig

_CONNECT_SECONDS: Final = 10.0
#: A ``put`` is one request, whatever its size: the service takes blobs of this size whole.
_LARGEST_PUT_BYTES: Final = 5000 << 20


@dataclass(frozen=True)
class Session:
    """A client and the login that it sends.

    Attributes:
        credential: ``None`` for a login that the SDK refreshes by itself.
        sas: the shared access signature, if the login is one.
    """

    client: ContainerClient
    credential: Credential | None
    sas: Sas | None


class Login:
    """Gives the client with the login that is valid now; used from several threads at once.

    Args:
        config: what to open.
        auth: where the login comes from.
        connections: how many requests there will be at the same time.

    Raises:
        ConfigError: the login cannot be used here, or would go over plain HTTP.
    """

    def __init__(self, config: AzureConfig, auth: Provider | NativeAuth | None, *, connections: int) -> None:
        if auth is None:
            raise ConfigError("azure has no login", hint="see `rivet plugins list` for its resolvers")
        self._config = config
        self._auth = auth
        self._lock = threading.Lock()
        credential = None if isinstance(auth, NativeAuth) else auth.get()
        self._transport = _transport(self._resolve(credential)[0], config.timeout_seconds, connections)
        self._session = self._open(credential)
        self.identity = auth.identity if isinstance(auth, NativeAuth) else auth.identity()

    @property
    def endpoint(self) -> str:
        """URL of the account, without a login."""
        return str(self._session.client.primary_endpoint).partition("?")[0].rpartition("/")[0]

    def expiry(self) -> datetime | None:
        """Return when the login is over, as far as that is known."""
        return self._session.credential.expires_at if self._session.credential else None

    def session(self) -> Session:
        """Return a client with a valid login.

        Raises:
            CredentialsExpired: it is over, and there is no other one.
        """
        if isinstance(self._auth, NativeAuth):
            return self._session
        return self._use(self._auth.get())

    def renew(self, refused: Session | None) -> bool:
        """Look for another login than the one that was refused, and return whether there is one."""
        if isinstance(self._auth, NativeAuth):
            return False
        session = self._use(self._auth.get(force=True))
        return refused is None or session.credential != refused.credential

    def close(self) -> None:
        """Close the connections."""
        self._transport.session.close()

    def _use(self, credential: Credential) -> Session:
        with self._lock:
            if credential != self._session.credential:
                self._session = self._open(credential)
            return self._session

    def _open(self, credential: Credential | None) -> Session:
        endpoint, sdk_credential, sas = self._resolve(credential)
        if credential is None or credential.kind != "anonymous":
            refuse_plain_http(endpoint)
        options: dict[str, Any] = {"api_version": self._config.api_version} if self._config.api_version else {}
        client = ContainerClient(
            endpoint,
            self._config.bucket,
            credential=sdk_credential,
            transport=self._transport,
            retry_total=0,
            max_single_put_size=_LARGEST_PUT_BYTES,
            **options,
        )
        return Session(client, credential, sas)

    def _resolve(self, credential: Credential | None) -> tuple[str, Any, Sas | None]:
        """Return the account's URL, what the SDK takes as its login, and the shared access signature if it is one."""
        account = self._config.account_name
        if credential is None:
            assert isinstance(self._auth, NativeAuth)  # noqa: S101  a login without a credential is the SDK's own
            return self._endpoint(), self._auth.sdk_object, None
        match credential.kind:
            case "anonymous":
                return self._endpoint(), None, None
            case "account_key":
                key = {"account_name": account, "account_key": credential.values["account_key"].reveal()}
                return self._endpoint(), key, None
            case "sas":
                sas = Sas.parse(credential.values["sas"].reveal(), "the login")
                return self._endpoint(), AzureSasCredential(sas.token), sas
            case "connection_string":
                parsed = parse_connection_string(credential.values["connection_string"].reveal(), "the login")
                endpoint = self._config.endpoint or parsed.endpoint
                if parsed.account_key is not None:
                    key = {"account_name": parsed.account_name, "account_key": parsed.account_key.reveal()}
                    return endpoint, key, None
                return endpoint, AzureSasCredential(parsed.sas.token) if parsed.sas else None, parsed.sas
        raise ConfigError(f"azure cannot log in by {credential.kind}", hint="see `rivet plugins list`")

    def _endpoint(self) -> str:
        if self._config.endpoint:
            return self._config.endpoint
        if self._config.account_name:
            return f"https://{self._config.account_name}.blob.core.windows.net"
        raise ConfigError("account_name is missing", hint="name the storage account, or set endpoint")


def _transport(endpoint: str, timeout_seconds: float, connections: int) -> RequestsTransport:
    """Return connections for many threads, with the environment's proxies and certificates.

    ``requests`` would read the environment again for every request, which takes as long as the rest of it, and would
    put a password from ``~/.netrc`` in the place of the SDK's login.
    """
    session = requests.Session()
    session.trust_env = False
    session.proxies.update(requests.utils.get_environ_proxies(endpoint))
    adapter = HTTPAdapter(pool_maxsize=connections, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return RequestsTransport(
        session=session,
        session_owner=False,
        connection_timeout=min(_CONNECT_SECONDS, timeout_seconds),
        read_timeout=timeout_seconds,
        connection_verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
    )
