"""Publishes a dataset: from committed parts to the ``_SUCCESS`` that vouches for them.

Before its commit point (the write of ``_SUCCESS``) a run only adds objects; it overwrites nothing but the two
control objects. Until then the previous ``_SUCCESS`` resolves by its fingerprint to the previous immutable manifest,
whose parts are all in place. See the trust contract, section "Publishing", in the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rivet_core.api.destination import Condition, IfAbsent, IfVersion
from rivet_core.api.errors import DestinationError, IntegrityError, LostRace, PreconditionFailed
from rivet_core.contract import keys, success
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.engine.prefix import read_manifest, read_success
from rivet_core.engine.proof import compare_part

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination, ObjectInfo
    from rivet_core.contract.manifest import Manifest
    from rivet_core.engine.prefix import PrefixView

_LOST_HINT = "the other run's dataset is in place and certified; run again to publish on top of it"


@dataclass(frozen=True)
class Baseline:
    """The control objects as they were at the run's start; publishing is refused if they have changed since.

    Attributes:
        success: version of ``_SUCCESS``, or ``None`` if there was none.
        manifest: version of ``manifest.json``, or ``None``.
        unsaved: the certified manifest where no immutable copy holds it: its bytes by the key that they deserve.
    """

    success: str | None
    manifest: str | None
    unsaved: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, view: PrefixView) -> Baseline:
        """Take the baseline from a look at the prefix."""
        return cls(
            success=view.success.info.version if view.success else None,
            manifest=view.current.control.info.version if view.current else None,
            unsaved=_unsaved(view),
        )


def _unsaved(view: PrefixView) -> dict[str, bytes]:
    certified = view.control.certified
    if certified is None or view.control.certified_key is None:
        return {}
    data = view.manifests[view.control.certified_key].control.data
    copies = {key: stored for key, stored in view.manifests.items() if keys.is_manifest_copy(key)}
    if any(stored.control.data == data for stored in copies.values()):
        return {}
    key = keys.manifest_copy_key(certified.run_id)
    if key in copies:  # somebody has changed that run's copy; the certified bytes get a name of their own
        key = keys.manifest_copy_key(f"{certified.run_id}.{fingerprint(data).removeprefix('xxh3:')}")
    return {key: data}


class Publisher:
    """Publishes one manifest at one prefix, step by step.

    Args:
        destination: the prefix.
        conditional: the destination honours conditions on ``put``. Without them one writer per prefix is a
            documented requirement, and the look at ``_SUCCESS`` before publishing is the check.
        guard: called before every step; raises if this process lost its lease.
    """

    def __init__(self, destination: Destination, *, conditional: bool, guard: Callable[[], None]) -> None:
        self._destination = destination
        self._conditional = conditional
        self._guard = guard

    def publish(self, content: Manifest, data: bytes, baseline: Baseline) -> Mapping[str, ObjectInfo]:
        """Run every step up to and including the commit point.

        Args:
            data: the manifest's exact bytes.

        Returns:
            Every object under the prefix by key, listed before the commit point.

        Raises:
            LostRace: another writer published since ``baseline``; its dataset stays certified and this run's parts
                stay as untracked objects.
            IntegrityError: a part is not at the destination as it was written.
        """
        self._guard()
        listing = self._prove_parts(content, baseline)
        for key, certified in baseline.unsaved.items():
            # Overwriting manifest.json would leave the marker without the manifest that it certifies.
            self._guard()
            self._put(key, certified, IfAbsent())
        self._guard()
        self._put(keys.manifest_copy_key(content.run_id), data, IfAbsent())
        self._guard()
        self._refuse_if_published(baseline)
        current = self._put_manifest(data, baseline)
        try:
            self._guard()
            self._put_success(success.success_marker(data), baseline)
        except (LostRace, PreconditionFailed):
            self._put_back(current)
            raise
        return listing

    def is_certified(self, data: bytes) -> bool:
        """Whether ``_SUCCESS`` certifies exactly this manifest; settles a commit that was interrupted."""
        stored = read_success(self._destination)
        return stored is not None and stored.data == success.success_marker(data)

    def _prove_parts(self, content: Manifest, baseline: Baseline) -> Mapping[str, ObjectInfo]:
        listing = {info.key: info for info in self._destination.list()}
        for part in content.parts:
            finding = compare_part(self._destination, part, listing.get(part.path))
            if finding != "same":
                self._refuse_if_published(baseline)
                raise IntegrityError(
                    f"{part.path} is not as it was written: {finding}",
                    hint="another process changes objects at this prefix; nothing was published, run again",
                )
        return listing

    def _refuse_if_published(self, baseline: Baseline) -> None:
        now = read_success(self._destination)
        if (now.info.version if now else None) != baseline.success:
            raise LostRace(f"another run published at {self._destination.uri} since this one started", hint=_LOST_HINT)

    def _put_manifest(self, data: bytes, baseline: Baseline) -> ObjectInfo:
        self._guard()
        condition = IfAbsent() if baseline.manifest is None else IfVersion(baseline.manifest)
        return self._put(keys.MANIFEST, data, condition)

    def _put_success(self, marker: bytes, baseline: Baseline) -> None:
        condition = IfAbsent() if baseline.success is None else IfVersion(baseline.success)
        self._put(keys.SUCCESS, marker, condition)

    def _put(self, key: str, data: bytes, condition: Condition) -> ObjectInfo:
        try:
            return self._destination.put(key, data, condition=condition if self._conditional else None)
        except PreconditionFailed as error:
            raise LostRace(
                f"another run wrote {key} at {self._destination.uri} since this one started", hint=_LOST_HINT
            ) from error

    def _put_back(self, ours: ObjectInfo) -> None:
        """Restore the certified ``manifest.json``, unless somebody has replaced ours already. Best effort."""
        try:
            stored = read_success(self._destination)
            if stored is None or not self._conditional:
                return
            for info in list(self._destination.list("manifest-")):
                copy = read_manifest(self._destination, info.key) if keys.is_manifest_copy(info.key) else None
                if copy is not None and success.success_marker(copy.control.data) == stored.data:
                    self._destination.put(keys.MANIFEST, copy.control.data, condition=IfVersion(ours.version))
                    return
        except DestinationError:
            return  # readers resolve _SUCCESS by its fingerprint; manifest.json is only the shortest way
