"""The destination ``local`` on a memory disk, with raw access through the file system."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rivet_core.api import Destination, DestinationContext, DestinationSpec
from rivet_core.plugins import Registry, discover
from rivet_core.testing.destination.scenario import Workbench
from rivet_core.testing.harness import Harness
from rivet_local.config import LocalConfig
from rivet_local.destination import open_local


class Disk:
    """Raw access to prefixes, each a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, prefix: str, key: str, data: bytes) -> None:
        path = self.root / prefix / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, prefix: str, key: str) -> bytes | None:
        path = self.root / prefix / key
        return path.read_bytes() if path.is_file() else None

    def list(self, prefix: str) -> list[str]:
        root = self.root / prefix
        return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]

    def delete(self, prefix: str, key: str) -> None:
        (self.root / prefix / key).unlink(missing_ok=True)

    def config(self, prefix: str) -> dict[str, object]:
        return {"path": str(self.root / prefix)}


@pytest.fixture
def directory() -> Iterator[Path]:
    shm = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="rivet-test-", dir=shm if shm.is_dir() else None))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def harness(directory: Path) -> Harness:
    disk = Disk(directory / "store")
    return Harness(config=disk.config, get=disk.get, put=disk.put, list=disk.list, delete=disk.delete)


@pytest.fixture
def registry() -> Registry:
    return discover({"RIVET_PLUGINS": "local"})


@pytest.fixture
def spec(registry: Registry) -> DestinationSpec:
    return registry.destination("local")


@pytest.fixture
def workbench(directory: Path, registry: Registry, spec: DestinationSpec, harness: Harness) -> Iterator[Workbench]:
    workbench = Workbench(directory, registry, spec, harness)
    yield workbench
    workbench.close()


@pytest.fixture
def open_store(harness: Harness) -> Callable[[str], Destination]:
    return lambda prefix: open_local(LocalConfig.model_validate(harness.config(prefix)), DestinationContext(Path.cwd()))
