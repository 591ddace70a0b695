"""Every verdict of ``rivet validate`` from a real prefix, and how its flags choose prefix, depth and report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.corruption.published import Published, publish, write_source
from rivet_core.cli.main import main

Make = Callable[..., Published]
DEPTHS = ("light", "parts", "full")


def report_of(published: Published, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the only report."""
    capsys.readouterr()
    code = published.validate("--format", "json", *arguments)
    document = json.loads(capsys.readouterr().out)
    (report,) = document["reports"]
    assert document["exit_code"] == code
    return code, report


def text_of(published: Published, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    published.validate(*arguments)
    return capsys.readouterr().out


def only_foreign_data(published: Published) -> None:
    shutil.rmtree(published.prefix)
    published.prefix.mkdir()
    (published.prefix / "export.csv").write_text("id\n1\n")


def killed_before_its_commit_point(published: Published) -> None:
    """Leave what a second run leaves that dies between ``manifest.json`` and ``_SUCCESS``."""
    marker = (published.prefix / "_SUCCESS").read_bytes()
    old_parts = {part: part.read_bytes() for part in published.parts}
    write_source(published.directory / "shop.db", "second")
    assert published.run() == 0
    (published.prefix / "_SUCCESS").write_bytes(marker)
    for part, data in old_parts.items():
        part.write_bytes(data)
    shutil.rmtree(published.prefix / "_quarantine")


def unlink(*names: str) -> Callable[[Published], object]:
    return lambda published: [(published.prefix / name).unlink() for name in names]


def empty_marker_beside_foreign_data(published: Published) -> None:
    only_foreign_data(published)
    (published.prefix / "_SUCCESS").write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "verdict", "code"),
    [
        (lambda published: None, "verified", 0),
        (killed_before_its_commit_point, "pending_publish", 0),
        (only_foreign_data, "legacy_run", 0),
        (empty_marker_beside_foreign_data, "legacy_run", 0),
        (unlink("manifest.json", "_SUCCESS"), "unfinished", 3),
        (lambda published: shutil.rmtree(published.prefix), "absent", 3),
        (unlink("_SUCCESS"), "uncertified", 3),
        (lambda published: (published.prefix / "_SUCCESS").write_text("xxh3:0123456789abcdef\n"), "stale_marker", 3),
        (lambda published: (published.prefix / "manifest.json").write_text("{}"), "tampered", 3),
    ],
)
def test_what_the_control_objects_say_is_found_at_every_depth(
    change: Callable[[Published], object],
    verdict: str,
    code: int,
    published: Make,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = published()
    change(changed)
    for depth in DEPTHS:
        found, report = report_of(changed, capsys, "--depth", depth)
        assert (report["verdict"], found, report["exit_code"]) == (verdict, code, code)
        assert report["legacy_run"] == (verdict == "legacy_run")
        assert report["resolved_prefix"] == f"file://{changed.prefix}/"


def test_failed_parts_are_found_where_parts_are_looked_at(published: Make, capsys: pytest.CaptureFixture[str]) -> None:
    changed = published()
    changed.parts[0].unlink()
    missing, *others = [part.name for part in changed.parts]
    reports = [report_of(changed, capsys, "--depth", depth)[1] for depth in DEPTHS]
    assert [report["verdict"] for report in reports] == ["verified", "parts_failed", "parts_failed"]
    proofs = [{"path": missing, "proof": None}, *({"path": name, "proof": "content"} for name in others)]
    assert [report["checks"] for report in reports] == [[], proofs, proofs]
    assert "no part was looked at" in text_of(changed, capsys, "--depth", "light")
    assert f"{len(others)} parts proven by content" in text_of(changed, capsys)


def test_a_prepared_dataset_does_not_hide_that_the_certified_one_is_damaged(
    published: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = published()
    part = changed.parts[0]
    killed_before_its_commit_point(changed)
    part.unlink()
    code, report = report_of(changed, capsys)
    assert (code, report["verdict"]) == (3, "parts_failed")
    assert [finding["path"] for finding in report["findings"]] == [part.name]


def test_a_clean_prefix_is_described(published: Make, capsys: pytest.CaptureFixture[str]) -> None:
    clean = published()
    code, report = report_of(clean, capsys, "--depth", "full")
    manifest = clean.manifest
    assert code == 0
    assert {**report, "meaning": ""} == {
        "export": "orders",
        "resolved_prefix": f"file://{clean.prefix}/",
        "depth": "full",
        "verdict": "verified",
        "meaning": "",
        "exit_code": 0,
        "legacy_run": False,
        "run_id": manifest["run_id"],
        "finished_at": manifest["finished_at"],
        "rows": 400,
        "parts": len(manifest["parts"]),
        "bytes": sum(part.stat().st_size for part in clean.parts),
        "findings": [],
        "untracked": [],
        "checks": [{"path": part["path"], "proof": "content"} for part in manifest["parts"]],
    }


def test_the_report_of_a_damaged_prefix_goes_to_a_file_and_the_exit_code_stays(
    published: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = published()
    damaged.parts[1].unlink()
    report = damaged.directory / "report.json"
    assert damaged.validate("--format", "json", "-o", str(report)) == 3
    text = damaged.directory / "report.txt"
    assert damaged.validate("-o", str(text)) == 3
    (found,) = json.loads(report.read_text())["reports"]
    assert found["findings"] == [{"path": damaged.parts[1].name, "message": "is missing"}]
    assert f"{damaged.parts[1].name} is missing" in text.read_text()


def test_a_dataset_that_was_moved_is_validated_where_it_is(published: Make, capsys: pytest.CaptureFixture[str]) -> None:
    moved = published()
    moved.prefix.rename(moved.directory / "archive")
    assert report_of(moved, capsys)[1]["verdict"] == "absent"
    for prefix in ("archive", str(moved.directory / "archive")):
        code, report = report_of(moved, capsys, "--prefix", prefix)
        assert (code, report["resolved_prefix"]) == (0, f"file://{moved.directory}/archive/")


@pytest.fixture
def dated(memory_disk: Path, capsys: pytest.CaptureFixture[str]) -> Published:
    """A prefix per day and run, with two runs of one export."""
    published = publish(memory_disk / "dated", "parquet")
    config = published.directory / "rivet.yaml"
    config.write_text(config.read_text().replace("path: out}", "path: 'days/{date}/{run_id}'}"))
    assert published.run() == 0
    assert published.run() == 0
    return published


def test_the_newest_run_is_validated_unless_another_is_named(
    dated: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = sorted((dated.directory / "days").glob("*/*"))
    for part in older.glob("part-*"):
        part.unlink()
    code, report = report_of(dated, capsys)
    assert (code, report["run_id"], report["resolved_prefix"]) == (0, newer.name, f"file://{newer}/")
    code, report = report_of(dated, capsys, "--run-id", older.name, "--date", older.parent.name)
    assert (code, report["run_id"], report["verdict"]) == (3, older.name, "parts_failed")
    code, report = report_of(dated, capsys, "--run-id", newer.name, "--date", "2001-02-03")
    assert (code, report["verdict"]) == (3, "absent")
    assert report["resolved_prefix"] == f"file://{dated.directory}/days/2001-02-03/{newer.name}/"


def test_without_a_known_run_a_prefix_per_run_cannot_be_found(
    dated: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    (dated.directory / ".rivet_state.db").unlink()
    code, report = report_of(dated, capsys)
    assert code == 2
    assert "--run-id" in report["error"]["hint"]
    (newest,) = sorted((dated.directory / "days").glob("*/*"))[-1:]
    code, report = report_of(dated, capsys, "--run-id", newest.name, "--date", newest.parent.name)
    assert (code, report["verdict"]) == (0, "verified")


def test_several_exports_are_validated_at_once_and_the_worst_decides(
    published: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    several = published()
    config = several.directory / "rivet.yaml"
    export = "  - {name: NAME, table: orders, format: csv, destination: {type: local, path: NAME}}\n"
    config.write_text(config.read_text() + export.replace("NAME", "second") + export.replace("NAME", "third"))
    assert several.run() == 0
    capsys.readouterr()
    assert several.validate("--prefix", "out") == 2
    assert several.validate("-e", "second", "-e", "third", "--prefix", "out") == 2
    assert "--prefix" in capsys.readouterr().err
    assert several.validate("-e", "orders", "--prefix", "out") == 0

    (several.directory / "second" / "part-000001.csv").unlink()
    shutil.rmtree(several.directory / "third")
    (several.directory / "third").write_text("a file")
    capsys.readouterr()
    assert several.validate("--json") == 3
    reports = {report["export"]: report for report in json.loads(capsys.readouterr().out)["reports"]}
    assert list(reports) == ["orders", "second", "third"]
    assert reports["orders"]["verdict"] == "verified"
    assert reports["second"]["verdict"] == "parts_failed"
    assert reports["third"]["error"]["exit_code"] == 1
    assert several.validate("-e", "orders", "-e", "third") == 1
    assert several.validate("-e", "orders") == 0
    assert main(["validate", "-c", several.config, "-e", "fourth"]) == 2
