"""``rivet validate``: which prefix it looks at, what it prints, and how it exits. The source is never touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rivet_core.cli.main import main

CONFIG = """
source: {{type: sqlite, database: does-not-exist.db}}
exports:
{exports}
"""
EXPORT = "  - {{name: {0}, table: {0}, format: parquet, destination: {{type: local, path: 'out/{1}/'}}}}\n"


@pytest.fixture
def write_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)

    def write(*exports: str) -> Path:
        (tmp_path / "rivet.yaml").write_text(CONFIG.format(exports="".join(exports)))
        return tmp_path

    return write


def report(capsys, *arguments: str) -> tuple[int, dict[str, object]]:
    code = main(["validate", "--json", *arguments])
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == code
    (only,) = document["reports"]
    return code, only


def test_the_text_says_the_same_as_the_json(write_config, capsys):
    directory = write_config(EXPORT.format("orders", "orders"))
    code, found = report(capsys)
    assert (code, found["verdict"]) == (3, "absent")
    assert found["resolved_prefix"] == f"file://{directory}/out/orders/"
    assert main(["validate"]) == 3
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "orders: absent"
    assert str(found["meaning"]) in text
    assert str(found["resolved_prefix"]) in text


def test_data_without_a_manifest_is_accepted_and_named(write_config, capsys):
    directory = write_config(EXPORT.format("orders", "orders"))
    (directory / "out" / "orders").mkdir(parents=True)
    (directory / "out" / "orders" / "old.csv").write_text("id\n1\n")
    code, found = report(capsys)
    assert (code, found["verdict"], found["legacy_run"]) == (0, "legacy_run", True)
    assert found["untracked"] == ["old.csv"]


@pytest.mark.parametrize(
    ("arguments", "prefix"),
    [
        (["--date", "2026-11-22", "--run-id", "orders_1"], "out/2026-11-22/orders_1/"),
        (["--prefix", "elsewhere/{literally}"], "elsewhere/%7Bliterally%7D/"),
    ],
)
def test_the_flags_choose_the_prefix(write_config, capsys, arguments, prefix):
    directory = write_config(EXPORT.format("orders", "{date}/{run_id}"))
    _, found = report(capsys, *arguments)
    assert found["resolved_prefix"] == f"file://{directory}/{prefix}"


def test_an_unknown_newest_run_is_an_error_that_stops_no_other_export(write_config, capsys):
    write_config(EXPORT.format("orders", "{run_id}"), EXPORT.format("users", "users"))
    assert main(["validate", "--json"]) == 3
    orders, users = json.loads(capsys.readouterr().out)["reports"]
    assert orders["error"]["code"] == "R101"
    assert "--run-id" in orders["error"]["hint"]
    assert users["verdict"] == "absent"


def test_one_prefix_cannot_be_that_of_several_exports(write_config, capsys):
    write_config(EXPORT.format("orders", "orders"), EXPORT.format("users", "users"))
    assert main(["validate", "--prefix", "out"]) == 2
    assert "error[R101]: --prefix cannot be the prefix of 2 exports" in capsys.readouterr().err


def test_a_stream_cannot_be_validated(write_config, capsys):
    write_config("  - {name: orders, table: orders, format: parquet, destination: {type: stdout}}\n")
    assert main(["validate"]) == 2
    assert "error[R101]: a stream cannot be validated" in capsys.readouterr().err


def test_the_report_goes_to_a_file_in_either_form(write_config, capsys):
    directory = write_config(EXPORT.format("orders", "orders"))
    assert main(["validate", "--format", "json", "-o", "report.json"]) == 3
    assert main(["validate", "-o", "report.txt"]) == 3
    assert capsys.readouterr().out == ""
    assert json.loads((directory / "report.json").read_text())["reports"][0]["verdict"] == "absent"
    assert (directory / "report.txt").read_text().startswith("orders: absent\n")
    assert main(["validate", "-o", "missing/report.txt"]) == 2
    assert "error[R101]: cannot write missing/report.txt" in capsys.readouterr().err


def test_a_date_that_is_none_is_a_usage_error(write_config, capsys):
    write_config(EXPORT.format("orders", "{date}"))
    assert main(["validate", "--date", "22.11.2026"]) == 2
    assert "'22.11.2026' is no date such as 2026-11-22" in capsys.readouterr().err
