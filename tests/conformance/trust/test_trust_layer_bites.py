"""Destinations that break the contract fail the stateful and the trust layer, and the failure tells the scenario."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import pytest

from rivet_core.api import Destination, DestinationSpec, ObjectInfo, PreconditionFailed
from rivet_core.testing.destination.observer import Breach
from rivet_core.testing.destination.scenario import Workbench
from rivet_core.testing.destination.stateful import StatefulTests
from rivet_core.testing.destination.trust import TrustTests
from rivet_core.testing.harness import Harness
from rivet_local.destination import LocalDestination
from rivet_local.objects import LocalWriter


def told(failure: pytest.ExceptionInfo[BaseException]) -> str:
    """What an author reads: the message and the notes."""
    return "\n".join([str(failure.value), *failure.value.__notes__])


def cut_on_move(patch: pytest.MonkeyPatch) -> None:
    move = LocalDestination.move

    def broken(self: LocalDestination, source: ObjectInfo, target: str) -> ObjectInfo:
        moved = move(self, source, target)
        with self.open_reader(target) as reader:
            data = reader.read()
        self.put(target, data[: len(data) // 2])
        return moved

    patch.setattr(LocalDestination, "move", broken)


def move_that_deletes_first(patch: pytest.MonkeyPatch) -> None:
    def broken(self: LocalDestination, source: ObjectInfo, target: str) -> ObjectInfo:
        with self.open_reader(source.key, version=source.version) as reader:
            data = reader.read()
        self.delete(source.key)
        if self.head(target):
            raise PreconditionFailed(f"{target} exists already")
        return self.put(target, data)

    patch.setattr(LocalDestination, "move", broken)


def visible_before_commit(patch: pytest.MonkeyPatch) -> None:
    write, commit = LocalWriter.write, LocalWriter.commit

    def broken_write(self: LocalWriter, data: Any) -> int:
        (self._tree.root / self._key).write_bytes(bytes(data))
        return write(self, data)

    def broken_commit(self: LocalWriter) -> ObjectInfo:
        (self._tree.root / self._key).unlink(missing_ok=True)
        return commit(self)

    patch.setattr(LocalWriter, "write", broken_write)
    patch.setattr(LocalWriter, "commit", broken_commit)


def manifest_written_at_close(patch: pytest.MonkeyPatch) -> None:
    put, close = LocalDestination.put, LocalDestination.close

    def broken_put(self: Any, key: str, data: bytes, *, condition: Any = None) -> ObjectInfo:
        if not key.startswith("manifest"):
            return put(self, key, data, condition=condition)
        vars(self).setdefault("late", {})[key] = data
        return ObjectInfo(key, len(data), "1")

    def broken_close(self: Any) -> None:
        for key, data in vars(self).pop("late", {}).items():
            put(self, key, data)
        close(self)

    patch.setattr(LocalDestination, "put", broken_put)
    patch.setattr(LocalDestination, "close", broken_close)


def list_without_the_last(patch: pytest.MonkeyPatch) -> None:
    list_ = LocalDestination.list
    patch.setattr(LocalDestination, "list", lambda self, prefix="": iter([*list_(self, prefix)][:-1]))


def sizes_from_memory(patch: pytest.MonkeyPatch) -> None:
    list_ = LocalDestination.list
    known: dict[str, ObjectInfo] = {}

    def broken(self: LocalDestination, prefix: str = "") -> Iterator[ObjectInfo]:
        for info in list_(self, prefix):
            yield replace(known.setdefault(self.uri + info.key, info), key=info.key)

    patch.setattr(LocalDestination, "list", broken)


def put_despite_the_condition(patch: pytest.MonkeyPatch) -> None:
    put = LocalDestination.put

    def broken(self: LocalDestination, key: str, data: bytes, *, condition: object = None) -> ObjectInfo:
        return put(self, key, data)

    patch.setattr(LocalDestination, "put", broken)


def pinned_delete_takes_any_version(patch: pytest.MonkeyPatch) -> None:
    delete = LocalDestination.delete

    def broken(self: LocalDestination, key: str, *, version: object = None) -> None:
        delete(self, key)

    patch.setattr(LocalDestination, "delete", broken)


def stale_read_after_overwrite(patch: pytest.MonkeyPatch) -> None:
    open_reader = LocalDestination.open_reader
    cache: dict[str, bytes] = {}

    def broken(self: LocalDestination, key: str, **options: Any) -> BinaryIO:
        with open_reader(self, key, **options) as reader:
            return io.BytesIO(cache.setdefault(f"{self.uri}{key}{options}", reader.read()))

    patch.setattr(LocalDestination, "open_reader", broken)


TRUST: dict[Callable[[pytest.MonkeyPatch], None], tuple[str, str]] = {
    cut_on_move: ("test_runs_replace_the_dataset_and_certify_it", r"M9: part-000001\S* was deleted and is not in"),
    visible_before_commit: (
        "test_a_crash_after_any_operation_keeps_the_contract",
        "M7: part-000001.parquet is visible",
    ),
    manifest_written_at_close: ("test_a_crash_after_any_operation_keeps_the_contract", "M2: no manifest"),
    list_without_the_last: ("test_runs_replace_the_dataset_and_certify_it", "M8: a run that nothing disturbed failed"),
}


@pytest.mark.parametrize("breakage", TRUST, ids=lambda breakage: breakage.__name__)
def test_the_trust_layer_names_the_invariant_that_breaks(
    monkeypatch: pytest.MonkeyPatch, workbench: Workbench, breakage: Callable[[pytest.MonkeyPatch], None]
) -> None:
    test, message = TRUST[breakage]
    breakage(monkeypatch)
    with pytest.raises(Breach, match=message) as failure:
        getattr(TrustTests(), test)(workbench, "broken")
    story = told(failure)
    assert "scenario, from a fresh prefix:\n  1. run: " in story
    assert len(story.splitlines()) < 8, story


@pytest.mark.parametrize("breakage", [cut_on_move, list_without_the_last])
def test_the_trust_machine_finds_a_short_scenario(
    monkeypatch: pytest.MonkeyPatch, workbench: Workbench, breakage: Callable[[pytest.MonkeyPatch], None]
) -> None:
    breakage(monkeypatch)
    with pytest.raises(Breach) as failure:
        TrustTests().test_any_sequence_of_runs_crashes_and_damage_keeps_the_contract(workbench, "broken")
    steps = [line for line in failure.value.__notes__[0].splitlines() if line.startswith("  ")]
    assert 1 <= len(steps) <= 2, steps


def test_a_store_that_ignores_conditions_loses_the_race(
    monkeypatch: pytest.MonkeyPatch, workbench: Workbench, spec: DestinationSpec
) -> None:
    put_despite_the_condition(monkeypatch)
    # Between the look at _SUCCESS and the write of manifest.json only the condition stands: without it both publish,
    # and one has moved the part of the other aside as untracked.
    with pytest.raises(Breach, match=r"M5: part-000001.parquet is certified and is missing") as failure:
        TrustTests().test_a_run_that_comes_in_between_wins(workbench, spec, "broken")
    assert "another run before operation 15, put manifest.json; succeeded; the other run succeeded" in told(failure)


STATEFUL: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    move_that_deletes_first: "move .* to ",
    put_despite_the_condition: "put .*If",
    pinned_delete_takes_any_version: "delete .*, older version",
    stale_read_after_overwrite: "bytes",
    sizes_from_memory: "bytes",
}


@pytest.mark.parametrize("breakage", STATEFUL, ids=lambda breakage: breakage.__name__)
def test_the_stateful_layer_finds_a_short_sequence(
    monkeypatch: pytest.MonkeyPatch,
    open_store: Callable[[str], Destination],
    spec: DestinationSpec,
    harness: Harness,
    breakage: Callable[[pytest.MonkeyPatch], None],
) -> None:
    breakage(monkeypatch)
    with pytest.raises(AssertionError) as failure:
        StatefulTests().test_any_sequence_of_operations_does_what_a_dictionary_does(open_store, spec, harness, "broken")
    steps = [line for line in failure.value.__notes__[0].splitlines() if line.startswith("  ")]
    assert len(steps) <= 6, steps
    assert re.search(STATEFUL[breakage], steps[-1]), steps


def test_the_unbroken_destination_passes_the_machines(
    workbench: Workbench, open_store: Callable[[str], Destination], spec: DestinationSpec, harness: Harness
) -> None:
    StatefulTests().test_any_sequence_of_operations_does_what_a_dictionary_does(open_store, spec, harness, "model")
    TrustTests().test_any_sequence_of_runs_crashes_and_damage_keeps_the_contract(workbench, "trust")
