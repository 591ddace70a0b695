"""The stream to standard output: exact bytes, a reader that goes away, a full disk, no output at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import os, sys
from pathlib import Path
from rivet_core.api import DestinationContext, DestinationError, StorageFull
from rivet_core.builtin.stdout import StdoutConfig, open_stdout
destination = open_stdout(StdoutConfig(), DestinationContext(Path()))
"""


def python(code: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-c", PRELUDE + code]
    return subprocess.run(command, stderr=subprocess.PIPE, check=False, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def test_bytes_arrive_unchanged_after_printed_text() -> None:
    code = """
print("text", end="")
with destination.open() as stream:
    stream.write(bytes(range(256)) * 1000)
print("after")
"""
    done = python(code, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"text" + bytes(range(256)) * 1000 + b"after\n"


def test_closed_pipe_raises_broken_pipe() -> None:
    code = """
try:
    with destination.open() as stream:
        while True:
            stream.write(bytes(1 << 16))
except BrokenPipeError:
    os._exit(42)
"""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert python(code, stdout=writer).returncode == 42
    finally:
        os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's own")
def test_full_disk_is_storage_full() -> None:
    code = """
try:
    with destination.open() as stream:
        stream.write(bytes(1 << 20))
except StorageFull as error:
    print(error.message, file=sys.stderr)
    os._exit(42)
"""
    with Path("/dev/full").open("wb") as full:
        done = python(code, stdout=full)
    assert done.returncode == 42, done.stderr
    assert b"No space left" in done.stderr


def test_missing_standard_output_is_a_destination_error() -> None:
    code = """
os.close(1)
try:
    destination.open()
except DestinationError:
    os._exit(42)
"""
    assert python(code, stdout=subprocess.DEVNULL).returncode == 42
