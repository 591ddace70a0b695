"""Fixtures of the tests that kill and interleave."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A directory on a file system without a disk where there is one: thousands of runs flush every step."""
    shm = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="rivet-test-", dir=shm if shm.is_dir() else None))
    yield directory
    shutil.rmtree(directory)
