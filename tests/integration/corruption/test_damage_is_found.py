"""Every damage to a published prefix is found at the promised depth, named, and never crashes ``rivet validate``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.corruption.damages import (
    CONTROL_DAMAGES,
    EDITED_MANIFESTS,
    FORGERIES,
    LIES,
    PART_DAMAGES,
    Damage,
    flip_a_byte,
    hit,
    to_link,
)
from integration.corruption.published import Published, publish

DEPTHS = ("light", "parts", "full")
USABLE = {"verified", "pending_publish", "legacy_run"}


def reports_of(published: Published, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """Validate at every depth and return the report of each; the exit code agrees and nothing goes to stderr."""
    reports = {}
    for depth in DEPTHS:
        code = published.validate("--depth", depth, "--json")
        printed = capsys.readouterr()
        document = json.loads(printed.out)
        (report,) = document["reports"]
        assert printed.err == ""
        assert report["resolved_prefix"] == f"file://{published.prefix}/"
        assert report["depth"] == depth
        assert code == document["exit_code"] == report["exit_code"] == (0 if report["verdict"] in USABLE else 3)
        reports[depth] = report
    return reports


def said(report: dict[str, Any]) -> str:
    """Everything that names what is wrong."""
    findings = [f"{finding['path']} {finding['message']}" for finding in report["findings"]]
    return "\n".join([report["meaning"], *findings, *report["untracked"]])


def check(damage: Damage, published: Published, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = [name.format(suffix=suffix, copy=published.copy.name) for name in damage.named]
    damage.do(published)
    capsys.readouterr()
    reports = reports_of(published, capsys)
    assert {depth: report["verdict"] for depth, report in reports.items()} == {
        "light": damage.light,
        "parts": damage.parts,
        "full": damage.full,
    }
    code = published.validate()
    printed = capsys.readouterr()
    assert code == (0 if damage.parts in USABLE else 3)
    assert printed.err == ""
    assert printed.out.startswith(f"orders: {damage.parts}\n")
    assert "\x1b" not in printed.out, "no object may drive the terminal"
    for name in named:
        assert name in said(reports["full"])
        if damage.parts == damage.full:
            assert name in said(reports["parts"])
            assert name in printed.out


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("damage", [*PART_DAMAGES, *LIES], ids=str)
def test_damage_to_parts(
    damage: Damage, suffix: str, published: Callable[..., Published], capsys: pytest.CaptureFixture[str]
) -> None:
    check(damage, published(suffix), suffix, capsys)


@pytest.mark.parametrize("damage", [*EDITED_MANIFESTS, *CONTROL_DAMAGES, *FORGERIES], ids=str)
def test_damage_to_control_objects(
    damage: Damage, published: Callable[..., Published], capsys: pytest.CaptureFixture[str]
) -> None:
    check(damage, published(), "parquet", capsys)


def test_a_bit_is_found_by_default_although_the_file_system_says_that_nothing_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = publish(tmp_path / "shop", "parquet")
    flip_a_byte(hit(published))
    status = hit(published).stat()
    recorded = published.manifest["parts"][1]
    assert recorded["version"] == f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
    capsys.readouterr()
    assert published.validate() == 3
    assert f"{hit(published).name} has other content than the manifest says" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["_SUCCESS", "manifest.json"])
def test_a_control_object_that_is_a_link_is_not_read(
    name: str, published: Callable[..., Published], capsys: pytest.CaptureFixture[str]
) -> None:
    linked = published()
    to_link(linked.prefix / name)
    for depth in DEPTHS:
        capsys.readouterr()
        assert linked.validate("--depth", depth, "--json") == 1
        (report,) = json.loads(capsys.readouterr().out)["reports"]
        assert report["error"]["code"] == "R403"
        assert f"{linked.prefix}/{name} is a symbolic link" in report["error"]["message"]


def test_a_prefix_that_is_no_directory_cannot_be_read(
    published: Callable[..., Published], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = published()
    broken.prefix.rename(broken.directory / "elsewhere")
    broken.prefix.write_text("a file")
    capsys.readouterr()
    assert broken.validate() == 1
    printed = capsys.readouterr()
    assert printed.out == "orders: could not be read\n"
    assert "error[R401]" in printed.err
    assert str(broken.prefix) in printed.err


def test_a_format_that_nobody_can_decode_is_named(
    published: Callable[..., Published], capsys: pytest.CaptureFixture[str]
) -> None:
    forged = published()
    forged.copy.unlink()
    forged.certify({**forged.manifest, "format": "orc"})
    capsys.readouterr()
    assert forged.validate("--depth", "parts") == 0
    assert forged.validate("--depth", "full") not in {0, 3}
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "'orc'" in printed.err


@pytest.mark.parametrize("what", ["a bit is flipped", "manifest.json is one with one byte changed"])
def test_the_installed_program_says_the_same(what: str, published: Callable[..., Published]) -> None:
    damaged = published()
    (damage,) = (damage for damage in [*PART_DAMAGES, *EDITED_MANIFESTS] if damage.what == what)
    damage.do(damaged)
    program = Path(sys.executable).with_name("rivet")
    done = subprocess.run([program, "validate"], cwd=damaged.directory, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith(f"orders: {damage.parts}\n")
    assert damage.named[0].format(suffix="parquet") in done.stdout
