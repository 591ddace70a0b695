"""The kit bites: destinations that are broken on purpose fail it, and the report names the cause of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from conformance.broken.destinations.kit_runs import Installed


@dataclass(frozen=True)
class Cause:
    """What the report must say: the test that names the cause, words of its hint, and others that fail with it."""

    id: str
    hint: str
    also: frozenset[str] = frozenset()


def also(*ids: str) -> frozenset[str]:
    return frozenset(ids)


CAUSES = {
    "VisibleBeforeCommit": Cause("D-WRITE-1", "nothing is visible at the key before commit", also("D-WRITE-10")),
    "CommitsOnAbort": Cause("D-WRITE-5", "leaving the writer without commit aborts", also("C-PEND-2")),
    "LosesTheTail": Cause("D-WRITE-3", "send the last piece", also("D-COPY-1", "D-WRITE-4")),
    "ListMissesPageTwo": Cause("D-LIST-2", "continuation token"),
    "ListLeaksSiblings": Cause("D-LIST-1", "orders/ is not a prefix of orders_archive/"),
    "OverwritesDespiteCondition": Cause(
        "C-PUT-1", "send the condition with the request", also("D-WRITE-7", "D-COPY-2")
    ),
    "LooksThenWrites": Cause("C-PUT-2", "looking first and writing then is no condition", also("C-WRITE-1")),
    "IgnoresUndeclaredCondition": Cause("C-PUT-3", "raise DestinationError for a condition"),
    "StaleRead": Cause("D-PUT-2", "no cache may be in between", also("D-READ-3", "D-READ-5")),
    "MoveDeletesFirst": Cause("D-COPY-2", "copy and move never overwrite", also("D-MOVE-2")),
    "MoveDeletesInBetween": Cause("D-MOVE-2", "move deletes the source last"),
    "HeadRoundsUp": Cause("D-HEAD-2", "size_bytes is the size of the content", also("D-COPY-1", "D-KEY-1")),
    "SwallowsDenial": Cause("D-ERR-1", "never turn it into None or an empty listing"),
    "LeaksSecret": Cause("D-SECRET-1", "keep them in rivet_core.api.Secret"),
    "ShowsSecret": Cause("D-SECRET-1", "give repr nothing to show"),
    "IgnoresOffset": Cause("D-READ-1", "offset counts from the start", also("D-READ-3")),
    "DeletesAnyVersion": Cause("D-DELETE-2", "with a version, delete only that one"),
    "CopyOverwrites": Cause("D-COPY-2", "copy and move never overwrite"),
    "CopyTakesWhatIsThere": Cause("D-COPY-3", "pin the copy to source.version"),
    "DecodesKeys": Cause("D-KEY-1", "never decode one"),
    "SkipsEmptyObjects": Cause("D-WRITE-4", "completes an upload without any piece"),
    "RaisesKeyError": Cause("D-READ-2", "a missing object is NotFound", also("D-ERR-4")),
    "MoveKeepsSource": Cause("D-MOVE-1", "then delete exactly the version that was copied", also("D-KEY-1")),
    "DeleteTakesDirectory": Cause("D-DELETE-1", "delete exactly this key"),
    "CachesListing": Cause("D-READ-5", "a cache cannot know what others do"),
    "RetriesBlindly": Cause("D-ERR-3", "a success if you have looked"),
    "VersionsRepeat": Cause(
        "D-PUT-3", "the store's own token of this state", also("D-DELETE-2", "D-READ-3", "C-PUT-1")
    ),
}


def test_every_destination_of_the_plugin_is_tried(installed: Installed) -> None:
    assert installed.types() == {"Served", "VersionsStartAnew", *CAUSES}


def test_the_sound_one_passes(installed: Installed) -> None:
    suite = installed.verdict("Served")
    assert suite["verdict"] == "passed"
    assert (suite["plugin"], suite["version"], suite["name"]) == ("rivet-broken", "0.1.0", "Served")
    assert {test["outcome"] for test in suite["tests"]} == {"passed", "not_applicable"}


@pytest.mark.parametrize("name", CAUSES)
def test_a_broken_one_fails_and_the_report_names_the_cause(installed: Installed, name: str) -> None:
    suite, cause = installed.verdict(name, only=("C-", "D-")), CAUSES[name]
    failed = {test["id"]: test for test in suite["tests"] if test["outcome"] == "failed"}
    assert set(failed) >= {cause.id} | cause.also
    assert cause.hint in failed[cause.id]["hint"]
    assert failed[cause.id]["failures"]
    assert suite["verdict"] == "failed"


def failure(suite: dict[str, Any], case: str) -> str:
    """Return what the report says about the failure of one test."""
    (found,) = (test["failures"][0]["failure"] for test in suite["tests"] if test["id"] == case)
    return str(found)


def test_sequences_find_what_no_single_operation_shows(installed: Installed) -> None:
    suite = installed.verdict("VersionsStartAnew", only=("C-", "D-", "S-"))
    assert {test["id"] for test in suite["tests"] if test["outcome"] == "failed"} == {"S-MACHINE-1"}
    told = failure(suite, "S-MACHINE-1")
    assert "have the same version" in told
    steps = re.findall(r"^  \d+\. (\w+)", told, re.MULTILINE)
    assert len(steps) <= 4, "the scenario did not shrink"
    assert "abort" in steps, "versions repeat where the destination is opened anew"


def test_crashes_in_whole_runs_name_the_operation_and_the_invariant(installed: Installed) -> None:
    told = failure(installed.verdict("VisibleBeforeCommit", only=("T-CRASH-1",)), "T-CRASH-1")
    assert "M7: part-000001.parquet is visible before the run has committed it" in told
    assert re.search(r"^  1\. run: crash before operation \d+, commit part-000001.parquet; died$", told, re.MULTILINE)
