"""rivet-local passes the conformance kit."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rivet_core.testing import DestinationSuite, Fault, Harness

NOBODY = 65534


@contextmanager
def _faults(root: Path, fault: Fault) -> Iterator[None]:
    """Take away the access to a directory; a local disk has no other of these faults that a test could cause."""
    if fault != "denied":
        raise NotImplementedError(fault)
    mode, user = stat.S_IMODE(root.stat().st_mode), os.geteuid()
    root.chmod(0)
    if user == 0:  # whom no mode stops
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        root.chmod(mode)


class TestLocal(DestinationSuite):
    destination = "local"

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        def put(prefix: str, key: str, data: bytes) -> None:
            path = tmp_path / prefix / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        def get(prefix: str, key: str) -> bytes | None:
            path = tmp_path / prefix / key
            return path.read_bytes() if path.is_file() else None

        def list_keys(prefix: str) -> list[str]:
            root = tmp_path / prefix
            files = [path for path in root.rglob("*") if path.is_file()]
            # What a writer has not committed yet is no object.
            return [path.relative_to(root).as_posix() for path in files if not path.name.startswith(".rivet-tmp-")]

        return Harness(
            config=lambda prefix: {"path": str(tmp_path / prefix)},
            get=get,
            put=put,
            list=list_keys,
            delete=lambda prefix, key: (tmp_path / prefix / key).unlink(missing_ok=True),
            faults=lambda fault: _faults(tmp_path, fault),
        )
