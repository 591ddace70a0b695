"""Azurite, proxies in front of it, and destinations in fresh containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import stamina
from azure.storage.blob import ContainerClient

from rivet_azure.config import AzureConfig
from rivet_azure.destination import AzureDestination, open_azure
from rivet_core.api import Credential, DestinationContext, NativeAuth, Provider, Secret
from rivet_core.api.providers import StaticProvider
from servers.azurite import Azurite, azurite_server
from servers.http_proxy import HttpProxy
from servers.required import serve


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """The default server; the copy of a blob over HTTP is the one thing of ours that it has not."""
    yield from serve(azurite_server())


@pytest.fixture(scope="session")
def azurite_oauth() -> Iterator[Azurite]:
    """The same over HTTPS, where it takes bearer tokens, too."""
    yield from serve(azurite_server(oauth=True))


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[HttpProxy]:
    """A proxy in front of the default server."""
    with HttpProxy(azurite.port) as proxy:
        yield proxy


@pytest.fixture
def container(azurite: Azurite) -> Iterator[ContainerClient]:
    """A fresh container with raw access."""
    with azurite.client() as client:
        yield client.get_container_client(azurite.create_container())


@pytest.fixture
def impatient() -> Iterator[None]:
    """Nobody waits between two tries."""
    with stamina.set_testing(True, attempts=5, cap=True):
        yield


@pytest.fixture
def account_key(azurite: Azurite) -> StaticProvider:
    return StaticProvider(Credential("account_key", {"account_key": Secret(azurite.account_key)}), "the account's key")


@pytest.fixture
def open_at(
    azurite: Azurite, container: ContainerClient, account_key: StaticProvider
) -> Iterator[Callable[..., AzureDestination]]:
    """Open destinations in the container, at another port if one is given; they are closed after the test."""
    with ExitStack() as stack:

        def open_(
            port: int | None = None,
            *,
            auth: Provider | NativeAuth = account_key,
            upload_bytes: int = 48_000_000,
            **fields: object,
        ) -> AzureDestination:
            server = azurite.through(port or azurite.port)
            settings = {
                "bucket": container.container_name,
                "account_name": azurite.account_name,
                "endpoint": server.endpoint,
                "prefix": "exports/orders/",
                **fields,
            }
            context = DestinationContext(Path("/"), auth, upload_bytes)
            destination = open_azure(AzureConfig.model_validate(settings), context)
            stack.callback(destination.close)
            return destination

        yield open_
