"""Every state that a prefix can be in, built from real bytes, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivet_core.contract.control import read_control_objects
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.keys import MANIFEST, SUCCESS, is_manifest_copy, manifest_copy_key
from rivet_core.contract.manifest import Manifest, Part, encode
from rivet_core.contract.success import success_marker
from rivet_core.contract.verdict import Certified, Marker, PrefixFacts, PublishedManifest, Verdict, judge

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
MakeRun = Callable[..., "Run"]


@dataclass
class Run:
    """One run's objects: what it writes, in the order in which it publishes."""

    manifest: Manifest
    data: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.data = encode(self.manifest)

    @property
    def parts(self) -> dict[str, bytes]:
        return {part.path: f"content of part {part.part_id}".encode() for part in self.manifest.parts}

    @property
    def copy(self) -> dict[str, bytes]:
        return {manifest_copy_key(self.manifest.run_id): self.data}

    @property
    def published(self) -> dict[str, bytes]:
        return {MANIFEST: self.data}

    @property
    def marker(self) -> dict[str, bytes]:
        return {SUCCESS: success_marker(self.data)}

    @property
    def everything(self) -> dict[str, bytes]:
        return self.parts | self.copy | self.published | self.marker


@pytest.fixture
def make_run(make_manifest: Callable[..., Manifest], make_part: Callable[..., Part]) -> MakeRun:
    def make(number: int, *, starts: timedelta = timedelta(0), lasts: timedelta = timedelta(hours=1)) -> Run:
        """Return run ``number`` with two parts of its own; ``starts`` is counted from ``START``."""
        return Run(
            make_manifest(
                run_id=f"orders_{number}",
                started_at=START + starts,
                finished_at=START + starts + lasts,
                parts=(
                    make_part(1, path=f"part-{number * 2 - 1:06d}.parquet"),
                    make_part(2, path=f"part-{number * 2:06d}.parquet"),
                ),
            )
        )

    return make


def verdict(prefix: dict[str, bytes]) -> Verdict:
    """Judge a prefix as ``rivet validate`` does, its parts by size and content."""
    manifests = {key: data for key, data in prefix.items() if key == MANIFEST or is_manifest_copy(key)}
    control = read_control_objects(prefix.get(SUCCESS), manifests)
    parts_failed = control.certified is not None and any(
        fingerprint(prefix.get(part.path, b"")) != part.content_fingerprint for part in control.certified.parts
    )
    result = judge(control.facts(prefix, parts_failed=parts_failed))
    if result in {Verdict.STALE_MARKER, Verdict.TAMPERED}:
        assert control.problems, "a failed verdict says what is wrong"
    if result is Verdict.VERIFIED:
        assert control.problems == ()
    return result


def test_a_run_killed_before_the_first_dataset_is_published(make_run: MakeRun) -> None:
    run = make_run(1)
    first_part = dict(list(run.parts.items())[:1])
    states = [
        ({}, Verdict.ABSENT),
        (first_part, Verdict.UNFINISHED),
        (run.parts, Verdict.UNFINISHED),
        (run.parts | run.copy, Verdict.UNFINISHED),
        (run.parts | run.copy | run.published, Verdict.UNCERTIFIED),
        (run.everything, Verdict.VERIFIED),
    ]
    assert [verdict(prefix) for prefix, _ in states] == [expected for _, expected in states]


def test_a_run_without_rows_killed_before_it_published(make_run: MakeRun) -> None:
    run = make_run(1)
    empty = Run(run.manifest.model_copy(update={"parts": (), "row_count": 0, "part_count": 0}))
    assert verdict(empty.copy) is Verdict.UNFINISHED
    assert verdict(empty.everything) is Verdict.VERIFIED


def test_a_run_killed_anywhere_over_a_published_dataset(make_run: MakeRun) -> None:
    old, new = make_run(1), make_run(2, starts=timedelta(days=1))
    prefix = old.everything
    states = [(prefix.copy(), Verdict.VERIFIED)]

    def step(change: dict[str, bytes], expected: Verdict, *removed: str) -> None:
        prefix.update(change)
        for key in removed:
            del prefix[key]
        states.append((prefix.copy(), expected))

    for key, data in new.parts.items():
        step({key: data}, Verdict.VERIFIED)
    step(new.copy, Verdict.VERIFIED)
    step(new.published, Verdict.PENDING_PUBLISH)
    step(new.marker, Verdict.VERIFIED)
    for key, data in old.parts.items():
        step({f"_quarantine/orders_2/{key}": data}, Verdict.VERIFIED)
        step({}, Verdict.VERIFIED, key)
    step({}, Verdict.VERIFIED, *old.copy)
    assert [verdict(state) for state, _ in states] == [expected for _, expected in states]


def test_a_dataset_without_an_immutable_copy_is_copied_before_the_next_run_overwrites_it(make_run: MakeRun) -> None:
    old, new = make_run(1), make_run(2, starts=timedelta(days=1))
    prefix = old.parts | old.published | old.marker
    assert verdict(prefix) is Verdict.VERIFIED
    prefix |= new.parts | new.copy | old.copy
    assert verdict(prefix) is Verdict.VERIFIED
    assert verdict(prefix | new.published) is Verdict.PENDING_PUBLISH


@pytest.mark.parametrize("starts", [timedelta(minutes=-30), timedelta(0), timedelta(minutes=30)])
@pytest.mark.parametrize("lasts", [timedelta(minutes=45), timedelta(hours=2)])
def test_the_loser_of_a_race_killed_before_it_put_the_winner_back(
    make_run: MakeRun, starts: timedelta, lasts: timedelta
) -> None:
    winner, loser = make_run(1), make_run(2, starts=starts, lasts=lasts)
    prefix = winner.everything | loser.parts | loser.copy | loser.published
    assert verdict(prefix) is Verdict.PENDING_PUBLISH
    # The winner's clean-up may already have moved the loser's untracked parts.
    assert verdict({key: data for key, data in prefix.items() if key not in loser.parts}) is Verdict.PENDING_PUBLISH
    assert verdict(prefix | winner.published) is Verdict.VERIFIED


def test_an_older_manifest_put_back_over_a_newer_dataset_is_tampering(make_run: MakeRun) -> None:
    old, new = make_run(1), make_run(2, starts=timedelta(days=1))
    assert verdict(old.everything | new.everything | old.published) is Verdict.TAMPERED


def test_what_somebody_else_does_to_a_published_prefix(make_run: MakeRun) -> None:
    run, unrelated = make_run(1), make_run(7)
    path, other_path = run.parts
    clean = run.everything
    edited = run.data.replace(b'"orders"', b'"others"', 1)
    version_2 = run.data.replace(b'"manifest_version": 1', b'"manifest_version": 2')
    traversal = run.data.replace(path.encode(), b"../outside.parquet")
    failed = run.data.replace(b'"status": "success"', b'"status": "failed"')
    copy_key = next(iter(run.copy))

    def without(*keys: str) -> dict[str, bytes]:
        return {key: data for key, data in clean.items() if key not in keys}

    states = {
        "a part is deleted": (without(path), Verdict.PARTS_FAILED),
        "a part is truncated": (clean | {path: clean[path][:-1]}, Verdict.PARTS_FAILED),
        "a byte is flipped": (clean | {path: clean[path].replace(b"c", b"d", 1)}, Verdict.PARTS_FAILED),
        "two parts are swapped": (clean | {path: clean[other_path], other_path: clean[path]}, Verdict.PARTS_FAILED),
        "an object is added": (clean | {"README.md": b"hello", "part-000900.parquet": b"x"}, Verdict.VERIFIED),
        "_SUCCESS is deleted": (without(SUCCESS), Verdict.UNCERTIFIED),
        "_SUCCESS is emptied": (clean | {SUCCESS: b""}, Verdict.TAMPERED),
        "_SUCCESS has another fingerprint": (clean | unrelated.marker, Verdict.STALE_MARKER),
        "only _SUCCESS and parts are left": (without(MANIFEST, copy_key), Verdict.STALE_MARKER),
        "all manifests and _SUCCESS are deleted": (without(MANIFEST, copy_key, SUCCESS), Verdict.UNFINISHED),
        "manifest.json is deleted": (without(MANIFEST), Verdict.TAMPERED),
        "manifest.json is edited": (clean | {MANIFEST: edited}, Verdict.TAMPERED),
        "manifest.json is replaced": (clean | unrelated.published, Verdict.TAMPERED),
        "manifest.json is garbage": (clean | {MANIFEST: b"\xff" * 100}, Verdict.TAMPERED),
        "manifest.json is edited, no copy": (
            {key: data for key, data in clean.items() if key != copy_key} | {MANIFEST: edited},
            Verdict.STALE_MARKER,
        ),
        "the copy is deleted": (without(copy_key), Verdict.VERIFIED),
        "the copy is edited": (clean | {copy_key: edited}, Verdict.TAMPERED),
        "both manifests are edited": (clean | {MANIFEST: edited, copy_key: edited}, Verdict.STALE_MARKER),
        "a copy of another run is garbage": (clean | {"manifest-orders_0.json": b"{"}, Verdict.VERIFIED),
        "version 2 is certified": (clean | {MANIFEST: version_2, SUCCESS: success_marker(version_2)}, Verdict.TAMPERED),
        "a path leaves the prefix": (
            clean | {MANIFEST: traversal, SUCCESS: success_marker(traversal)},
            Verdict.TAMPERED,
        ),
        "a failed run is certified": (clean | {MANIFEST: failed, SUCCESS: success_marker(failed)}, Verdict.TAMPERED),
    }
    assert {what: verdict(prefix) for what, (prefix, _) in states.items()} == {
        what: expected for what, (_, expected) in states.items()
    }


def test_prefixes_that_were_never_ours(make_run: MakeRun) -> None:
    run = make_run(1)
    spark = {"part-00000-9c4f-c000.snappy.parquet": b"x"}
    assert verdict(spark) is Verdict.LEGACY_RUN
    assert verdict(spark | {SUCCESS: b""}) is Verdict.LEGACY_RUN
    assert verdict({SUCCESS: b""}) is Verdict.TAMPERED
    assert verdict(spark | run.parts) is Verdict.UNFINISHED
    assert verdict(spark | run.parts | {SUCCESS: b""}) is Verdict.TAMPERED
    assert verdict({"_quarantine/orders_1/part-000001.parquet": b"x"}) is Verdict.ABSENT


def test_only_what_is_needed_is_loaded(make_run: MakeRun) -> None:
    run = make_run(1)
    loaded: list[str] = []

    class Lazy(dict[str, bytes]):
        def get(self, key: str, default: bytes | None = None) -> bytes | None:
            loaded.append(key)
            return super().get(key, default)

    copies = {f"manifest-orders_{number}.json": b"old" for number in range(2, 12)}
    read_control_objects(run.marker[SUCCESS], Lazy(run.published | run.copy | copies))
    assert set(loaded) == {MANIFEST, "manifest-orders_1.json"}


ALL_FACTS = [
    PrefixFacts(marker, published, certified, *booleans)
    for marker, published, certified in product(Marker, PublishedManifest, Certified)
    for booleans in product((False, True), repeat=5)
]


def test_a_prefix_is_usable_only_if_nothing_contradicts_it() -> None:
    for facts in ALL_FACTS:
        result = judge(facts)
        assert (result.exit_code == 0) == (result in {Verdict.VERIFIED, Verdict.PENDING_PUBLISH, Verdict.LEGACY_RUN})
        if result in {Verdict.VERIFIED, Verdict.PENDING_PUBLISH}:
            assert facts.marker is Marker.PRESENT
            assert facts.certified is Certified.VALID
            assert facts.published in {PublishedManifest.CERTIFIED, PublishedManifest.PENDING}
            assert not facts.parts_failed
            assert not facts.copy_differs
        if result is Verdict.LEGACY_RUN:
            assert facts.has_data
            assert not facts.has_parts
            assert not facts.has_copies
            assert facts.marker is not Marker.PRESENT
            assert facts.published is PublishedManifest.ABSENT


def test_every_verdict_can_happen_and_says_what_it_means() -> None:
    assert {judge(facts) for facts in ALL_FACTS} == set(Verdict)
    assert len({verdict.meaning for verdict in Verdict}) == len(Verdict)
    assert {verdict.exit_code for verdict in Verdict} == {0, 3}


@settings(deadline=None)  # shared machines pause
@given(st.none() | st.binary(max_size=60), st.dictionaries(st.sampled_from([MANIFEST, "manifest-a.json"]), st.binary()))
def test_no_bytes_at_the_control_objects_crash_the_reader(success: bytes | None, manifests: dict[str, bytes]) -> None:
    control = read_control_objects(success, manifests)
    assert judge(control.facts(manifests, parts_failed=False)).exit_code in {0, 3}
