"""The standard output passes the conformance kit's tests of streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from rivet_core.testing import StreamHarness, StreamSuite

STDOUT = 1


@contextmanager
def stdout_is(descriptor: int) -> Iterator[None]:
    """Let the process's standard output lead elsewhere for a while."""
    sys.stdout.flush()
    before = os.dup(STDOUT)
    os.dup2(descriptor, STDOUT)
    try:
        yield
    finally:
        os.dup2(before, STDOUT)
        os.close(before)


@contextmanager
def into_a_file() -> Iterator[Callable[[], bytes]]:
    with TemporaryFile() as file, stdout_is(file.fileno()):
        yield lambda: os.pread(file.fileno(), 1 << 30, 0)


@contextmanager
def into_a_broken_pipe() -> Iterator[None]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with stdout_is(writer):
            yield
    finally:
        os.close(writer)


@contextmanager
def into_a_full_disk() -> Iterator[None]:
    with Path("/dev/full").open("wb") as full, stdout_is(full.fileno()):
        yield


class TestStdout(StreamSuite):
    destination = "stdout"

    @pytest.fixture
    def harness(self) -> StreamHarness:
        full = into_a_full_disk if Path("/dev/full").exists() else None  # Linux's own
        return StreamHarness(receive=into_a_file, gone=into_a_broken_pipe, full=full)
