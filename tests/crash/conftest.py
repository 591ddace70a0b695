"""Fixtures of the tests that kill and interleave."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.shop import Shop
from servers.postgres import Postgres
from servers.required import serve
from servers.seaweedfs import SeaweedFS, seaweedfs_server


@pytest.fixture
def shop(postgres: Postgres) -> Shop:
    """A table in a database of its own."""
    return Shop(postgres)


@pytest.fixture(scope="package")
def seaweedfs() -> Iterator[SeaweedFS]:
    """A private object store."""
    yield from serve(seaweedfs_server())


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A directory on a file system without a disk where there is one: thousands of runs flush every step."""
    shm = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="rivet-test-", dir=shm if shm.is_dir() else None))
    yield directory
    shutil.rmtree(directory)
