"""An independent reader of a prefix: bytes by key, JSON and XXH3, and not one line of the code that it watches.

It knows the trust contract from its documentation alone. What it looks at is a snapshot that was taken with raw access.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet
import xxhash

#: Every object at a prefix, its bytes by its key.
Snapshot = Mapping[str, bytes]

_PART = re.compile(r"part-[0-9]{6,18}(-[0-9]{2,9})?\.[a-z0-9.]+")
_MANIFEST = re.compile(r"manifest(-[A-Za-z0-9._-]+)?\.json")
_QUARANTINED = re.compile(r"_quarantine/[^/]+/(?P<key>.+?)(\.[0-9]+)?")


class Breach(AssertionError):
    """The trust contract is broken; the message begins with the invariant."""


@dataclass(frozen=True)
class Damage:
    """What was done behind the plugin's back, which is not the plugin's fault.

    Attributes:
        control: control objects as they were left, by key; ``None`` for one that was deleted.
        data: keys of parts that were changed or deleted. No run ever uses their names again.
    """

    control: Mapping[str, bytes | None]
    data: Collection[str]

    def still_at(self, objects: Snapshot) -> set[str]:
        """Return the keys of the control objects that are as the damage has left them."""
        return {key for key, data in self.control.items() if objects.get(key) == data}


UNDAMAGED = Damage({}, ())


@dataclass(frozen=True)
class Dataset:
    """What ``_SUCCESS`` certifies.

    Attributes:
        manifest: the manifest that has the marker's fingerprint.
        parts: the parts that it lists by key, in its order; those that damage has taken are left out.
    """

    manifest: Mapping[str, Any]
    parts: Mapping[str, bytes]

    @property
    def run_id(self) -> str:
        """The run that published it."""
        return str(self.manifest["run_id"])

    @property
    def intact(self) -> bool:
        """Every part is there as it was recorded."""
        return len(self.parts) == len(self.manifest["parts"])

    def rows(self) -> list[dict[str, Any]]:
        """Every row of the Parquet parts, in the manifest's order."""
        return [row for data in self.parts.values() for row in pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()]


def check_instant(objects: Snapshot, damage: Damage = UNDAMAGED) -> Dataset | None:
    """Prove what must hold at every instant: M1, M2, M3, M4, M5 and M7.

    Returns:
        What is certified; ``None`` without a marker, and where damage has made the control objects unreadable.

    Raises:
        Breach: an invariant is broken, and not by the damage.
    """
    damaged = damage.still_at(objects)
    certified = _certified(objects, damage, damaged)
    by_run: dict[str, bytes] = {}
    for key, data in _manifests(objects):
        if key in damaged:
            continue
        manifest = _parse(key, data)
        if by_run.setdefault(manifest["run_id"], data) != data:
            raise Breach(f"M4: there are two manifests of run {manifest['run_id']}")
        _check_committed(key, manifest, objects, damage)
    return certified


def check_step(before: Snapshot, after: Snapshot, targets: Collection[str], strangers: Collection[str] = ()) -> None:
    """Prove that a run has destroyed and changed nothing that it may not: M4 and M9, and that writes appear at commit.

    Args:
        targets: keys that the run asked the plugin to make visible or to replace.
        strangers: keys that are nobody's business.

    Raises:
        Breach: an object vanished, changed, or appeared before its commit.
    """
    aside = {(found["key"], data) for key, data in after.items() if (found := _QUARANTINED.fullmatch(key))}
    for key, data in before.items():
        kept = after.get(key) == data
        if key in strangers and not kept:
            raise Breach(f"M9: {key}, which is in no manifest and not Rivet's to move, was touched")
        if key.startswith("_quarantine/") and not kept:
            raise Breach(f"M9: {key} was in quarantine and is changed or gone")
        if _PART.fullmatch(key) and not kept and (key, data) not in aside:
            raise Breach(f"M9: {key} was {'changed' if key in after else 'deleted'} and is not in quarantine")
        if key.startswith("manifest-") and after.get(key, data) != data:
            raise Breach(f"M4: the immutable {key} was changed")
    for key, data in after.items():
        if is_ours(key) and before.get(key) != data and key not in targets:
            raise Breach(f"M7: {key} is visible before the run has committed it")


def part_keys(keys: Iterable[str]) -> set[str]:
    """Return the keys directly under the prefix that are named like parts."""
    return set(filter(_PART.fullmatch, keys))


def is_ours(key: str) -> bool:
    """Say whether the contract gives this name a meaning."""
    return bool(_PART.fullmatch(key) or _MANIFEST.fullmatch(key) or key == "_SUCCESS" or _original_key(key))


def is_certified(objects: Snapshot, key: str) -> bool:
    """Say whether the object at ``key`` has the fingerprint that ``_SUCCESS`` certifies."""
    return key in objects and objects.get("_SUCCESS") == f"{fingerprint(objects[key])}\n".encode()


def fingerprint(data: bytes) -> str:
    """Return XXH3-64 as manifests and markers write it."""
    return f"xxh3:{xxhash.xxh3_64_hexdigest(data)}"


def _certified(objects: Snapshot, damage: Damage, damaged: Collection[str]) -> Dataset | None:
    marker = objects.get("_SUCCESS")
    if marker is None or "_SUCCESS" in damaged:
        return None
    if not re.fullmatch(rb"xxh3:[0-9a-f]{16}\n", marker):
        raise Breach(f"M2: _SUCCESS is not one fingerprint and a newline: {marker[:40]!r}")
    expected = marker.decode().rstrip("\n")
    certified = next(((key, data) for key, data in _manifests(objects) if fingerprint(data) == expected), None)
    if certified is None:
        if damaged:
            return None
        raise Breach(f"M2: no manifest at the prefix has the fingerprint {expected} that _SUCCESS certifies")
    manifest = _parse(*certified)
    parts = {}
    for part in manifest["parts"]:
        problem = _compare(part, objects.get(part["path"]))
        if not problem:
            parts[part["path"]] = objects[part["path"]]
        elif part["path"] not in damage.data:
            raise Breach(f"M5: {part['path']} is certified and {problem}")
    return Dataset(manifest, parts)


def _check_committed(key: str, manifest: Mapping[str, Any], objects: Snapshot, damage: Damage) -> None:
    for part in manifest["parts"]:
        path = part["path"]
        found = [data for other, data in objects.items() if other == path or _original_key(other) == path]
        if path not in damage.data and all(_compare(part, data) for data in found):
            problem = _compare(part, found[0]) if found else "was never committed"
            raise Breach(f"M1: {key} lists {path}, which {problem}")


def _compare(part: Mapping[str, Any], data: bytes | None) -> str:
    """Return what is wrong with a part, all three of (path, size, content); empty if nothing is."""
    if data is None:
        return "is missing"
    if len(data) != part["size_bytes"]:
        return f"has {len(data)} bytes instead of {part['size_bytes']}"
    return "" if fingerprint(data) == part["content_fingerprint"] else "has other content"


def _manifests(objects: Snapshot) -> Iterator[tuple[str, bytes]]:
    return ((key, data) for key, data in sorted(objects.items()) if _MANIFEST.fullmatch(key))


def _parse(key: str, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        if manifest["manifest_version"] == 1 and manifest["run_id"] and isinstance(manifest["parts"], list):
            return dict(manifest)
    except (ValueError, KeyError, TypeError):
        pass
    raise Breach(f"M7: {key} is no complete manifest ({len(data)} bytes)")


def _original_key(key: str) -> str | None:
    found = _QUARANTINED.fullmatch(key)
    return found["key"] if found else None
