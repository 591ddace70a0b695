"""Prefixes that the original Rivet wrote: ours verifies them, publishes over them, and hands them back."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crash import observer
from crash.zygote import Zygote
from integration.corruption.damages import flip_a_byte
from integration.corruption.published import Published, publish, write_source
from integration.original.conftest import ROWS, LivePrefixes
from integration.original.program import OriginalRivet

COMMITTED = Path(__file__).parents[2] / "contract" / "data" / "original_rivet"
DEPTHS = ("light", "parts", "full")

MovePrefix = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _default_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)


def configured(directory: Path, settings: str = "") -> Published:
    """Write a configuration of ours whose export has the prefix ``out``."""
    directory.mkdir(exist_ok=True)
    write_source(directory / "shop.db", "ours")
    (directory / "rivet.yaml").write_text(
        textwrap.dedent(f"""\
            source: {{type: sqlite, database: shop.db}}
            exports:
              - {{name: orders, table: orders, {settings}destination: {{type: local, path: out}}}}
            """)
    )
    return Published(directory)


def report_of(ours: Published, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    code = ours.validate("--json", *arguments)
    (report,) = json.loads(capsys.readouterr().out)["reports"]
    assert code == report["exit_code"]
    return dict(report)


def check_verified(ours: Published, rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    for depth in DEPTHS:
        report = report_of(ours, capsys, "--depth", depth)
        assert (report["verdict"], report["rows"]) == ("verified", rows)
        assert (report["findings"], report["untracked"]) == ([], [])


@pytest.mark.parametrize("name", ["customers_chunked", "customers_csv", "customers_incremental"])
def test_its_stored_prefixes_are_verified(name: str, memory_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = configured(memory_disk / "ours")
    shutil.copytree(COMMITTED / name, ours.prefix)
    check_verified(ours, 25, capsys)


@pytest.mark.parametrize("name", ["full", "chunked", "csv"])
def test_its_live_prefixes_are_verified_and_their_damage_is_found(
    name: str, its_prefix: MovePrefix, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = configured(its_prefix(name))
    check_verified(ours, ROWS, capsys)
    part = ours.parts[-1]
    flip_a_byte(part)
    for depth, verdict in zip(DEPTHS, ("verified", "parts_failed", "parts_failed"), strict=True):
        report = report_of(ours, capsys, "--depth", depth)
        assert report["verdict"] == verdict
        assert [finding["path"] for finding in report["findings"]] == ([] if depth == "light" else [part.name])


@pytest.mark.parametrize("name", ["full", "chunked", "csv"])
def test_a_prefix_changes_hands_and_back(
    name: str,
    its_prefix: MovePrefix,
    live_prefixes: LivePrefixes,
    original: OriginalRivet,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """We publish over its dataset with its state database at hand, it validates that, and publishes over ours."""
    ours = configured(its_prefix(name))
    its_parts = {part.name: part.read_bytes() for part in ours.parts}
    capsys.readouterr()
    assert ours.run("--validate", "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)["runs"]
    assert (result["untracked"], result["quarantined"]) == (sorted(its_parts), [])
    assert {key: (ours.prefix / key).read_bytes() for key in its_parts} == its_parts
    report = original.validate(ours.prefix)
    assert report["passed"]
    assert report["parts_verified"] == 1
    assert {failure["key"] for failure in report["failures"]} == its_parts.keys()

    original.run(
        live_prefixes.url,
        [
            {
                "name": name,
                "query": "SELECT * FROM customers",
                "mode": "full",
                "format": "parquet",
                "destination": {"type": "local", "path": f"{ours.prefix}/"},
            }
        ],
    )
    report = report_of(ours, capsys, "--depth", "full")
    assert (report["verdict"], report["rows"]) == ("verified", ROWS)
    assert report["untracked"] == sorted([*its_parts, "part-000001.parquet"])


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    zygote = Zygote(Path(publish(tmp_path_factory.mktemp("warm-up"), "parquet").config))
    yield zygote
    zygote.close()


def test_a_run_killed_at_any_point_leaves_its_dataset_or_ours(
    memory_disk: Path, zygote: Zygote, capsys: pytest.CaptureFixture[str]
) -> None:
    template = configured(memory_disk / "template")
    shutil.copytree(COMMITTED / "customers_chunked", template.prefix)
    template.copy.unlink()  # what is certified is then in manifest.json alone, which our run overwrites
    before = observer.read_certified(template.prefix)
    assert before is not None
    whole = memory_disk / "whole"
    shutil.copytree(template.directory, whole)
    points = zygote.run(whole / "rivet.yaml", whole / "trace").points
    certified = []
    for kill_at, point in enumerate(points, start=1):
        if point.startswith("before ") and kill_at > 1:
            continue  # nothing has changed since the point before
        killed = Published(memory_disk / "killed")
        shutil.copytree(template.directory, killed.directory)
        assert zygote.run(Path(killed.config), killed.directory / "trace", kill_at=kill_at).exit_code is None
        found = observer.read_certified(killed.prefix)
        assert found is not None, f"no dataset is certified after a kill at {point}"
        certified.append(found.run_id == before.run_id)
        assert report_of(killed, capsys)["verdict"] in {"verified", "pending_publish"}, f"killed at {point}"
        shutil.rmtree(killed.directory)
    assert certified == sorted(certified, reverse=True), "its dataset is certified until ours is"
    assert set(certified) == {True, False}
