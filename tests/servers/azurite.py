"""A private Azurite: Azure Blob Storage with shared keys, shared access signatures and, over TLS, bearer tokens."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient

from servers.certificate import Certificate, new_certificate
from servers.process import HOST, ServerMissing, find_installed, private_directory, running

AUDIENCE = "https://storage.azure.com"
ISSUER = "https://sts.windows.net/00000000-0000-0000-0000-000000000000/"
PROGRAM = "node_modules/azurite/dist/src/blob/main.js"


@dataclass(frozen=True)
class Azurite:
    """A running Azurite with one account.

    Attributes:
        account_key: base64, as the portal shows it.
        certificate: what a client has to trust; ``None`` over plain HTTP.
    """

    port: int
    account_name: str
    account_key: str = field(repr=False)
    certificate: Certificate | None = None

    @property
    def endpoint(self) -> str:
        """The account's URL."""
        return f"{'https' if self.certificate else 'http'}://{HOST}:{self.port}/{self.account_name}"

    @property
    def connection_string(self) -> str:
        """What the portal offers as a connection string, the key included."""
        scheme = "https" if self.certificate else "http"
        return (
            f"DefaultEndpointsProtocol={scheme};AccountName={self.account_name};AccountKey={self.account_key};"
            f"BlobEndpoint={self.endpoint};"
        )

    def client(self, account_key: str | None = None) -> BlobServiceClient:
        """Return a client that never repeats a request; ``None`` means the account's own key."""
        return BlobServiceClient(
            self.endpoint,
            credential={"account_name": self.account_name, "account_key": account_key or self.account_key},
            retry_total=0,
            connection_timeout=5,
            read_timeout=30,
            connection_verify=str(self.certificate.certificate) if self.certificate else True,
        )

    def create_container(self, name: str | None = None) -> str:
        """Create a container, for one test alone unless it is named, and return its name."""
        name = name or f"test-{secrets.token_hex(6)}"
        with self.client() as client:
            client.create_container(name)
        return name

    def through(self, port: int) -> Self:
        """Return the same server as a proxy on another loopback port shows it."""
        return replace(self, port=port)

    def answers(self) -> bool:
        """Whether the account's containers can be listed now."""
        try:
            with self.client() as client:
                list(client.list_containers())
        except AzureError:
            return False
        return True


def bearer_token(*, audience: str = AUDIENCE, lifetime: float = 3600) -> str:
    """Return a JSON Web Token (RFC 7519) that an Azurite with ``oauth`` takes for so many seconds."""
    now = time.time()
    header = {"alg": "RS256", "typ": "JWT"}
    claims = {"iss": ISSUER, "aud": audience, "iat": int(now), "nbf": int(now) - 60, "exp": int(now + lifetime)}
    signature = b"not checked"
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@contextmanager
def azurite_server(*, oauth: bool = False) -> Iterator[Azurite]:
    """Run a new server until the block ends.

    Args:
        oauth: serve HTTPS with a new certificate, and take bearer tokens beside shared keys. Audience, issuer and
            expiry of a token are checked, its signature is not.

    Raises:
        ServerMissing: Azurite or Node.js is not installed.
    """
    node = shutil.which("node")
    if node is None:
        raise ServerMissing("Node.js, which runs Azurite, is not installed: apt-get install nodejs npm, then make test")
    program = find_installed("Azurite", "azurite", PROGRAM)
    with private_directory("azurite") as directory:
        server = Azurite(
            port=0,
            account_name="testaccount",
            account_key=base64.b64encode(secrets.token_bytes(64)).decode(),
            certificate=new_certificate(directory) if oauth else None,
        )
        with running(
            lambda port: [node, str(program), f"--blobPort={port}", *_options(directory / "data", server.certificate)],
            lambda port: server.through(port).answers(),
            directory / "log",
            stop_signal=signal.SIGTERM,
            environment={"AZURITE_ACCOUNTS": f"{server.account_name}:{server.account_key}"},
        ) as port:
            yield replace(server, port=port)


def _options(data: Path, certificate: Certificate | None) -> list[str]:
    options = [
        f"--blobHost={HOST}",
        f"--location={data}",
        "--silent",
        "--disableTelemetry",
        "--disableProductStyleUrl",
        "--skipApiVersionCheck",  # the newest client speaks a newer version than the server knows
    ]
    if certificate is not None:
        options += ["--oauth=basic", f"--cert={certificate.certificate}", f"--key={certificate.key}"]
    return options
