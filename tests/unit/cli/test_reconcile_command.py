"""``rivet reconcile``: what it prints, where to, and how it exits."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rivet_core.cli.main import main

CONFIG = """
source: {type: sqlite, database: shop.db}
exports:
  - {name: orders, table: orders, mode: chunked, chunk_size: 5, destination: {type: local, path: out}}
  - {name: few, query: "SELECT id FROM orders WHERE id <= ${most}", destination: {type: local, path: few}}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    (tmp_path / "rivet.yaml").write_text(CONFIG)
    execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)", *(f"INSERT INTO orders VALUES ({n})" for n in range(20)))
    assert main(["run", "--param", "most=7"]) == 0
    return tmp_path


def execute(*statements: str) -> None:
    with closing(sqlite3.connect("shop.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_match(shop: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["reconcile", "--param", "most=7"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "orders: match",
        f"  prefix: file://{shop}/out/",
        f"  dataset: 20 rows; source: 20 rows; run {latest(shop / 'out')}",
        "  4 partitions compared by counts: 4 match, 0 mismatch, 0 unknown",
        "few: match",
        f"  prefix: file://{shop}/few/",
        f"  dataset: 8 rows; source: 8 rows; run {latest(shop / 'few')}",
        "  1 partition compared by counts: 1 match, 0 mismatch, 0 unknown",
    ]


def test_a_mismatch_says_where_in_text_and_in_json(shop: Path, capsys: pytest.CaptureFixture[str]):
    execute("DELETE FROM orders WHERE id = 6", "INSERT INTO orders VALUES (100)")
    capsys.readouterr()
    assert main(["reconcile", "-e", "orders"]) == 3
    text = capsys.readouterr().out
    assert "  id above 4, up to 9: the source has 4 rows, the dataset 5\n" in text
    assert "  1 row beyond the dataset, id above 19: they arrived after the run, and the next one has them\n" in text
    assert main(["reconcile", "-e", "orders", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 3
    (report,) = document["reports"]
    assert (report["export"], report["result"], report["exit_code"]) == ("orders", "mismatch", 3)
    assert [item["result"] for item in report["partitions"]] == ["match", "mismatch", "match", "match", "unknown"]
    assert report["partitions"][1] == {
        "number": 2,
        "kind": "range",
        "range": {
            "columns": ["id"],
            "low": ["4"],
            "high": ["9"],
            "low_inclusive": False,
            "high_inclusive": True,
            "nulls": False,
        },
        "parts": ["part-000002.parquet"],
        "rows": 5,
        "source_rows": 4,
        "result": "mismatch",
        "reason": "the source has 4 rows, the dataset 5",
        "missing": None,
        "extra": None,
        "changed": None,
        "examples": {"missing": [], "extra": [], "changed": []},
    }


def test_the_report_goes_to_a_file(shop: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["reconcile", "-e", "orders", "--format", "json", "-o", "report.json"]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads((shop / "report.json").read_text())["reports"][0]["result"] == "match"
    assert main(["reconcile", "-e", "orders", "-o", "no/such/directory"]) == 2


def test_a_prefix_without_a_dataset_stops_no_other_export(shop: Path, capsys: pytest.CaptureFixture[str]):
    (shop / "out" / "_SUCCESS").unlink()
    capsys.readouterr()
    assert main(["reconcile", "--json", "--param", "most=7"]) == 3
    orders, few = json.loads(capsys.readouterr().out)["reports"]
    assert orders["error"]["code"] == "R601"
    assert few["result"] == "match"


def test_flags_that_make_no_sense_are_refused(shop: Path):
    assert main(["reconcile", "--prefix", "elsewhere"]) == 2
    assert main(["reconcile", "-e", "orders", "--param", "most=7"]) == 2


def test_a_run_says_what_it_has_reconciled(shop: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["run", "-e", "orders", "--reconcile"]) == 0
    assert "  reconciliation: match\n" in capsys.readouterr().out


def latest(directory: Path) -> str:
    return str(json.loads((directory / "manifest.json").read_text())["run_id"])
