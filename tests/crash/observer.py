"""An independent reader of a prefix: files on disk, JSON and XXH3, and not one line of Rivet.

It knows the contract from its documentation alone, and raises ``AssertionError`` where the contract is broken.

The conformance kit has an observer of its own (``rivet_core.testing.destination.observer``), and this is not it, on
purpose: the kit is code under test, too, and an invariant that it reads wrongly would be read wrongly here if they
shared a line. Two witnesses who have not talked to each other must agree.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet
import xxhash


class Place(Protocol):
    """A prefix that can be read."""

    def read(self, key: str) -> bytes | None:
        """The bytes of an object, ``None`` if it is not there."""

    def names(self) -> list[str]:
        """Every object, those in quarantine too."""


@dataclass(frozen=True)
class Directory:
    """A prefix on the disk; what an unfinished write has left is no object."""

    path: Path

    def read(self, key: str) -> bytes | None:
        try:
            return (self.path / key).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            return None

    def names(self) -> list[str]:
        files = (path for path in self.path.rglob("*") if path.is_file() and not path.name.startswith(".rivet-tmp-"))
        return sorted(path.relative_to(self.path).as_posix() for path in files)


@dataclass(frozen=True)
class Certified:
    """What ``_SUCCESS`` certifies: the manifest, and the bytes of the parts that it lists, proven."""

    manifest: Mapping[str, object]
    parts: Mapping[str, bytes]

    @property
    def run_id(self) -> str:
        return str(self.manifest["run_id"])

    def rows(self) -> list[dict[str, object]]:
        """Every row of the Parquet parts, in the manifest's order."""
        tables = (pyarrow.parquet.read_table(pa.BufferReader(data)) for data in self.parts.values())
        return [row for table in tables for row in table.to_pylist()]


@dataclass(frozen=True)
class Dataset:
    """What ``_SUCCESS`` certifies: the manifest and the parts that it lists, proven."""

    manifest: dict[str, object]
    parts: tuple[Path, ...]

    @property
    def run_id(self) -> str:
        return str(self.manifest["run_id"])

    def rows(self) -> list[dict[str, object]]:
        """Every row of the Parquet parts, in the manifest's order."""
        return [row for part in self.parts for row in pyarrow.parquet.read_table(part).to_pylist()]


def fingerprint(data: bytes) -> str:
    return f"xxh3:{xxhash.xxh3_64_hexdigest(data)}"


def read_certified(prefix: Path) -> Dataset | None:
    """Prove what ``_SUCCESS`` certifies at a directory."""
    found = prove(Directory(prefix))
    return None if found is None else Dataset(dict(found.manifest), tuple(prefix / name for name in found.parts))


def prove(place: Place) -> Certified | None:
    """Read ``_SUCCESS``, resolve it and prove M1, M2, M3 and M5 for what it certifies. ``None`` without a marker."""
    marker = place.read("_SUCCESS")
    if marker is None:
        return None
    assert len(marker) == 22, f"_SUCCESS is not one fingerprint and a newline: {marker!r}"
    assert marker.endswith(b"\n")
    expected = marker.decode().rstrip("\n")
    found = next((data for _, data in _manifests(place) if fingerprint(data) == expected), None)
    assert found is not None, f"M2: no manifest at the prefix has the fingerprint {expected}"
    manifest = json.loads(found)
    parts: dict[str, bytes] = {}
    for part in manifest["parts"]:
        path = part["path"]
        assert path not in parts, f"{path} is listed twice"
        data = place.read(path)
        assert data is not None, f"M5: {path} is certified and missing"
        assert len(data) == part["size_bytes"], f"M5: {path} has {len(data)} bytes, not {part['size_bytes']}"
        assert fingerprint(data) == part["content_fingerprint"], f"M5: {path} has other content"
        parts[path] = data
    return Certified(manifest, parts)


def check_manifests(place: Place, deleted: Collection[str] = ()) -> None:
    """Prove M1, M4 and M7 for every manifest: complete JSON, one per run, its parts were committed before it."""
    by_run: dict[str, bytes] = {}
    everywhere = {*(key.rpartition("/")[2] for key in place.names()), *deleted}
    for key, data in _manifests(place):
        manifest = json.loads(data)  # M7: no partial manifest
        assert manifest["manifest_version"] == 1
        run_id = manifest["run_id"]
        assert by_run.setdefault(run_id, data) == data, f"M4: two manifests of run {run_id}"
        for part in manifest["parts"]:
            assert part["path"] in everywhere, f"M1: {key} lists {part['path']}, which was never committed"


def strangers(place: Place, certified: Certified) -> set[str]:
    """Parts outside of quarantine that the certified manifest does not list."""
    return {key for key in place.names() if key.startswith("part-")} - certified.parts.keys()


def check(prefix: Path, *, deleted: Collection[str] = ()) -> Dataset | None:
    """Prove everything that must hold at every instant; return what is certified.

    Args:
        deleted: names of superseded parts that a run was told to delete.
    """
    if not prefix.is_dir():
        return None
    check_manifests(Directory(prefix), deleted)
    return read_certified(prefix)


def _manifests(place: Place) -> Iterator[tuple[str, bytes]]:
    """Every manifest with its key, the usual one first; one that is pruned meanwhile is none."""
    current = place.read("manifest.json")
    if current is not None:
        yield "manifest.json", current
    for key in place.names():
        copy = place.read(key) if key.startswith("manifest-") and key.endswith(".json") else None
        if copy is not None:
            yield key, copy
