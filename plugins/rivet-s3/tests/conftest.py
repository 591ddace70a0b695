"""A SeaweedFS for all tests of the plugin, a bucket in it, and a proxy in front that can misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from servers.http_proxy import HttpProxy
from servers.required import serve
from servers.s3 import S3Server
from servers.seaweedfs import SeaweedFS, seaweedfs_server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """A private SeaweedFS; under pytest-xdist one for each worker."""
    yield from serve(seaweedfs_server())


@pytest.fixture(scope="session")
def bucket(seaweedfs: SeaweedFS) -> str:
    """A bucket that the tests share; each uses prefixes of its own."""
    return seaweedfs.create_bucket()


@pytest.fixture(scope="session")
def raw(seaweedfs: SeaweedFS) -> Iterator[Any]:
    """The administrator's client, for a look that bypasses the plugin."""
    with raw_client(seaweedfs) as client:
        yield client


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[HttpProxy]:
    """A proxy in front of the server, which passes everything until a test says otherwise."""
    with HttpProxy(seaweedfs.port) as running:
        yield running


@contextmanager
def raw_client(server: S3Server) -> Iterator[Any]:
    client = server.client()
    try:
        yield client
    finally:
        client.close()
