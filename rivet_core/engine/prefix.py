"""Reads what a prefix holds: its listing, its marker and its manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rivet_core.api.errors import ManifestInvalid
from rivet_core.contract import keys, manifest
from rivet_core.contract.control import ControlObjects, read_control_objects
from rivet_core.engine.store import read_object

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination, ObjectInfo

# A marker is 22 bytes; whatever is longer is none, and is not read to its end.
_SUCCESS_LIMIT = 1024


@dataclass(frozen=True)
class Control:
    """A control object as it was read: its bytes and the store's description of exactly these bytes."""

    data: bytes
    info: ObjectInfo


@dataclass(frozen=True)
class StoredManifest:
    """A manifest object and what it says; ``None`` if that is no valid manifest."""

    control: Control
    content: manifest.Manifest | None


@dataclass(frozen=True)
class PrefixView:
    """One look at a prefix. The marker was read first, so everything else is at least as new.

    Attributes:
        success: ``_SUCCESS``, if it is there.
        control: what the marker and the manifests say together.
        manifests: ``manifest.json`` and the immutable copies, by key.
        listing: every object under the prefix by key; only the control objects in a look without ``everything``.
    """

    success: Control | None
    control: ControlObjects
    manifests: Mapping[str, StoredManifest]
    listing: Mapping[str, ObjectInfo]

    @property
    def current(self) -> StoredManifest | None:
        """What is at ``manifest.json``."""
        return self.manifests.get(keys.MANIFEST)

    def highest_part_number(self) -> int:
        """The largest part number in use: in the listing, quarantine included, or in any manifest."""
        named = [part.path for stored in self.manifests.values() if stored.content for part in stored.content.parts]
        return keys.highest_part_number([*self.listing, *named])


def look(destination: Destination, *, everything: bool = True) -> PrefixView:
    """Look at a prefix. Invalid control objects are part of the view, not an error.

    Args:
        everything: list all objects; without it only the immutable manifests, for a quick look at a large prefix.
    """
    marker = read_success(destination)
    manifests: dict[str, StoredManifest] = {}
    current = read_manifest(destination, keys.MANIFEST)
    if current is not None:
        manifests[keys.MANIFEST] = current
    listing = {info.key: info for info in destination.list("" if everything else "manifest-")}
    for key in sorted(filter(keys.is_manifest_copy, listing)):
        stored = read_manifest(destination, key)
        if stored is not None:
            manifests[key] = stored
    contents = {key: stored.control.data for key, stored in manifests.items()}
    control = read_control_objects(marker.data if marker else None, contents)
    return PrefixView(marker, control, manifests, listing)


def was_replaced(destination: Destination, view: PrefixView) -> bool:
    """Whether ``_SUCCESS`` is another one than in a look: what was missing then may belong to a dataset of the past."""
    now = read_success(destination)
    return (now.data if now else None) != (view.success.data if view.success else None)


def read_success(destination: Destination) -> Control | None:
    """Read ``_SUCCESS``; at most its first kilobyte."""
    return _read(destination, keys.SUCCESS, _SUCCESS_LIMIT)


def read_manifest(destination: Destination, key: str) -> StoredManifest | None:
    """Read a manifest; one that is no valid manifest comes without content."""
    control = _read(destination, key, manifest.MAX_MANIFEST_BYTES)
    if control is None:
        return None
    try:
        return StoredManifest(control, manifest.decode(control.data))
    except ManifestInvalid:
        return StoredManifest(control, None)


def _read(destination: Destination, key: str, limit: int) -> Control | None:
    found = read_object(destination, key, limit=limit)
    return None if found is None else Control(*found)
