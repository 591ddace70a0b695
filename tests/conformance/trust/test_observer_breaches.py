"""The observer sees every way in which a prefix can break the contract, and names the invariant."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rivet_core.testing.destination.observer import (
    Breach,
    Damage,
    check_instant,
    check_step,
)
from rivet_core.testing.destination.scenario import Workbench

Objects = dict[str, bytes]


@pytest.fixture
def objects(workbench: Workbench) -> Objects:
    """What two real runs leave."""
    with workbench.scenario("observed") as scenario:
        scenario.run()
        scenario.run()
        return dict(scenario.objects)


def part_of(objects: Objects) -> str:
    return min(key for key in objects if key.startswith("part-"))


def quarantined(objects: Objects) -> str:
    return min(key for key in objects if key.startswith("_quarantine/"))


def certified_copy(objects: Objects) -> str:
    return f"manifest-{json.loads(objects['manifest.json'])['run_id']}.json"


def rewritten(objects: Objects, **fields: object) -> bytes:
    return json.dumps(json.loads(objects["manifest.json"]) | fields).encode()


def lose_superseded_parts(objects: Objects) -> None:
    for key in [key for key in objects if key.startswith("_quarantine/")]:
        del objects[key]


def uncertify_and_lose_a_part(objects: Objects) -> None:
    del objects["_SUCCESS"], objects[part_of(objects)]


def drop_manifests(objects: Objects) -> None:
    del objects[certified_copy(objects)], objects["manifest.json"]


BREACHES: dict[str, tuple[str, Callable[[Objects], object]]] = {
    "a manifest lists a part that nobody committed": ("M1", uncertify_and_lose_a_part),
    "the parts of an older manifest are nowhere": ("M1", lose_superseded_parts),
    "a part that no marker certifies any more was cut": (
        "M1",
        lambda objects: objects.update({quarantined(objects): objects[quarantined(objects)][:-1]}),
    ),
    "the marker certifies no manifest that is there": ("M2", drop_manifests),
    "the marker is no fingerprint": ("M2", lambda objects: objects.update({"_SUCCESS": b"done\n"})),
    "the marker has no newline": ("M2", lambda objects: objects.update({"_SUCCESS": objects["_SUCCESS"][:-1]})),
    "two manifests of one run": (
        "M4",
        lambda objects: objects.update({"manifest.json": rewritten(objects, row_count=3)}),
    ),
    "a certified part is missing": ("M5", lambda objects: objects.pop(part_of(objects))),
    "half a manifest": (
        "M7",
        lambda objects: objects.update({"manifest.json": objects["manifest.json"][:100]}),
    ),
    "a manifest of another kind of JSON": ("M7", lambda objects: objects.update({"manifest.json": b"[]"})),
}


@pytest.mark.parametrize("what", BREACHES)
def test_a_broken_prefix_is_a_breach_of_its_invariant(objects: Objects, what: str) -> None:
    invariant, spoil = BREACHES[what]
    assert check_instant(objects) is not None
    spoil(objects)
    with pytest.raises(Breach, match=f"^{invariant}:"):
        check_instant(objects)


def test_a_certified_part_that_is_only_in_quarantine_is_a_breach(objects: Objects) -> None:
    key = part_of(objects)
    objects[f"_quarantine/other/{key}"] = objects.pop(key)
    with pytest.raises(Breach, match=f"^M5: {key} is certified and is missing"):
        check_instant(objects)


def test_damage_by_somebody_else_is_not_held_against_the_plugin(objects: Objects) -> None:
    key = part_of(objects)
    objects[key] = b"damaged"
    found = check_instant(objects, Damage({}, {key}))
    assert found is not None
    assert not found.intact
    objects["manifest.json"] = b"damaged"
    assert check_instant(objects, Damage({"manifest.json": b"damaged"}, {key})) is not None
    with pytest.raises(Breach, match=r"^M7:"):
        check_instant(objects, Damage({"manifest.json": b"something else"}, {key}))


def test_what_a_run_may_do_is_no_breach(objects: Objects) -> None:
    key = part_of(objects)
    after = dict(objects)
    after[f"_quarantine/later/{key}.2"] = after.pop(key)
    check_step(objects, after, targets={f"_quarantine/later/{key}.2"})


STEPS: dict[str, tuple[str, Callable[[Objects], object]]] = {
    "a part was deleted": ("M9", lambda after: after.pop(part_of(after))),
    "a part was overwritten": ("M9", lambda after: after.update({part_of(after): b"other"})),
    "quarantine was emptied": ("M9", lambda after: after.pop(quarantined(after))),
    "a stranger was touched": ("M9", lambda after: after.pop("notes.txt")),
    "an immutable manifest was amended": (
        "M4",
        lambda after: after.update({certified_copy(after): rewritten(after, row_count=3)}),
    ),
    "a part appeared that was not committed": ("M7", lambda after: after.update({"part-000009.parquet": b"half"})),
    "the marker was written unasked": ("M7", lambda after: after.update({"_SUCCESS": b"xxh3:0123456789abcdef\n"})),
}


@pytest.mark.parametrize("what", STEPS)
def test_a_destructive_step_is_a_breach(objects: Objects, what: str) -> None:
    objects["notes.txt"] = b"mine"
    invariant, spoil = STEPS[what]
    after = dict(objects)
    spoil(after)
    with pytest.raises(Breach, match=f"^{invariant}:"):
        check_step(objects, after, targets=(), strangers=["notes.txt"])
