"""Servers of Google Cloud Storage, proxies in front of them, and destinations in fresh buckets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from rivet_core.api import Credential, DestinationContext
from rivet_core.api.providers import StaticProvider
from rivet_gcs.config import GcsConfig
from rivet_gcs.destination import GcsDestination, open_gcs
from servers.fake_gcs import fake_gcs_server
from servers.gcs import GcsServer
from servers.gcs_emulator import gcs_emulator
from servers.http_proxy import HttpProxy
from servers.http_rules import Answer, Exchange
from servers.required import serve

PRECONDITION_FAILED = Answer(412, {"Content-Type": "application/json"}, b'{"error": {"code": 412, "message": "stale"}}')


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[GcsServer]:
    """The default server; see ``fake_gcs_server`` for what it lacks."""
    yield from serve(fake_gcs_server())


@pytest.fixture(scope="session")
def emulator() -> Iterator[GcsServer]:
    """The second server; see ``gcs_emulator`` for what it lacks."""
    yield from serve(gcs_emulator())


class Preconditions:
    """Enforces the generation preconditions of requests, which no server for tests does for all of them.

    fake-gcs-server compares them for uploads of one request only, gcp-storage-emulator never. Looks before each request
    and so proves that the plugin sends the right ones, and what it makes of a refusal; not that of two requests at
    once only one wins, which is the service's business.
    """

    def __init__(self, server: GcsServer) -> None:
        self._port = server.port

    def hold(self, exchange: Exchange) -> bool:
        """Whether the service would carry out a request."""
        path, query = exchange.path.split("/"), exchange.query
        match exchange.method:
            case "DELETE" if path[1] == "storage":
                return self._holds(path[4], path[6], query.get("ifGenerationMatch"))
            case "POST" if "rewriteTo" in path:
                source, target = path.index("o"), path.index("o", path.index("rewriteTo"))
                return self._holds(path[4], path[source + 1], query.get("ifSourceGenerationMatch")) and (
                    self._holds(path[target - 1], path[target + 1], query.get("ifGenerationMatch"))
                )
        return True

    def _holds(self, bucket: str, name: str, expected: str | None) -> bool:
        if expected is None:
            return True
        with closing(HTTPConnection("127.0.0.1", self._port)) as connection:
            connection.request("GET", f"/storage/v1/b/{bucket}/o/{name}")
            answer = json.load(connection.getresponse())
        return int(expected) == int(answer.get("generation", 0))


@pytest.fixture
def proxy(fake_gcs: GcsServer) -> Iterator[HttpProxy]:
    """A proxy in front of the default server, which enforces the preconditions that this one ignores."""
    with HttpProxy(fake_gcs.port) as proxy:
        proxy.require(Preconditions(fake_gcs).hold, PRECONDITION_FAILED)
        yield proxy


@pytest.fixture
def open_at() -> Iterator[Callable[..., GcsDestination]]:
    """Open destinations without credentials at a server's port; they are closed after the test."""
    with ExitStack() as stack:

        def open_(port: int, bucket: str, **fields: object) -> GcsDestination:
            config = GcsConfig.model_validate(
                {"bucket": bucket, "prefix": "exports/orders/", "endpoint": f"http://127.0.0.1:{port}", **fields}
            )
            context = DestinationContext(Path("/"), StaticProvider(Credential("anonymous", {}), "anonymous"))
            destination = open_gcs(config, context)
            stack.callback(destination.close)
            return destination

        yield open_
