"""An independent reader of a prefix: files on disk, JSON and XXH3, and not one line of Rivet.

It knows the contract from its documentation alone, and raises ``AssertionError`` where the contract is broken.

The conformance kit has an observer of its own (``rivet_core.testing.destination.observer``), and this is not it, on
purpose: the kit is code under test, too, and an invariant that it reads wrongly would be read wrongly here if they
shared a line. Two witnesses who have not talked to each other must agree.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
import xxhash


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
    """Read ``_SUCCESS``, resolve it and prove M1, M2, M3 and M5 for what it certifies. ``None`` without a marker."""
    marker = _read(prefix / "_SUCCESS")
    if marker is None:
        return None
    assert len(marker) == 22, f"_SUCCESS is not one fingerprint and a newline: {marker!r}"
    assert marker.endswith(b"\n")
    expected = marker.decode().rstrip("\n")
    candidates = [path for path in _manifests(prefix) if fingerprint(path.read_bytes()) == expected]
    assert candidates, f"M2: no manifest at the prefix has the fingerprint {expected}"
    manifest = json.loads(candidates[0].read_bytes())
    parts = []
    for part in manifest["parts"]:
        path = prefix / part["path"]
        data = _read(path)
        assert data is not None, f"M5: {part['path']} is certified and missing"
        assert len(data) == part["size_bytes"], f"M5: {part['path']} has {len(data)} bytes, not {part['size_bytes']}"
        assert fingerprint(data) == part["content_fingerprint"], f"M5: {part['path']} has other content"
        parts.append(path)
    return Dataset(manifest, tuple(parts))


def check_manifests(prefix: Path, deleted: Collection[str]) -> None:
    """Prove M1, M4 and M7 for every manifest: complete JSON, one per run, its parts were committed before it."""
    by_run: dict[str, bytes] = {}
    everywhere = {*(path.name for path in prefix.rglob("part-*")), *deleted}
    for path in _manifests(prefix):
        data = path.read_bytes()
        manifest = json.loads(data)  # M7: no partial manifest
        assert manifest["manifest_version"] == 1
        run_id = manifest["run_id"]
        assert by_run.setdefault(run_id, data) == data, f"M4: two manifests of run {run_id}"
        for part in manifest["parts"]:
            assert part["path"] in everywhere, f"M1: {path.name} lists {part['path']}, which was never committed"


def check(prefix: Path, *, deleted: Collection[str] = ()) -> Dataset | None:
    """Prove everything that must hold at every instant; return what is certified.

    Args:
        deleted: names of superseded parts that a run was told to delete.
    """
    if not prefix.is_dir():
        return None
    check_manifests(prefix, deleted)
    return read_certified(prefix)


def _manifests(prefix: Path) -> list[Path]:
    return sorted(path for path in prefix.glob("manifest*.json") if path.is_file())


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
