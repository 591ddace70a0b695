"""Schema drift: what is compared with what, and what each policy does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rivet_core.api import UsageError
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.cli.main import main
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.manifest import Column
from rivet_core.engine.gates.drift import compare, describe
from rivet_core.engine.result import RunResult
from unit.engine.shop import Shop

EXPORT = "{name: orders, query: '%s', on_schema_drift: %s, destination: {type: local, path: %s}}"
BEFORE = "SELECT id, note FROM orders"
AFTER = "SELECT id, note, 1 AS flag FROM orders"


def configure(shop: Shop, query: str, policy: str = "warn", path: str = "out") -> None:
    shop.configure(EXPORT % (query, policy, path))


def changes(result: RunResult) -> list[tuple[Any, ...]]:
    return [tuple(item.values()) for item in result.schema_drift]


def test_the_first_run_has_nothing_to_compare_with(shop: Shop):
    configure(shop, BEFORE, "fail")
    result = shop.publish()
    assert (result.schema_drift, result.warnings) == ([], [])
    assert shop.publish().schema_drift == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (AFTER, [("flag", "added", None, "int64")]),
        ("SELECT id FROM orders", [("note", "removed", "string", None)]),
        ("SELECT id, 1 AS note FROM orders", [("note", "type", "string", "int64")]),
        (
            "SELECT id, note AS text FROM orders",
            [("note", "removed", "string", None), ("text", "added", None, "string")],
        ),
    ],
)
def test_each_policy_on_each_change(shop: Shop, query: str, expected: list[tuple[Any, ...]], monkeypatch: Any):
    configure(shop, BEFORE)
    certified = shop.publish()
    configure(shop, query, "fail")
    with monkeypatch.context() as patched:
        patched.setattr(SqlalchemySource, "read", None)  # nothing is read
        refused = shop.run()
    assert refused.error is not None
    assert (refused.error.code, refused.error.exit_code) == ("R308", 4)
    assert all(repr(name) in refused.error.message for name, *_ in expected)
    assert changes(refused) == expected
    assert json.loads((shop.out / "manifest.json").read_bytes())["run_id"] == certified.run_id

    configure(shop, query, "continue")
    went_on = shop.publish()
    assert (changes(went_on), went_on.warnings) == (expected, [])

    configure(shop, BEFORE, "continue")
    shop.publish()
    configure(shop, query)
    warned = shop.publish()
    assert changes(warned) == expected
    assert len(warned.warnings) == 1
    assert all(repr(name) in warned.warnings[0] for name, *_ in expected)

    configure(shop, query, "fail")  # what was published once is what the next run is compared with
    assert shop.publish().schema_drift == []


def test_order_is_told_and_not_refused(shop: Shop):
    configure(shop, BEFORE)
    shop.publish()
    configure(shop, "SELECT note, id FROM orders", "fail")
    result = shop.publish()
    assert changes(result) == [("note", "position", "2", "1"), ("id", "position", "1", "2")]
    assert result.warnings == []


def test_a_column_that_may_be_null_is_told_and_not_refused(shop: Shop):
    export = "{name: orders, table: orders, on_schema_drift: fail, destination: {type: local, path: out}}"
    shop.configure(export)
    shop.publish()
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER NOT NULL, note TEXT)")
    assert changes(shop.publish()) == [("id", "nullable", "NULL", "NOT NULL")]


def test_a_new_prefix_is_compared_with_the_last_run(shop: Shop):
    configure(shop, BEFORE)
    shop.publish()
    configure(shop, AFTER, "fail", "elsewhere")
    refused = shop.run()
    assert refused.error is not None
    assert refused.error.code == "R308"
    configure(shop, AFTER, "warn", "elsewhere")
    assert changes(shop.publish()) == [("flag", "added", None, "int64")]


def test_a_run_that_failed_is_nothing_to_compare_with(shop: Shop):
    configure(shop, BEFORE, path="'out/{run_id}'")
    shop.publish()
    shop.configure(EXPORT.replace("query:", "quality: {row_count_max: 0}, query:") % (AFTER, "warn", "'out/{run_id}'"))
    assert shop.run().error is not None
    configure(shop, BEFORE, "fail", "'out/{run_id}'")
    assert shop.publish().schema_drift == []


def test_a_state_that_was_lost_leaves_the_certified_manifest_to_compare_with(shop: Shop):
    configure(shop, BEFORE)
    shop.publish()
    (shop.directory / ".rivet_state.db").unlink()
    configure(shop, AFTER, "fail")
    refused = shop.run()
    assert refused.error is not None
    assert refused.error.code == "R308"


def test_the_types_of_another_program_are_not_compared(shop: Shop):
    configure(shop, BEFORE)
    shop.publish()
    (shop.directory / ".rivet_state.db").unlink()
    content = json.loads((shop.out / "manifest.json").read_bytes())
    content["writer"]["name"] = "rivet-cli"
    content["schema"][0]["type"] = "INTEGER"
    data = json.dumps(content).encode()
    (shop.out / "manifest.json").write_bytes(data)
    (shop.out / "_SUCCESS").write_text(f"{fingerprint(data)}\n")
    configure(shop, BEFORE, "fail")
    assert shop.publish().schema_drift == []


def test_columns_of_another_shape_in_the_state_are_no_columns(shop: Shop):
    configure(shop, BEFORE)
    shop.publish()
    shop.state("UPDATE rivet_run SET columns = '{}'")
    configure(shop, AFTER, "fail", "elsewhere")
    assert shop.publish().schema_drift == []


def test_of_many_differences_the_first_are_named():
    columns = [Column(name=f"column {number}", type="int64") for number in range(50)]
    text = describe(compare([], columns))
    assert "'column 19' (int64) is new; and 30 more" in text
    assert "column 20" not in text


def test_a_stream_cannot_refuse_drift(shop: Shop):
    shop.configure("{name: stream, table: orders, on_schema_drift: fail, destination: {type: stdout}}")
    with pytest.raises(UsageError, match="on_schema_drift: fail"):
        shop.run()


def test_the_command_ends_with_4(shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(shop.directory)
    configure(shop, BEFORE)
    shop.publish()
    configure(shop, "SELECT id, 1 AS note FROM orders", "continue")
    assert main(["run"]) == 0
    assert "changed columns: note (type: string → int64)" in capsys.readouterr().out
    configure(shop, BEFORE, "continue")
    shop.publish()
    configure(shop, AFTER, "fail")
    assert main(["run"]) == 4
    captured = capsys.readouterr()
    assert "changed columns: flag (added: int64)" in captured.out
    assert "error[R308]: the columns differ from those of the last run: 'flag' (int64) is new" in captured.err
