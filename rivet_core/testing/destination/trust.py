"""The trust contract over whole runs, wherever they crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from rivet_core.api import DestinationSpec
from rivet_core.contract.verdict import Verdict
from rivet_core.plugins import Registry
from rivet_core.testing.catalog import proves
from rivet_core.testing.destination.crash import Disturbance, Fate
from rivet_core.testing.destination.observer import Snapshot, part_keys
from rivet_core.testing.destination.scenario import Scenario, Workbench
from rivet_core.testing.harness import Harness
from rivet_core.testing.profiles import kit_settings
from rivet_core.testing.suite import not_applicable

# More than a run over a prefix of that history has; a run that has fewer is not disturbed.
_LAST_OPERATION = 40
_FATES = st.sampled_from(["crash before", "crash after", "lose the answer of"])
_STRAY = "part-000050.parquet"
_STRANGER = "notes/read me.txt"


class TrustTests:
    """Whole runs through the plugin, crashed and disturbed, watched by an observer with raw access only."""

    @pytest.fixture
    def workbench(
        self, tmp_path: Path, registry: Registry, spec: DestinationSpec, harness: Harness
    ) -> Iterator[Workbench]:
        """A source to export from, and a state database."""
        workbench = Workbench(tmp_path, registry, spec, harness)
        yield workbench
        workbench.close()

    @proves(
        "T-RUN-1",
        breaks="an export would fail, or certify what is not there",
        hint="the first invariant in the message is the one that broke; docs/contract.md explains each",
    )
    def test_runs_replace_the_dataset_and_certify_it(self, workbench: Workbench, prefix: str) -> None:
        with workbench.scenario(prefix) as scenario:
            scenario.run()
            assert scenario.validate() is Verdict.VERIFIED
            assert scenario.reconcile() == "match"
            first = part_keys(scenario.objects)
            scenario.run()
            assert scenario.validate() is Verdict.VERIFIED
            published = scenario.published
            scenario.repair()
            assert scenario.published == published, "there was nothing to repair, and something was published"
            assert not first & part_keys(scenario.objects), "the parts of the first run were not moved to quarantine"

    @proves(
        "T-CRASH-1",
        breaks="a run that is killed would take the published dataset with it, or leave a prefix that no run can mend",
        hint="the message names the operation before which the run died: what the operations before it have done "
        "must be durable, and what was begun and not committed must not be visible",
    )
    def test_a_crash_before_any_operation_keeps_the_contract(self, workbench: Workbench, prefix: str) -> None:
        _sweep(workbench, prefix, lambda scenario, number: scenario.run(Disturbance(number, "crash before")))

    @proves(
        "T-CRASH-2",
        breaks="a run that is killed would take the published dataset with it, or leave a prefix that no run can mend",
        hint="the message names the operation after which the run died: it must do its whole work before it returns, "
        "and nothing later (no buffered write, no work left to close)",
    )
    def test_a_crash_after_any_operation_keeps_the_contract(self, workbench: Workbench, prefix: str) -> None:
        _sweep(workbench, prefix, lambda scenario, number: scenario.run(Disturbance(number, "crash after")))

    @proves(
        "T-ANSWER-1",
        breaks="a timeout at the wrong moment would make a run report failure for a published dataset, or the reverse",
        hint="after a lost answer the engine looks with head, open_reader and list: they must show the newest state "
        "at once, with the version that the write has given it",
    )
    def test_the_lost_answer_of_any_operation_keeps_the_contract(self, workbench: Workbench, prefix: str) -> None:
        _sweep(workbench, prefix, lambda scenario, number: scenario.run(Disturbance(number, "lose the answer of")))

    @proves(
        "T-RACE-1",
        breaks="of two hosts that export to one prefix the slower one would replace a dataset that it has never seen",
        hint="put must honour IfAbsent and IfVersion, and head must give the version of what is stored now",
        capability="conditional_put",
    )
    def test_a_run_that_comes_in_between_wins(self, workbench: Workbench, spec: DestinationSpec, prefix: str) -> None:
        if not spec.capabilities.conditional_put:
            not_applicable("the destination does not declare conditional_put: one writer per prefix is required")
        _sweep(workbench, prefix, Scenario.race)

    @proves(
        "T-DAMAGE-1",
        breaks="validate would call damaged data verified, or the next run would destroy what could be examined",
        hint="head and list must report size and version (or checksum) of what is stored now, never of what was "
        "written; move must keep every byte",
    )
    @pytest.mark.parametrize("how", ["one byte changed", "cut short", "deleted"])
    def test_damage_to_a_part_is_found_and_kept_for_examination(
        self, workbench: Workbench, prefix: str, how: str
    ) -> None:
        with workbench.scenario(prefix) as scenario:
            scenario.run()
            key = max(part_keys(scenario.objects))
            scenario.damage(key, _damaged(scenario.objects[key], how))
            assert scenario.validate() is Verdict.PARTS_FAILED
            assert scenario.reconcile() == "mismatch"
            scenario.run()
            assert scenario.validate() is Verdict.VERIFIED

    @proves(
        "T-REPAIR-1",
        breaks="rivet repair would lose the parts that were right, or leave the damaged ones in the dataset",
        hint="head and list must tell a damaged part from an intact one, and move must keep every byte",
    )
    @pytest.mark.parametrize("how", ["one byte changed", "deleted"])
    def test_a_repair_writes_the_damaged_part_again_and_keeps_the_others(
        self, workbench: Workbench, prefix: str, how: str
    ) -> None:
        with workbench.scenario(prefix, chunked=True) as scenario:
            scenario.run()
            kept, damaged = sorted(part_keys(scenario.objects))
            scenario.damage(damaged, _damaged(scenario.objects[damaged], how))
            assert scenario.reconcile() == "mismatch"
            scenario.repair()
            assert scenario.reconcile() == "match"
            assert scenario.validate() is Verdict.VERIFIED
            assert kept in part_keys(scenario.objects), "a part that was right was not kept"
            assert damaged not in part_keys(scenario.objects)

    @proves(
        "T-REPAIR-2",
        breaks="a repair that is killed would leave a dataset that is neither the old one nor the repaired one",
        hint="the message names the operation before which the repair died, see T-CRASH-1",
    )
    def test_a_repair_that_crashes_before_any_operation_keeps_the_contract(
        self, workbench: Workbench, prefix: str
    ) -> None:
        with workbench.scenario(f"{prefix}-template", chunked=True) as scenario:
            scenario.run()
            objects = scenario.objects
        damaged = max(part_keys(objects))
        for operation in count(1):
            with workbench.scenario(f"{prefix}-{operation}", objects, chunked=True) as scenario:
                scenario.damage(damaged, _damaged(objects[damaged], "one byte changed"))
                if not scenario.repair(Disturbance(operation, "crash before")):
                    break
                if operation % 2:
                    scenario.repair()
                else:
                    scenario.resume()
                assert scenario.validate() is Verdict.VERIFIED
        assert operation > 9, f"the repair had {operation - 1} operations only, so little was tested"

    @proves(
        "T-STRANGER-1",
        breaks="files of other people under the prefix would be moved or lost, or old data without a manifest would "
        "be refused",
        hint="list must yield every object under the prefix, nested ones too, and nothing else",
    )
    def test_data_without_a_manifest_is_accepted_and_left_alone(self, workbench: Workbench, prefix: str) -> None:
        with workbench.scenario(prefix) as scenario:
            scenario.add(_STRANGER, b"mine")
            assert scenario.validate() is Verdict.LEGACY_RUN
            scenario.add(_STRAY, b"of a run that nobody knows")
            assert scenario.validate() is Verdict.UNFINISHED
            scenario.run()
            assert scenario.validate() is Verdict.VERIFIED

    @proves(
        "T-MACHINE-1",
        breaks="some sequence of runs, crashes and damage would lose data or certify what is not there",
        hint="the message lists the shortest sequence that was found, and the invariant that broke at its end",
    )
    def test_any_sequence_of_runs_crashes_and_damage_keeps_the_contract(
        self, workbench: Workbench, prefix: str
    ) -> None:
        numbers = count(1)

        class Machine(_TrustMachine):
            def __init__(self) -> None:
                super().__init__(Scenario(workbench, f"{prefix}-{next(numbers)}"))

        run_state_machine_as_test(
            Machine,
            settings=settings(
                kit_settings(),
                max_examples=kit_settings().max_examples // 2,
                stateful_step_count=kit_settings().stateful_step_count // 2,
            ),
        )


class _TrustMachine(RuleBasedStateMachine):
    """Any sequence of steps at one prefix; every step proves the contract by itself."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self._scenario = scenario

    @rule()
    def run(self) -> None:
        self._scenario.run()

    @rule(operation=st.integers(1, _LAST_OPERATION), fate=_FATES)
    def run_disturbed(self, operation: int, fate: Fate) -> None:
        self._scenario.run(Disturbance(operation, fate))

    @rule(operation=st.integers(1, _LAST_OPERATION), fate=_FATES)
    def resume_disturbed(self, operation: int, fate: Fate) -> None:
        self._scenario.resume(Disturbance(operation, fate))

    @rule(operation=st.integers(1, _LAST_OPERATION), fate=_FATES)
    def repair_disturbed(self, operation: int, fate: Fate) -> None:
        self._scenario.repair(Disturbance(operation, fate))

    @rule(what=st.sampled_from(["validate", "reconcile", "repair", "resume"]))
    def look_or_mend(self, what: str) -> None:
        getattr(self._scenario, what)()

    @precondition(lambda self: self._scenario.published is not None)
    @rule(
        which=st.sampled_from(["part", "_SUCCESS", "manifest.json", "immutable manifest"]),
        how=st.sampled_from(["deleted", "cut short", "one byte changed"]),
    )
    def damage(self, which: str, how: str) -> None:
        assert self._scenario.published is not None
        run_id = self._scenario.published.run_id
        key = {
            "part": max(self._scenario.published.parts, default=""),
            "immutable manifest": f"manifest-{run_id}.json",
        }.get(which, which)
        data = self._scenario.objects.get(key)
        if data is not None:
            self._scenario.damage(key, _damaged(data, how))

    @rule(key=st.sampled_from([_STRAY, _STRANGER]))
    def add(self, key: str) -> None:
        if key not in self._scenario.objects:
            self._scenario.add(key, b"not of any run")

    def teardown(self) -> None:
        self._scenario.close()


def _sweep(workbench: Workbench, prefix: str, disturb: Callable[[Scenario, int], str]) -> None:
    """Disturb each operation of a run in turn, at an empty prefix and at a published one, and run again each time.

    Args:
        disturb: runs, with something special at the operation of that number; returns what it was.
    """
    for situation, objects in (("empty", {}), ("published", _published(workbench, f"{prefix}-template"))):
        for operation in count(1):
            with workbench.scenario(f"{prefix}-{situation}-{operation}", objects) as scenario:
                if not disturb(scenario, operation):
                    break
                if operation % 2:
                    scenario.run()
                else:
                    scenario.resume()
                    assert scenario.reconcile() == "match"
                assert scenario.validate() is Verdict.VERIFIED
        # Two parts opened, written and committed, two manifests and the marker: a run cannot do with less.
        assert operation > 9, f"the run had {operation - 1} operations only, so little was tested"


def _published(workbench: Workbench, prefix: str) -> Snapshot:
    """Return a prefix with a dataset, an object that no manifest lists, and a file that is nobody's business."""
    with workbench.scenario(prefix) as scenario:
        scenario.run()
        scenario.add(_STRAY, b"not of any run")
        scenario.add(_STRANGER, b"mine")
        return scenario.objects


def _damaged(data: bytes, how: str) -> bytes | None:
    match how:
        case "deleted":
            return None
        case "cut short":
            return data[: len(data) // 2]
        case _:
            middle = len(data) // 2
            return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
