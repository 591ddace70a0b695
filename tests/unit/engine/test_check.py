"""``rivet check``: what it says of types, keys, indexes and statements, and that it neither writes nor reads much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.cli.main import main
from rivet_core.engine import check as check_module
from rivet_core.engine.check import CheckReport, check_export
from unit.engine.shop import Shop

ROWS = 30_000
EXPORT = "{name: %s, %s, destination: {type: local, path: 'out/{export}'}}"
ORDERS = "table: orders, columns: {weight: string}"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.source(
        "DROP TABLE orders",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT, amount DECIMAL(10, 2), weight NUMERIC, code TEXT)",
        "CREATE INDEX by_status ON orders (status, code)",
        "CREATE UNIQUE INDEX by_code ON orders (code)",
        "CREATE UNIQUE INDEX some_amounts ON orders (amount) WHERE id < 0",
        "CREATE VIEW recent AS SELECT id, status FROM orders",
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
        "INSERT INTO orders SELECT i, 'status ' || (i % 3), '1.50', 1, 'code ' || i FROM n",
    )
    return shop


def check(shop: Shop, fields: str, **options: Any) -> CheckReport:
    shop.configure(EXPORT % ("orders", fields))
    config = shop.config
    return check_export(config, config.exports[0], shop.registry, {}, **options)


def statuses(report: CheckReport) -> dict[str, str]:
    return {item.name: item.status for item in report.checks}


def message(report: CheckReport, name: str) -> str:
    (found,) = [item for item in report.checks if item.name == name]
    return found.message


def hint(report: CheckReport, name: str) -> str:
    (found,) = [item for item in report.checks if item.name == name]
    return found.hint


def test_an_export_that_is_as_it_should_be(shop: Shop):
    report = check(shop, f"{ORDERS}, mode: chunked, chunk_size: 1000")
    assert set(statuses(report).values()) == {"ok"}
    assert report.exit_code == 0
    assert [(column.name, column.type, column.fidelity) for column in report.columns] == [
        ("id", "int64", "checked"),
        ("status", "string", "checked"),
        ("amount", "decimal(10,2)", "checked"),
        ("weight", "string", "text"),
        ("code", "string", "checked"),
    ]
    assert report.columns[0].nullable is False
    assert message(report, "index") == "an index leads with id"
    assert "all chunks have the same number of rows" in message(report, "skew")
    assert report.approximate_rows == ROWS
    assert (report.statements, report.statement_rows) == (30, 1000)
    assert report.statement_seconds is not None
    assert report.approximate_bytes is not None
    assert report.approximate_bytes > ROWS * 20


def test_columns_without_a_type_are_all_named_with_the_block_to_write(shop: Shop):
    shop.source("ALTER TABLE orders ADD COLUMN odd")
    report = check(shop, "table: orders")
    assert report.exit_code == 2
    assert statuses(report) == {"types": "failed"}
    assert report.overrides == {"weight": "string", "odd": "string"}
    assert "columns:\n  weight: string\n  odd: string" in hint(report, "types")
    assert {column.name: column.fidelity for column in report.columns} == {
        "id": "checked", "status": "checked", "amount": "checked", "weight": "refused", "code": "checked",
        "odd": "refused",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [
        ("status", "ok", "an index leads with status"),
        ("code", "ok", "an index leads with code"),
        ("amount", "warning", "no index leads with amount"),  # its index has not all rows
        ("[status, code]", "warning", "may be NULL"),
    ],
)
def test_the_index_behind_the_key(shop: Shop, key: str, status: str, said: str):
    report = check(shop, f"{ORDERS}, mode: chunked, chunk_column: {key}")
    if key.startswith("["):
        assert said in message(report, "chunks")  # a key of several columns has to be NOT NULL
        assert report.exit_code == 2
        return
    assert statuses(report)["index"] == status
    assert said in message(report, "index")
    assert report.exit_code == 0


def test_a_key_of_several_columns(shop: Shop):
    shop.source("CREATE TABLE pairs (a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER NOT NULL, UNIQUE (a, b))")
    unique = check(shop, "table: pairs, mode: chunked, chunk_column: [a, b]")
    assert (statuses(unique)["index"], statuses(unique)["uniqueness"]) == ("ok", "ok")
    reversed_ = check(shop, "table: pairs, mode: chunked, chunk_column: [b, a]")
    assert (statuses(reversed_)["index"], statuses(reversed_)["uniqueness"]) == ("warning", "ok")
    repeated = check(shop, "table: pairs, mode: chunked, chunk_column: [a, c]")
    assert (statuses(repeated)["index"], statuses(repeated)["uniqueness"]) == ("warning", "warning")


def test_rows_that_share_a_key_make_unequal_chunks(shop: Shop):
    report = check(shop, f"{ORDERS}, mode: chunked, chunk_column: status, chunk_size: 1000")
    assert statuses(report)["skew"] == "warning"
    assert "10000 rows have the same status" in message(report, "skew")
    assert report.statement_rows == 10_000
    enough = check(shop, f"{ORDERS}, mode: chunked, chunk_column: status, chunk_size: 10000")
    assert statuses(enough)["skew"] == "ok"


def test_without_an_index_the_keys_are_not_looked_at(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check_module, "KeyLooks", None)
    report = check(shop, f"{ORDERS}, mode: chunked, chunk_column: amount")
    assert statuses(report)["skew"] == "skipped"
    assert report.exit_code == 0


@pytest.mark.parametrize(
    ("source", "name"), [("table: recent", "view"), ("query: 'SELECT id, status FROM orders'", "query")]
)
def test_views_and_queries_are_run_on_demand_alone(shop: Shop, source: str, name: str, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setattr(SqlalchemySource, "read", None)
        report = check(shop, f"{source}, mode: chunked, chunk_column: id")
    assert message(report, "sample").startswith(f"the {name} was not run")
    assert (statuses(report)["index"], statuses(report)["statement"]) == ("skipped", "skipped")
    assert report.exit_code == 0
    sampled = check(shop, f"{source}, mode: chunked, chunk_column: id", sample_queries=True)
    assert statuses(sampled)["sample"] == "ok"


def test_a_table_is_not_read_to_its_end(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    apply = SqlalchemySource.read

    class Counting:
        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.schema = inner.schema

        def __iter__(self) -> Any:
            for batch in self.inner:
                seen.append(batch.num_rows)
                yield batch

    from contextlib import contextmanager

    @contextmanager
    def read(self: SqlalchemySource, query: Any, **kwargs: Any) -> Any:
        with apply(self, query, **kwargs) as stream:
            yield Counting(stream)

    monkeypatch.setattr(SqlalchemySource, "read", read)
    report = check(shop, ORDERS)
    assert 0 < sum(seen) < ROWS
    assert f"the first {sum(seen):,} rows" in message(report, "sample")


def test_the_first_rows_show_values_that_cannot_be_kept(shop: Shop):
    shop.source("UPDATE orders SET amount = 'none' WHERE id = 7")
    report = check(shop, ORDERS)
    assert report.exit_code == 2
    assert "column 'amount'" in message(report, "sample")


@pytest.mark.parametrize(
    ("fields", "name", "said"),
    [
        ("table: nonsense", "source", "there is no table or view nonsense"),
        ("query: SELECT nonsense", "source", "nonsense"),
        ("query: 'SELECT ${day} AS day'", "source", "needs a value for day"),
        (f"{ORDERS}, quality: {{unique_columns: [nonsense]}}", "columns", "'nonsense'"),
        ("query: SELECT 1 AS _rivet_exported_at, meta_columns: {exported_at: true}", "columns", "already"),
        (f"{ORDERS}, mode: chunked, chunk_column: nonsense", "chunks", "there is no column nonsense"),
        (f"{ORDERS}, mode: incremental, cursor_column: nonsense", "cursor", "there is no column nonsense"),
        (f"{ORDERS}, mode: time_window, time_column: nonsense, window_days: 1", "time", "there is no column nonsense"),
        ("table: recent, mode: chunked", "chunks", "no primary key"),
        ("query: SELECT 1 AS a, columns: {a: 'list<int64>'}", "source", "cannot become list<int64>"),
    ],
)
def test_an_export_that_cannot_run_fails_a_check(shop: Shop, fields: str, name: str, said: str):
    shop.source("INSERT INTO orders (id) VALUES (0)")
    report = check(shop, fields)
    assert said in message(report, name)
    assert statuses(report)[name] == "failed"
    assert report.exit_code == 2


def test_the_cursor_of_an_incremental_export(shop: Shop):
    report = check(shop, f"{ORDERS}, mode: incremental, cursor_column: id, key: code")
    assert {name: statuses(report)[name] for name in ("index", "uniqueness", "cursor", "statement")} == dict.fromkeys(
        ("index", "uniqueness", "cursor", "statement"), "ok"
    )
    assert (report.statements, report.statement_rows) == (1, ROWS)  # the first run reads all
    unserved = check(shop, f"{ORDERS}, mode: incremental, cursor_column: amount, key: status")
    assert (statuses(unserved)["index"], statuses(unserved)["uniqueness"]) == ("warning", "warning")
    assert "cursor_fallback_column" in hint(unserved, "cursor")
    coalesced = check(shop, f"{ORDERS}, mode: incremental, cursor_column: amount, cursor_fallback_column: id")
    assert "COALESCE(amount, id)" in message(coalesced, "index")
    assert "cursor" not in statuses(coalesced)


def test_a_row_without_a_cursor_is_found(shop: Shop):
    shop.source("UPDATE orders SET code = NULL WHERE id = 5")
    report = check(shop, f"{ORDERS}, mode: incremental, cursor_column: code")
    assert "a row has NULL in code" in message(report, "cursor")
    assert report.exit_code == 2


def test_an_incremental_view_needs_a_key(shop: Shop):
    report = check(shop, "table: recent, mode: incremental, cursor_column: id")
    assert "no primary key" in message(report, "cursor")
    assert check(shop, "table: recent, mode: incremental, cursor_column: id, key: id").exit_code == 0


def test_the_column_of_a_time_window(shop: Shop):
    report = check(shop, f"{ORDERS}, mode: time_window, time_column: id, time_unit: seconds, window_days: 1")
    assert (statuses(report)["index"], statuses(report)["time"]) == ("ok", "ok")
    wrong = check(shop, f"{ORDERS}, mode: time_window, time_column: id, window_days: 1")
    assert "set time_unit to seconds or milliseconds" in hint(wrong, "time")
    assert wrong.exit_code == 2


def test_a_long_statement_is_a_warning(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check_module, "_LONG_SECONDS", 0)
    report = check(shop, ORDERS)
    assert statuses(report)["statement"] == "warning"
    assert "mode: chunked" in hint(report, "statement")


def test_a_database_that_cannot_be_opened_is_worth_another_try(shop: Shop):
    shop.configure(EXPORT % ("orders", ORDERS))
    file = shop.directory / "rivet.yaml"
    nowhere = "{type: postgres, host: 127.0.0.1, port: 1, user: u, database: d, tls: {mode: disable}}"
    file.write_text(file.read_text().replace("{type: sqlite, database: shop.db}", nowhere))
    config = shop.config
    report = check_export(config, config.exports[0], shop.registry, {})
    assert report.exit_code == 1
    assert statuses(report) == {"source": "failed"}


def test_an_empty_table(shop: Shop):
    shop.source("DELETE FROM orders")
    report = check(shop, f"{ORDERS}, mode: chunked, chunk_column: status")
    assert report.exit_code == 0
    assert (report.approximate_rows, statuses(report)["skew"]) == (0, "skipped")


def test_the_command_in_text_and_as_json(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(shop.directory)
    before = {path.name: path.stat().st_mtime_ns for path in shop.directory.iterdir()}
    shop.configure(EXPORT % ("good", ORDERS), EXPORT % ("bad", "table: orders"))
    before["rivet.yaml"] = (shop.directory / "rivet.yaml").stat().st_mtime_ns
    assert main(["check"]) == 2
    shown = capsys.readouterr().out
    assert "good (full): about 30,000 rows" in shown
    assert "weight  NUMERIC         string         NULL      refused" in shown
    assert "failed   types: one column has no lossless type" in shown
    assert main(["check", "--json", "-e", "good"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["reports"]
    assert report["export"] == "good"
    assert {item["status"] for item in report["checks"]} == {"ok"}
    assert {path.name: path.stat().st_mtime_ns for path in shop.directory.iterdir()} == before  # nothing was written


def test_a_parameter_that_no_query_uses_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(shop.directory)
    shop.configure(EXPORT % ("orders", ORDERS))
    assert main(["check", "--param", "day=1"]) == 2
