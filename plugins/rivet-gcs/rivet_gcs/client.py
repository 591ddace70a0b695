"""Opens the SDK's client over one HTTP session, which logs in, pools connections and repeats nothing by itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import requests.adapters
from google.api_core.client_info import ClientInfo
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage

from rivet_core.api import ConfigError, NativeAuth, register_secret
from rivet_core.api.object_store import refuse_plain_http
from rivet_gcs import __version__
from rivet_gcs.auth import ProviderCredentials
from rivet_gcs.errors import Action, google_errors

if TYPE_CHECKING:
    from rivet_core.api import Provider
    from rivet_gcs.config import GcsConfig

DEFAULT_ENDPOINT: Final = "https://storage.googleapis.com"
#: Connections that are kept open; every thread of a run uses one at a time.
_CONNECTIONS: Final = 64


class Session(AuthorizedSession):
    """A session that logs in, gets a new token before the old one ends or when it was refused, and hides it."""

    def __init__(self, credentials: Any) -> None:
        renew = () if isinstance(credentials, AnonymousCredentials) else (HTTPStatus.UNAUTHORIZED,)
        super().__init__(credentials, refresh_status_codes=renew)  # type: ignore[no-untyped-call]  # half typed
        self._token = ""
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS, max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.auth = _keep_login  # or requests would put a login from ~/.netrc in the token's place
        self.headers["Accept-Encoding"] = "gzip"  # or the service unpacks what is stored as gzip: other bytes

    def request(self, *arguments: Any, **options: Any) -> Any:
        """Send a request, its token known to the redactor."""
        try:
            return super().request(*arguments, **options)  # type: ignore[no-untyped-call]  # google-auth is half typed
        finally:
            token = getattr(self.credentials, "token", None)
            if token and token != self._token:
                register_secret(token)
                self._token = token


def open_client(config: GcsConfig, auth: Provider | NativeAuth | None) -> storage.Client:
    """Return a client to be closed. Sends no request to the service, perhaps one to the machine's metadata server.

    Raises:
        ConfigError: a credential would go over plain HTTP to another machine, or belongs to another cloud.
    """
    credentials = _credentials(auth)
    if not isinstance(credentials, AnonymousCredentials):
        refuse_plain_http(config.endpoint)
    action = Action("open a session", endpoint_of(config))
    with google_errors(action):
        universe = credentials.universe_domain
    options = {"api_endpoint": endpoint_of(config, universe), "universe_domain": universe}
    client: Any = storage.Client(
        project=None,
        credentials=credentials,
        _http=Session(credentials),
        client_info=ClientInfo(user_agent=f"rivet-gcs/{__version__}"),  # type: ignore[no-untyped-call]  # google-api-core is half typed
        client_options=options,
    )
    # For its traces the SDK asks for the bucket in threads of its own, after the first request and after every 404.
    client._bucket_metadata_cache = None
    return client


def endpoint_of(config: GcsConfig, universe: str = "googleapis.com") -> str:
    """Return the URL of the service: the configured one, or that of the credential's cloud."""
    return config.endpoint or DEFAULT_ENDPOINT.replace("googleapis.com", universe)


def _credentials(auth: Provider | NativeAuth | None) -> Any:
    """Return a credential of google-auth for what the auth resolver gave."""
    if isinstance(auth, NativeAuth):
        return auth.sdk_object
    if auth is None or auth.get().kind == "anonymous":
        return AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is half typed
    if "token" not in auth.get().values:
        raise ConfigError(
            f"the auth resolver gives {auth.identity()!r} no token", hint="use a resolver that produces a token"
        )
    return ProviderCredentials(auth)


def _keep_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
