"""After the commit point: moves superseded and untracked parts aside and prunes old manifests.

Everything here works from the listing that was taken before the commit point, pinned to the listed versions, so a part
that appeared or changed since is never touched. A run that dies in here leaves the rest to the next one. A failure is a
warning: the new dataset is published and complete without any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rivet_core.api.errors import DestinationError, NotFound, PreconditionFailed, as_rivet_error
from rivet_core.contract import keys
from rivet_core.engine.proof import compare_part

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination, ObjectInfo
    from rivet_core.contract.manifest import Manifest, Part
    from rivet_core.engine.prefix import PrefixView

Superseded = Literal["quarantine", "keep", "delete"]
#: Immutable manifests that stay beside the certified one.
KEPT_MANIFESTS = 10
# A store that says of every name that it is taken has another problem.
_NAMES_TRIED = 5


@dataclass
class Tidied:
    """What was done after the commit point.

    Attributes:
        quarantined: original keys moved aside.
        deleted: keys deleted, because the configuration says so.
        pruned: keys of old manifests deleted.
        reported: keys that are in no manifest and not ours to move.
        warnings: what failed and is left to the next run.
    """

    quarantined: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TidyPlan:
    """What tidying will do; pure, so that it can be read before anything happens."""

    aside: tuple[ObjectInfo, ...]
    delete: tuple[tuple[ObjectInfo, Part], ...]
    prune: tuple[ObjectInfo, ...]
    report: tuple[str, ...]


def plan_tidying(
    listing: Mapping[str, ObjectInfo],
    published: Manifest,
    before: PrefixView,
    superseded: Superseded,
    *,
    stale: Container[str] = (),
) -> TidyPlan:
    """Decide for every listed object.

    Args:
        listing: what was at the prefix before the commit point.
        published: the manifest that ``_SUCCESS`` now certifies.
        before: the prefix at the run's start.
        superseded: what happens to the parts of older datasets; corrupt or untracked parts always go aside.
        stale: parts that go aside, too, because they were wrong.
    """
    ours = {part.path for part in published.parts}
    older = _superseded_parts(before)
    aside: list[ObjectInfo] = []
    delete: list[tuple[ObjectInfo, Part]] = []
    report: list[str] = []
    kept: set[str] = set()
    for key, info in sorted(listing.items()):
        if key in ours or keys.is_control(key):
            continue
        if keys.parse_part_name(key) is None:
            report.append(key)
        elif (part := older.get(key)) is None or part.size_bytes != info.size_bytes or key in stale:
            aside.append(info)
        elif superseded == "keep":
            kept.add(key)
        elif superseded == "delete":
            delete.append((info, part))
        else:
            aside.append(info)
    return TidyPlan(tuple(aside), tuple(delete), _to_prune(listing, published, before, kept), tuple(report))


def tidy(destination: Destination, plan: TidyPlan, run_id: str, *, rehash: bool, guard: Callable[[], None]) -> Tidied:
    """Carry a plan out, best effort: whatever fails is a warning and left to the next run.

    Args:
        run_id: the run that tidies, which names the quarantine.
        rehash: read a part before it is deleted, because the store keeps no checksum that would show damage.
        guard: called before every step; raises if this process lost its lease.
    """
    done = Tidied(reported=list(plan.report))
    try:
        _carry_out(destination, plan, run_id, done, rehash=rehash, guard=guard)
    except Exception as error:  # noqa: BLE001  a plugin's may be anything, and the dataset is published
        done.warnings.append(f"old parts are left to the next run: {as_rivet_error(error).message}")
    return done


def _carry_out(
    destination: Destination, plan: TidyPlan, run_id: str, done: Tidied, *, rehash: bool, guard: Callable[[], None]
) -> None:
    aside = list(plan.aside)
    delete: list[ObjectInfo] = []
    for info, part in plan.delete:
        guard()
        intact = compare_part(destination, part, info, reread=rehash) == "same"
        (delete if intact else aside).append(info)
    taken = {info.key for info in destination.list(keys.QUARANTINE)} if aside else set()
    for info in aside:
        guard()
        if _move_aside(destination, info, run_id, taken, done):
            done.quarantined.append(info.key)
    for info in delete:
        guard()
        if _delete(destination, info, done):
            done.deleted.append(info.key)
    for info in plan.prune:
        guard()
        if _delete(destination, info, done):
            done.pruned.append(info.key)


def _superseded_parts(before: PrefixView) -> dict[str, Part]:
    """The parts of the dataset that was certified and of those before it.

    A manifest that ended later belongs to a run that died before its commit point: nobody was ever promised its parts,
    so they count as untracked.
    """
    certified = before.control.certified
    if certified is None:
        return {}
    older = [stored.content for stored in before.manifests.values() if stored.content is not None]
    return {
        part.path: part
        for content in older
        if content.finished_at <= certified.finished_at
        for part in content.committed_parts()
    }


def _to_prune(
    listing: Mapping[str, ObjectInfo],
    published: Manifest,
    before: PrefixView,
    kept_parts: set[str],
) -> tuple[ObjectInfo, ...]:
    """The copies beyond the newest ten; one whose parts are kept on purpose stays, to say what they are."""
    copies = [
        (stored.content.started_at, key, stored.content)
        for key, stored in before.manifests.items()
        if stored.content is not None and keys.is_manifest_copy(key) and key != keys.manifest_copy_key(published.run_id)
    ]
    copies.sort(key=lambda copy: copy[:2], reverse=True)
    return tuple(
        listing[key]
        for _, key, content in copies[KEPT_MANIFESTS:]
        if key in listing and not kept_parts.intersection(part.path for part in content.parts)
    )


def _move_aside(destination: Destination, info: ObjectInfo, run_id: str, taken: set[str], done: Tidied) -> bool:
    for _ in range(_NAMES_TRIED):
        target = keys.quarantine_key(run_id, info.key, taken)
        taken.add(target)
        try:
            destination.move(info, target)
        except PreconditionFailed as error:
            why = error.message  # somebody has taken the name since the listing
        except NotFound:
            return False  # gone or changed since the listing: not the object that was meant
        except DestinationError as error:
            why = error.message
            break
        else:
            return True
    done.warnings.append(f"{info.key} could not be moved to quarantine: {why}")
    return False


def _delete(destination: Destination, info: ObjectInfo, done: Tidied) -> bool:
    try:
        destination.delete(info.key, version=info.version)
    except DestinationError as error:
        done.warnings.append(f"{info.key} could not be deleted: {error.message}")
        return False
    return True
