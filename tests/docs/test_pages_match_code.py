"""The pages say what the code says: generated parts are current, and what they name exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest

from docs.code_blocks import code_blocks
from rivet_core.contract.manifest import decode, encode
from rivet_core.contract.reconciliation import ReconcileReport
from rivet_core.contract.verdict import Verdict
from rivet_core.engine.check import CheckReport
from rivet_core.engine.clean import CleanReport
from rivet_core.engine.history import RunSummary
from rivet_core.engine.repair import RepairReport
from rivet_core.engine.result import RunResult
from rivet_core.engine.sealed_plan import PlannedExport
from rivet_core.engine.standing import Standing
from rivet_core.engine.verify import VerifyReport
from rivet_core.state import RunRow

ROOT = Path(__file__).parents[2]
#: Pages outside of docs/, whose links mkdocs does not check.
OUTSIDE = sorted([*ROOT.glob("*.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob("examples/*/README.md")])


@pytest.mark.parametrize("script", ["scripts/generate_reference.py", "scripts/generate_benchmarks.py"])
def test_generated_parts_are_current(script: str):
    done = subprocess.run(
        [sys.executable, script, "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"run {script}:\n{done.stdout}{done.stderr}"


def test_the_page_of_reports_names_every_field():
    page = (ROOT / "docs/reference/summary.md").read_text(encoding="utf-8")
    _, *pieces = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    documented = {
        title: re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
        for title, text in zip(pieces[::2], pieces[1::2], strict=True)
    }
    report = VerifyReport(export="orders", resolved_prefix="file:///orders/", depth="parts", verdict=Verdict.ABSENT)
    assert documented["A run"] == [field.name for field in fields(RunResult)]
    assert documented["A validation"] == list(report.to_json())
    reconciled = ReconcileReport(
        export="orders",
        resolved_prefix="file:///orders/",
        checked_at=datetime.now(UTC),
        compared="counts",
        result="match",
    )
    assert documented["A reconciliation"] == list(reconciled.to_json())
    repaired = RepairReport("orders", "file:///orders/", False, "orders_1", "xxh3:0123456789abcdef")
    assert documented["A repair"] == list(repaired.to_json())
    cleaned = CleanReport("orders", "file:///orders/", executed=False)
    assert documented["A cleaning"] == list(cleaned.to_json())
    assert documented["A check"] == [field.name for field in fields(CheckReport)]
    assert sorted(documented["A plan"]) == sorted(PlannedExport.model_fields)
    assert documented["The state"] == list(Standing("orders", "full", None, None, None).to_json())
    run = RunRow(**{**dict.fromkeys(RunRow.__dataclass_fields__), "started_at": datetime.now(UTC)})  # type: ignore[arg-type]
    assert documented["Runs"] == list(RunSummary(run, None, 0, 0).to_json())


def test_the_manifest_on_its_page_is_one():
    (example,) = code_blocks(ROOT / "docs/reference/manifest.md", "manifest")
    names = re.findall(r'"(\w+)":', encode(decode(example.content.encode())).decode())
    assert names == re.findall(r'"(\w+)":', example.content)


def test_the_contract_names_tests_that_exist():
    page = (ROOT / "docs/contract.md").read_text(encoding="utf-8")
    promises = dict(re.findall(r"^\| (M\d) \| .* \| (.+) \|$", page, re.MULTILINE))
    assert list(promises) == [f"M{number}" for number in range(1, 10)]
    for promise, proofs in promises.items():
        named = re.findall(r"`((?:tests|plugins)/[\w/-]+\.py)::(\w+)`", proofs)
        assert named, f"{promise} names no test"
        for file, test in named:
            assert test in functions(ROOT / file), f"{promise}: there is no {file}::{test}"


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
