"""What happens to old objects after the commit point: planned as a pure function, carried out best effort."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from rivet_core.api import Destination, NotFound, ObjectInfo, PreconditionFailed
from rivet_core.contract.control import read_control_objects
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.keys import MANIFEST, SUCCESS, manifest_copy_key
from rivet_core.contract.manifest import Extraction, Manifest, ManifestDestination, ManifestSource, Part, encode
from rivet_core.contract.success import success_marker
from rivet_core.engine.prefix import Control, PrefixView, StoredManifest
from rivet_core.engine.tidy import KEPT_MANIFESTS, TidyPlan, plan_tidying, tidy
from rivet_local.destination import LocalDestination

Superseded = Literal["quarantine", "keep", "delete"]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def manifest(run_id: str, *numbers: int, hour: int = 0) -> Manifest:
    """The manifest of a run at that hour, whose parts hold their own names."""
    parts = tuple(
        Part(
            part_id=part_id,
            path=f"part-{number:06}.csv",
            rows=1,
            size_bytes=len(f"part-{number:06}.csv"),
            content_fingerprint=fingerprint(f"part-{number:06}.csv".encode()),
        )
        for part_id, number in enumerate(numbers, start=1)
    )
    return Manifest(
        manifest_version=1,
        run_id=run_id,
        export_name="orders",
        started_at=NOON + timedelta(hours=hour),
        finished_at=NOON + timedelta(hours=hour, minutes=1),
        status="success",
        source=ManifestSource(engine="sqlite", extraction=Extraction(strategy="full")),
        destination=ManifestDestination(kind="local", uri="file:///out/"),
        format="csv",
        compression="none",
        row_count=len(parts),
        part_count=len(parts),
        parts=parts,
    )


def objects(*keys: str) -> dict[str, ObjectInfo]:
    return {key: ObjectInfo(key, len(key), version=f"v-{key}") for key in sorted(keys)}


def view(*runs: Manifest, certified: Manifest | None = None) -> PrefixView:
    """A prefix with the immutable manifests of ``runs``, and the marker and manifest.json of the certified one."""
    contents = {manifest_copy_key(run.run_id): run for run in runs}
    if certified is not None:
        contents[MANIFEST] = certified
    data = {key: encode(content) for key, content in contents.items()}
    marker = None if certified is None else success_marker(encode(certified))
    listing = objects(*data, SUCCESS)
    return PrefixView(
        success=None if marker is None else Control(marker, listing[SUCCESS]),
        control=read_control_objects(marker, data),
        manifests={key: StoredManifest(Control(data[key], listing[key]), content) for key, content in contents.items()},
        listing=listing,
    )


def summary(plan: TidyPlan) -> dict[str, list[str]]:
    return {
        "aside": [info.key for info in plan.aside],
        "delete": [info.key for info, _ in plan.delete],
        "prune": [info.key for info in plan.prune],
        "report": list(plan.report),
    }


OLD, NEW = manifest("old", 1, 2), manifest("new", 3, hour=1)
BEFORE = view(OLD, certified=OLD)
EVERYTHING = objects(
    *("part-000001.csv", "part-000002.csv", "part-000003.csv"),
    *(MANIFEST, SUCCESS, "manifest-old.json", "manifest-new.json", "_quarantine/older/part-000001.csv"),
)


@pytest.mark.parametrize(("superseded", "where"), [("quarantine", "aside"), ("keep", "nowhere"), ("delete", "delete")])
def test_the_configuration_decides_about_the_parts_of_the_dataset_before(superseded: Superseded, where: str) -> None:
    expected: dict[str, list[str]] = {"aside": [], "delete": [], "prune": [], "report": []}
    found = summary(plan_tidying(EVERYTHING, NEW, BEFORE, superseded))
    assert found == expected | ({where: ["part-000001.csv", "part-000002.csv"]} if where in expected else {})


@pytest.mark.parametrize("superseded", ["quarantine", "keep", "delete"])
def test_parts_that_no_dataset_lists_always_go_aside(superseded: Superseded) -> None:
    dead = manifest("dead", 7, hour=2)  # it published nothing: its manifest ended after the certified one
    listing = EVERYTHING | objects("part-000007.csv", "part-000009.csv", "part-000009-02.csv", "manifest-dead.json")
    plan = plan_tidying(listing, NEW, view(OLD, dead, certified=OLD), superseded)
    aside = ["part-000007.csv", "part-000009-02.csv", "part-000009.csv"]
    assert [key for key in summary(plan)["aside"] if key >= "part-000007"] == aside
    assert not any(key >= "part-000007" for key in summary(plan)["delete"])


def test_a_part_of_another_size_than_recorded_is_never_deleted() -> None:
    listing = EVERYTHING | {"part-000001.csv": replace(EVERYTHING["part-000001.csv"], size_bytes=3)}
    found = summary(plan_tidying(listing, NEW, BEFORE, "delete"))
    assert (found["aside"], found["delete"]) == (["part-000001.csv"], ["part-000002.csv"])


@pytest.mark.parametrize(
    "key",
    ["notes.txt", "part-1.csv", "part-000001.csv.bak", "2026/part-000001.csv", "part-000000.csv", "PART-000001.csv"],
)
@pytest.mark.parametrize("superseded", ["quarantine", "delete"])
def test_what_is_not_named_like_a_part_is_reported_and_never_touched(key: str, superseded: Superseded) -> None:
    found = summary(plan_tidying(EVERYTHING | objects(key), NEW, BEFORE, superseded))
    assert found["report"] == [key]
    assert key not in found["aside"] + found["delete"] + found["prune"]


def test_without_a_certified_dataset_every_old_part_is_untracked() -> None:
    assert summary(plan_tidying(EVERYTHING, NEW, view(OLD), "delete"))["aside"] == [
        "part-000001.csv",
        "part-000002.csv",
    ]


def history(count: int) -> list[Manifest]:
    return [manifest(f"run{number:02}", number, hour=number) for number in range(1, count + 1)]


def copies(runs: Iterable[Manifest]) -> dict[str, ObjectInfo]:
    return objects(*(manifest_copy_key(run.run_id) for run in runs))


def test_the_newest_manifests_stay_and_the_oldest_go() -> None:
    runs = history(KEPT_MANIFESTS + 3)
    new = manifest("new", 99, hour=99)
    listing = copies([*runs, new])
    plan = plan_tidying(listing, new, view(*runs, certified=runs[-1]), "quarantine")
    assert summary(plan)["prune"] == ["manifest-run03.json", "manifest-run02.json", "manifest-run01.json"]
    assert plan.prune[0] == listing["manifest-run03.json"]  # pinned to the version that was listed


def test_a_manifest_stays_while_its_parts_are_kept() -> None:
    runs = history(KEPT_MANIFESTS + 2)
    new = manifest("new", 99, hour=99)
    listing = copies([*runs, new]) | objects("part-000001.csv")
    plan = plan_tidying(listing, new, view(*runs, certified=runs[-1]), "keep")
    assert summary(plan)["prune"] == ["manifest-run02.json"]


def fill(store: LocalDestination, *keys: str) -> dict[str, ObjectInfo]:
    """Write objects that hold their own names, and list them."""
    for key in keys:
        store.put(key, key.encode())
    return {info.key: info for info in store.list()}


def carry_out(store: Destination, listing: dict[str, ObjectInfo], superseded: Superseded) -> Any:
    plan = plan_tidying(listing, NEW, BEFORE, superseded)
    return tidy(store, plan, "new", rehash=True, guard=lambda: None)


def test_a_part_that_changed_since_the_listing_is_left_alone(store: LocalDestination) -> None:
    for superseded in ("quarantine", "delete"):
        listing = fill(store, "part-000001.csv")
        store.put("part-000001.csv", b"of a writer that came later")
        done = carry_out(store, listing, superseded)
        assert (done.quarantined, done.deleted, done.warnings) == ([], [], [])
        assert [info.key for info in store.list()] == ["part-000001.csv"]


def test_damage_of_the_same_size_is_kept_where_superseded_parts_are_deleted(store: LocalDestination) -> None:
    fill(store, "part-000001.csv", "part-000002.csv")
    store.put("part-000001.csv", b"PART-000001.csv")
    done = carry_out(store, {info.key: info for info in store.list()}, "delete")
    assert (done.quarantined, done.deleted) == (["part-000001.csv"], ["part-000002.csv"])
    assert [info.key for info in store.list()] == ["_quarantine/new/part-000001.csv"]


def test_a_name_that_is_taken_in_quarantine_gets_a_suffix(store: LocalDestination) -> None:
    listing = fill(store, "part-000001.csv", "_quarantine/new/part-000001.csv")
    assert carry_out(store, listing, "quarantine").quarantined == ["part-000001.csv"]
    assert sorted(info.key for info in store.list()) == [
        "_quarantine/new/part-000001.csv",
        "_quarantine/new/part-000001.csv.2",
    ]


@pytest.mark.parametrize("error", [PreconditionFailed("every name is taken"), ZeroDivisionError("a plugin's bug")])
def test_a_store_that_refuses_every_move_ends_in_a_warning(
    store: LocalDestination, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(self: LocalDestination, source: ObjectInfo, target: str) -> ObjectInfo:
        raise error

    monkeypatch.setattr(LocalDestination, "move", refuse)
    done = carry_out(store, fill(store, "part-000001.csv"), "quarantine")
    assert done.quarantined == []
    assert len(done.warnings) == 1
    assert str(error) in done.warnings[0]
    assert store.head("part-000001.csv") is not None


def test_one_part_that_cannot_be_moved_keeps_no_other_back(
    store: LocalDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: LocalDestination, source: ObjectInfo, target: str) -> ObjectInfo:
        if source.key == "part-000001.csv":
            raise NotFound("gone")
        return move(self, source, target)

    move = LocalDestination.move
    monkeypatch.setattr(LocalDestination, "move", gone)
    done = carry_out(store, fill(store, "part-000001.csv", "part-000002.csv"), "quarantine")
    assert (done.quarantined, done.warnings) == (["part-000002.csv"], [])
