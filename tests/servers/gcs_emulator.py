"""A private gcp-storage-emulator: Google Cloud Storage whose resumable uploads and checks behave as Google's."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from servers.gcs import GcsServer
from servers.process import HOST, find_installed, private_directory, running


@contextmanager
def gcs_emulator() -> Iterator[GcsServer]:
    """Run a new server until the block ends.

    It ignores preconditions and returns every listing in one page.

    Raises:
        ServerMissing: gcp-storage-emulator is not installed.
    """
    program = find_installed("gcp-storage-emulator", "servers", "bin/gcp-storage-emulator")
    with (
        private_directory("gcs-emulator") as directory,
        running(
            lambda port: [
                str(program),
                f"--data-dir={directory / 'data'}",
                "start",
                f"--host={HOST}",
                f"--port={port}",
            ],
            lambda port: GcsServer(port).answers(),
            directory / "log",
            stop_signal=signal.SIGTERM,
        ) as port,
    ):
        yield GcsServer(port)
