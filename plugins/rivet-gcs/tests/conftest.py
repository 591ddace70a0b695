"""Servers of Google Cloud Storage, proxies in front of them, and destinations in fresh buckets."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str


@pytest.fixture
def rivet(tmp_path: Path) -> Callable[..., Finished]:
    """Run ``rivet COMMAND`` in a process of its own, with an export of a small table to the given destination."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
        database.executemany("INSERT INTO orders (note) VALUES (?)", [(f"note {number}",) for number in range(100)])

    def run(*command: str, destination: Mapping[str, object], env: Mapping[str, str] | None = None) -> Finished:
        document = {
            "source": {"type": "sqlite", "url": f"sqlite:///{tmp_path}/shop.db"},
            "exports": [
                {"name": "orders", "table": "orders", "mode": "chunked", "chunk_size": 40, "destination": destination}
            ],
        }
        (tmp_path / "rivet.yaml").write_text(json.dumps(document))  # JSON is YAML
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "CLOUDSDK_"))}
        done = subprocess.run(
            [Path(sys.executable).with_name("rivet"), *command],
            cwd=tmp_path,
            env={**kept, "HOME": str(tmp_path), "NO_GCE_CHECK": "true", **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


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
