"""What the control objects of a prefix say: the marker, the manifest it certifies, and what ``manifest.json`` is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rivet_core.api.errors import ManifestInvalid, TrustError
from rivet_core.contract.keys import MANIFEST, QUARANTINE, SUCCESS, is_manifest_copy, manifest_copy_key, parse_part_name
from rivet_core.contract.manifest import Manifest, decode
from rivet_core.contract.success import parse_success, resolve_certified
from rivet_core.contract.verdict import Certified, Marker, PrefixFacts, PublishedManifest


@dataclass(frozen=True)
class ControlObjects:
    """The control objects of a prefix, understood.

    Attributes:
        marker: state of ``_SUCCESS``.
        certified_key: key whose content has the marker's fingerprint (``manifest.json`` preferred), or ``None``.
        certified: the certified manifest, or ``None`` if there is none or it is not valid.
        published: state of ``manifest.json``.
        manifest: the content of ``manifest.json``, or ``None`` if it is absent or not valid.
        copy_differs: the immutable manifest of the certified run does not have the certified bytes.
        problems: what is wrong, one sentence each.
    """

    marker: Marker
    certified_key: str | None
    certified: Manifest | None
    published: PublishedManifest
    manifest: Manifest | None
    copy_differs: bool
    problems: tuple[str, ...]

    def facts(self, keys: Iterable[str], *, parts_failed: bool) -> PrefixFacts:
        """Return what ``judge`` needs.

        Args:
            keys: every key at the prefix.
            parts_failed: a part of the certified manifest is missing, or its size or content differs.
        """
        data_keys = [key for key in keys if key not in {MANIFEST, SUCCESS} and not key.startswith(QUARANTINE)]
        copies = sum(is_manifest_copy(key) for key in data_keys)
        parts = sum(parse_part_name(key) is not None for key in data_keys)
        if self.certified_key is None:
            certified = Certified.ABSENT
        else:
            certified = Certified.INVALID if self.certified is None else Certified.VALID
        return PrefixFacts(
            marker=self.marker,
            published=self.published,
            certified=certified,
            copy_differs=self.copy_differs,
            has_copies=copies > 0,
            has_parts=parts > 0,
            has_data=len(data_keys) > copies + parts,
            parts_failed=parts_failed,
        )


def read_control_objects(success: bytes | None, manifests: Mapping[str, bytes]) -> ControlObjects:
    """Understand the control objects of a prefix; nothing in them can make it fail.

    Args:
        success: content of ``_SUCCESS``, or ``None`` if it is absent.
        manifests: content of ``manifest.json`` and of every immutable manifest, by key. It may load lazily: on a clean
            prefix only ``manifest.json`` and one copy are read. A key whose content is gone by then counts as absent.
    """
    problems: list[str] = []
    marker, certified_key = _find_certified(success, manifests, problems)
    certified_bytes = manifests.get(certified_key) if certified_key is not None else None
    certified = _decode(certified_key or "", certified_bytes, problems)
    if certified is not None and certified.status != "success":
        problems.append(f"{certified_key} is certified, but its run's status is {certified.status}")
        certified = None

    copy_differs = False
    if certified is not None:
        copy_key = manifest_copy_key(certified.run_id)
        copy_differs = manifests.get(copy_key, certified_bytes) != certified_bytes
        if copy_differs:
            problems.append(f"{copy_key} is not the manifest of that run which {SUCCESS} certifies")

    if certified_key == MANIFEST:
        published, manifest = PublishedManifest.CERTIFIED, certified
    else:
        published, manifest = _read_published(manifests, certified, problems)
        if certified_key is not None and published in {PublishedManifest.ABSENT, PublishedManifest.OTHER}:
            problems.append(f"{MANIFEST} is {'missing' if manifest is None else 'not what any run published last'}")
    return ControlObjects(marker, certified_key, certified, published, manifest, copy_differs, tuple(problems))


def _find_certified(
    success: bytes | None, manifests: Mapping[str, bytes], problems: list[str]
) -> tuple[Marker, str | None]:
    if success is None:
        return Marker.ABSENT, None
    try:
        fingerprint = parse_success(success)
    except TrustError as error:
        problems.append(error.message)
        return Marker.INVALID, None
    key = resolve_certified(fingerprint, manifests)
    if key is None:
        problems.append(f"{SUCCESS} certifies {fingerprint}, and no manifest has that fingerprint")
    return Marker.PRESENT, key


def _read_published(
    manifests: Mapping[str, bytes], certified: Manifest | None, problems: list[str]
) -> tuple[PublishedManifest, Manifest | None]:
    data = manifests.get(MANIFEST)
    if data is None:
        return PublishedManifest.ABSENT, None
    manifest = _decode(MANIFEST, data, problems)
    if manifest is None:
        return PublishedManifest.INVALID, None
    # A run that ended before the certified one began can never write manifest.json again: whoever put it back did.
    # Runs that overlap may end in any order, so their times say nothing.
    overtaken = certified is not None and manifest.finished_at < certified.started_at
    is_copy = manifests.get(manifest_copy_key(manifest.run_id)) == data
    return PublishedManifest.PENDING if is_copy and not overtaken else PublishedManifest.OTHER, manifest


def _decode(key: str, data: bytes | None, problems: list[str]) -> Manifest | None:
    if data is None:
        return None
    try:
        return decode(data)
    except ManifestInvalid as error:
        problems.append(f"{key}: {error.message}")
        return None
