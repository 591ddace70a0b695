"""One of each object store for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers.azurite import Azurite, azurite_server
from servers.fake_gcs import fake_gcs_server
from servers.gcs import GcsServer
from servers.gcs_emulator import gcs_emulator
from servers.moto import Moto, moto_server
from servers.required import serve
from servers.seaweedfs import SeaweedFS, seaweedfs_server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    yield from serve(seaweedfs_server())


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    yield from serve(moto_server())


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    yield from serve(azurite_server())


@pytest.fixture(scope="session")
def azurite_with_tokens() -> Iterator[Azurite]:
    yield from serve(azurite_server(oauth=True))


@pytest.fixture(scope="session", params=[fake_gcs_server, gcs_emulator])
def gcs(request: pytest.FixtureRequest) -> Iterator[GcsServer]:
    yield from serve(request.param())
