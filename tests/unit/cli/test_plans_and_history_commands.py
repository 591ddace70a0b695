"""``rivet plan``, ``apply``, ``runs`` and ``state chunks``: what they print, and how they exit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rivet_core.cli.main import main

CONFIG = """
source: {type: sqlite, database: shop.db}
exports:
  - {name: orders, table: orders, mode: chunked, chunk_size: 2, destination: {type: local, path: out}}
  - {name: stdout, table: orders, destination: {type: stdout}}
"""

Rivet = Callable[..., tuple[int, str, str]]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    (tmp_path / "rivet.yaml").write_text(CONFIG)
    with closing(sqlite3.connect("shop.db")) as shop, shop:
        shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        shop.executemany("INSERT INTO orders VALUES (?)", [(number,) for number in range(1, 51)])
    return tmp_path


@pytest.fixture
def rivet(directory: Path, capsys: pytest.CaptureFixture[str]) -> Rivet:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def document(rivet: Rivet, *arguments: str, code: int = 0) -> Any:
    found, out, _ = rivet(*arguments, "--json")
    assert found == code, out
    return json.loads(out)


def test_a_plan_is_text_or_json(rivet: Rivet):
    _, text, _ = rivet("plan")
    (planned,) = document(rivet, "plan")["plans"]
    assert len(planned["chunks"]) == 25
    for fact in ("orders: chunked by id", planned["prefix"], "25 chunks, 50 rows", "id int64", "now there: nothing"):
        assert fact in text
    assert "… and 5 chunks more; --json has all" in text


def test_a_plan_is_written_and_applied(rivet: Rivet, directory: Path):
    assert document(rivet, "plan", "-o", "plans/plan.json")["written_to"] == "plans/plan.json"
    code, text, _ = rivet("apply", "plans/plan.json", "--validate")
    assert code == 0
    assert "orders: 50 rows, 25 parts" in text
    assert "validation: verified" in text
    code, _, error = rivet("apply", "plans/plan.json")
    assert code == 5
    assert error.startswith("error[R704]: the plan of 'orders' was applied by the run ")
    refused = document(rivet, "apply", "plans/plan.json", code=5)
    assert refused["error"]["code"] == "R704"
    assert "its parts would go to quarantine" in rivet("plan")[1]


def test_an_export_that_cannot_be_planned_leaves_no_plan(rivet: Rivet, directory: Path):
    wrong = "  - {name: wrong, table: nothing, destination: {type: local, path: wrong}}\n"
    (directory / "rivet.yaml").write_text(CONFIG + wrong)
    code, text, error = rivet("plan", "-o", "plan.json")
    assert code == 2
    assert "orders: chunked by id" in text
    assert "wrong: could not be planned" in text
    assert "error[R304]" in error
    assert not (directory / "plan.json").exists()
    found = document(rivet, "plan", code=2)
    assert [plan.get("error", {}).get("code") for plan in found["plans"]] == [None, "R304"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "-e", "stdout"], "a stream needs no plan"),
        (["plan", "--param", "a=b"], "no selected export has a bind named a"),
        (["plan", "-o", "shop.db/plan.json"], "cannot write shop.db/plan.json"),
        (["apply", "plan.json"], "cannot read the plan plan.json"),
        (["apply", "rivet.yaml"], "rivet.yaml is no plan"),
        (["apply", "plan.json", "--max-age", "1 day"], "'1 day' is no duration such as 30m, 24h or 7d"),
        (["runs", "show", "latest"], "the state knows no run yet"),
        (["runs", "list", "-e", "order"], 'did you mean "orders"?'),
        (["state", "chunks", "-e", "order"], 'there is no export "order"'),
    ],
)
def test_wrong_usage_is_one_clear_error(rivet: Rivet, arguments: list[str], message: str):
    code, _, error = rivet(*arguments)
    assert code == 2
    assert message in error
    assert error.count("error[") == 1


def test_runs_are_listed_and_shown(rivet: Rivet):
    assert rivet("runs", "list")[:2] == (0, "the state knows no run yet\n")
    assert document(rivet, "runs", "list") == {"runs": []}
    run_id = document(rivet, "run", "-e", "orders")["runs"][0]["run_id"]
    _, text, _ = rivet("runs", "list")
    heading, row = text.splitlines()
    assert heading.split() == ["RUN", "EXPORT", "STATUS", "STARTED", "TOOK", "ROWS", "PARTS", "SIZE", "CHUNKS"]
    assert row.split()[:3] == [run_id, "orders", "succeeded"]
    assert row.split()[-1] == "25/25"
    (listed,) = document(rivet, "runs", "list", "--limit", "1")["runs"]
    shown = document(rivet, "runs", "show", run_id)
    assert shown | listed == shown
    _, text, _ = rivet("runs", "show", "latest", "-e", "orders")
    assert text.startswith(f"{run_id}: succeeded\n")
    for event in shown["events"]:
        assert f"{event['at']} {event['kind']}" in text
    for part in shown["committed_parts"]:
        assert part["path"] in text


def test_chunks_are_listed(rivet: Rivet):
    rivet("run", "-e", "orders")
    found = document(rivet, "state", "chunks", "-e", "orders")
    assert (found["status"], found["chunks_done"], len(found["chunks"])) == ("succeeded", 25, 25)
    second = {"number": 2, "low": ["2"], "high": ["4"], "low_inclusive": False, "nulls": False}
    assert found["chunks"][1] == {**second, "attempt": 1, "rows": 2, "parts": 1, "state": "done"}
    _, text, _ = rivet("state", "chunks", "-e", "orders", "--run-id", found["run_id"])
    assert text.startswith(f"{found['run_id']}: succeeded, 25 of 25 chunks done\n")
    assert text.splitlines()[3].split() == ["2", "2", "4", "done", "1", "2", "1"]
