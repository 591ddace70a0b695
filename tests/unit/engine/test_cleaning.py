"""What ``clean`` finds, what it leaves alone, and what becomes of the rest when one removal fails."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rivet_core.api import LeaseHeld, ObjectInfo, PermissionDenied
from rivet_core.engine.clean import CleanReport, remove, survey
from rivet_local.destination import LocalDestination

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
OLD_RUN = "orders_20261101T120000.000_9f3a"
NEW_RUN = "orders_20261122T110000.000_9f3a"


def put(store: LocalDestination, key: str, *, days_old: float) -> None:
    """Write an object that holds its own name, or a file that is none, and set its time."""
    path = store_path(store, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(key)
    moment = (NOW - timedelta(days=days_old)).timestamp()
    os.utime(path, (moment, moment))


def store_path(store: LocalDestination, key: str) -> Path:
    return Path(store.uri.removeprefix("file://")) / key


def look(store: LocalDestination, older_than: timedelta = WEEK) -> CleanReport:
    report = CleanReport("orders", store.uri, executed=True)
    survey(store, report, older_than=older_than, now=NOW)
    return report


def clean(store: LocalDestination) -> CleanReport:
    report = look(store)
    remove(store, report, lambda: None)
    return report


def found(report: CleanReport) -> dict[str, str]:
    return {item.leftover.key: item.leftover.kind for item in report.items}


@pytest.mark.parametrize(
    ("file", "key", "kind"),
    [
        (f"_quarantine/{OLD_RUN}/part-000001.csv", None, "quarantine"),
        (f"_quarantine/{OLD_RUN}/part-000001-02.csv.gz.3", None, "quarantine"),
        ("_quarantine/nightly/part-000001.csv", None, "quarantine"),
        (".rivet-tmp-0123456789abcdef-part-000004.csv", "part-000004.csv", "unfinished_upload"),
        (".rivet-tmp-0123456789abcdef-_SUCCESS", "_SUCCESS", "unfinished_upload"),
        ("_rivet_doctor_01234567", None, "probe"),
    ],
)
def test_what_rivet_left_is_removed_once_it_is_old(
    store: LocalDestination, file: str, key: str | None, kind: str
) -> None:
    put(store, file, days_old=6.9)
    put(store, "part-000009.csv", days_old=99)
    young = look(store)
    assert (found(young), young.younger) == ({}, 1)
    put(store, file, days_old=7.1)
    report = clean(store)
    assert found(report) == {key or file: kind}
    assert report.count("removed") == (1, len(file))
    assert (report.exit_code, report.kept, report.younger) == (0, [], 0)
    assert not store_path(store, file).exists()
    assert store_path(store, "part-000009.csv").exists()
    assert report.items[0].to_json()["age_days"] == 7.1


@pytest.mark.parametrize(
    "file",
    [
        *("part-000001.csv", "_SUCCESS", "manifest.json", "manifest-old.json", "notes.txt", "2026/part-000001.csv"),
        *("_quarantine/notes.txt", "_quarantine/part-000001.csv", f"_quarantine/{OLD_RUN}/notes.txt"),
        *(f"_quarantine/{OLD_RUN}/part-000001.csv.bak", f"_quarantine/{OLD_RUN}/2026/part-000001.csv"),
        *("_rivet_doctor_notes", "_rivet_doctor_01234567/notes.txt"),
        *(".rivet-tmp-0123456789abcdef-notes.txt", ".rivet-tmp-lock", ".rivet-tmp-x", ".other-tmp"),
    ],
)
def test_nothing_else_is_ever_touched(store: LocalDestination, file: str) -> None:
    put(store, file, days_old=999)
    report = clean(store)
    assert found(report) == {}
    assert store_path(store, file).read_text() == file
    for kept in report.kept:
        assert kept.key
        assert kept.reason


def test_what_lies_among_leftovers_and_stays_is_named(store: LocalDestination) -> None:
    put(store, "_quarantine/notes.txt", days_old=999)
    put(store, ".rivet-tmp-0123456789abcdef-notes.txt", days_old=999)
    assert {kept.key for kept in look(store).kept} == {"_quarantine/notes.txt", "notes.txt"}


def test_an_old_file_that_a_run_moved_aside_just_now_is_young(store: LocalDestination) -> None:
    put(store, f"_quarantine/{NEW_RUN}/part-000001.csv", days_old=300)
    assert look(store).younger == 1
    assert found(look(store, timedelta(hours=1))) == {f"_quarantine/{NEW_RUN}/part-000001.csv": "quarantine"}


def test_what_has_no_age_stays(store: LocalDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ObjectInfo("_quarantine/nightly/part-000001.csv", 1, "v1")
    monkeypatch.setattr(LocalDestination, "list", lambda self, prefix="": iter([listed][: prefix == "_quarantine/"]))
    report = look(store)
    assert found(report) == {}
    assert [kept.key for kept in report.kept] == [listed.key]


def test_an_object_that_was_replaced_since_the_listing_stays(store: LocalDestination) -> None:
    key = f"_quarantine/{OLD_RUN}/part-000001.csv"
    put(store, key, days_old=99)
    report = look(store)
    store.put(key, b"of somebody who came later")
    remove(store, report, lambda: None)
    assert store_path(store, key).read_bytes() == b"of somebody who came later"


def test_one_removal_that_fails_keeps_no_other_back(store: LocalDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3):
        put(store, f"_quarantine/{OLD_RUN}/part-00000{number}.csv", days_old=99)
    delete = LocalDestination.delete

    def refuse(self: LocalDestination, key: str, *, version: str | None = None) -> None:
        if key.endswith("part-000002.csv"):
            raise PermissionDenied("you may not")
        assert version
        delete(self, key, version=version)

    with monkeypatch.context() as patch:
        patch.setattr(LocalDestination, "delete", refuse)
        report = clean(store)
    assert [item.status for item in report.items] == ["removed", "failed", "removed"]
    assert report.items[1].error == "you may not [R403]"
    assert report.exit_code == 1
    again = clean(store)
    assert (list(found(again)), again.exit_code) == ([f"_quarantine/{OLD_RUN}/part-000002.csv"], 0)
    assert list(store.list()) == []


def test_a_lost_lease_ends_the_work(store: LocalDestination) -> None:
    for number in (1, 2, 3):
        put(store, f"_quarantine/{OLD_RUN}/part-00000{number}.csv", days_old=99)
    report = look(store)
    checks = iter([None, LeaseHeld("lost to another process")])

    def guard() -> None:
        if error := next(checks):
            raise error

    remove(store, report, guard)
    assert [item.status for item in report.items] == ["removed", "not_tried", "not_tried"]
    assert report.exit_code == 5
    assert len(list(store.list())) == 2
