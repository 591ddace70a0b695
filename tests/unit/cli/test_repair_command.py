"""``rivet repair``: what it prints, what it refuses, and how it exits."""

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
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    (tmp_path / "rivet.yaml").write_text(CONFIG)
    execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)", *(f"INSERT INTO orders VALUES ({n})" for n in range(20)))
    assert main(["run"]) == 0
    return tmp_path


def execute(*statements: str) -> None:
    with closing(sqlite3.connect("shop.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = main(["repair", "--json", *arguments])
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == code
    (only,) = document["reports"]
    return code, only


def test_the_text_says_the_same_as_the_json(shop: Path, capsys: pytest.CaptureFixture[str]):
    code, found = report(capsys)
    assert (code, found["flagged"], found["kept"], found["executed"]) == (0, [], 4, False)
    assert main(["repair"]) == 0
    assert "orders: nothing to repair\n" in capsys.readouterr().out

    execute("DELETE FROM orders WHERE id = 6")
    code, found = report(capsys)
    assert (code, found["aside"], found["kept"], found["run"]) == (0, ["part-000002.parquet"], 3, None)
    assert main(["repair"]) == 0
    text = capsys.readouterr().out
    assert "orders: 1 range to export again\n" in text
    assert "  id above 4, up to 9: the source has 4 rows, the dataset 5\n" in text
    assert "  would go to quarantine: part-000002.parquet\n" in text
    assert "--execute" in text

    code, found = report(capsys, "--execute", "--validate")
    assert (code, found["executed"]) == (0, True)
    run = found["run"]
    assert isinstance(run, dict)
    assert (run["status"], run["rows"], run["quarantined"]) == ("succeeded", 19, ["part-000002.parquet"])
    assert run["validation"]["verdict"] == "verified"


def test_a_repair_that_fails_says_why(shop: Path, capsys: pytest.CaptureFixture[str]):
    execute("DELETE FROM orders WHERE id = 6")
    (shop / "rivet.yaml").write_text(CONFIG.replace("chunk_size: 5,", "chunk_size: 5, compression: gzip,"))
    capsys.readouterr()
    assert main(["repair", "--execute"]) == 2
    found = capsys.readouterr()
    assert "orders: not repaired\n" in found.out
    assert "its format or compression" in found.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--validate"],
        ["--report", "missing.json"],
        ["--report", "rivet.yaml"],
        ["--param", "unused=1"],
        ["-e", "unknown"],
    ],
)
def test_what_makes_no_sense_is_refused(shop: Path, arguments: list[str]):
    before = sorted(path.name for path in (shop / "out").iterdir())
    execute("DELETE FROM orders WHERE id = 6")
    assert main(["repair", *arguments]) == 2
    assert sorted(path.name for path in (shop / "out").iterdir()) == before
