"""Datasets beside their source: what matches, what does not, and what cannot be compared."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rivet_core.api import SourceUnavailable, TrustError
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.contract.reconciliation import ReconcileReport
from rivet_core.engine.afterwards import Afterwards
from rivet_core.engine.plan import PrefixChoice
from rivet_core.engine.reconcile import reconcile_export
from rivet_core.engine.repair import repair_export
from rivet_core.engine.run import RunOptions
from unit.engine.shop import ROWS, Shop, large_shop

CHUNKED = "{name: orders, table: orders, mode: chunked, %s, destination: {type: local, path: out}}"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return large_shop(tmp_path, CHUNKED % "chunk_size: 100")


def reconcile(shop: Shop, **options: Any) -> ReconcileReport:
    config = shop.config
    choice = PrefixChoice(datetime.now(UTC).date())
    return reconcile_export(config, config.exports[0], shop.registry, choice, {}, **options)


def results(report: ReconcileReport) -> dict[int, str]:
    """What is no match, by the partition's number."""
    return {item.number: item.result for item in report.partitions if item.result != "match"}


def test_what_was_just_exported_matches(shop: Shop):
    shop.publish()
    report = reconcile(shop)
    assert (report.result, report.rows, report.source_rows) == ("match", ROWS, ROWS)
    assert [item.kind for item in report.partitions] == ["range"] * 10
    assert [item.source_rows for item in report.partitions] == [100] * 10
    assert report.key == ("id",)
    assert report.exit_code == 0


def test_the_state_is_not_needed_and_nothing_is_written(shop: Shop):
    shop.publish()
    (shop.directory / ".rivet_state.db").unlink()
    before = {path: path.stat().st_mtime_ns for path in shop.directory.rglob("*")}
    assert reconcile(shop).result == "match"
    assert {path: path.stat().st_mtime_ns for path in shop.directory.rglob("*")} == before


def test_rows_that_came_and_went_are_found_in_their_range(shop: Shop):
    shop.publish()
    shop.source("DELETE FROM orders WHERE id IN (150, 151)", "INSERT INTO orders VALUES (-5, 'late')")
    report = reconcile(shop)
    assert (report.result, report.exit_code, report.source_rows) == ("mismatch", 3, ROWS - 1)
    assert results(report) == {1: "mismatch", 2: "mismatch"}
    assert report.partitions[0].reason == "the source has 101 rows, the dataset 100"


def test_rows_beyond_the_dataset_are_no_mismatch(shop: Shop):
    shop.publish()
    shop.source("INSERT INTO orders VALUES (5000, 'new'), (5001, 'new')")
    report = reconcile(shop)
    assert (report.result, report.source_rows) == ("match", ROWS)
    assert [(item.kind, item.source_rows) for item in report.partitions[-2:]] == [("range", 100), ("beyond", 2)]


def test_rows_where_there_were_none_are_a_mismatch(shop: Shop):
    shop.source("CREATE TABLE days (day DATE NOT NULL, n INTEGER)")
    shop.source("INSERT INTO days VALUES ('2026-01-01', 1), ('2026-01-02', 2), ('2026-01-09', 3)")
    shop.configure(CHUNKED.replace("table: orders", "table: days") % "chunk_column: day, chunk_by_days: 1")
    shop.publish()
    report = reconcile(shop)
    assert [item.kind for item in report.partitions] == ["range", "range", "gap", "range"]
    assert report.result == "match"
    shop.source("INSERT INTO days VALUES ('2026-01-05', 4)")
    report = reconcile(shop)
    assert results(report) == {3: "mismatch"}
    assert report.partitions[2].parts == ()


def test_rows_without_a_key_are_a_partition(shop: Shop):
    shop.source("CREATE TABLE visits (at TEXT, n INTEGER)")
    shop.source("INSERT INTO visits VALUES ('2026-01-01', 1), ('2026-01-02', 2)")
    shop.configure(CHUNKED.replace("table: orders", "table: visits") % "chunk_column: at, chunk_size: 1")
    shop.publish()
    assert reconcile(shop).partitions[-1].kind == "nulls"
    assert reconcile(shop).result == "match"
    shop.source("INSERT INTO visits VALUES (NULL, 3)")
    assert results(reconcile(shop)) == {3: "mismatch"}
    assert shop.run(reconcile=True).reconciliation == {"result": "match", "rows": 3, "source_rows": 3, "reason": ""}
    report = reconcile(shop)
    assert (report.result, report.partitions[-1].rows) == ("match", 1)


def test_keys_of_several_columns(shop: Shop):
    shop.source("CREATE TABLE lines (a INTEGER NOT NULL, b TEXT NOT NULL, PRIMARY KEY (a, b))")
    shop.source(*(f"INSERT INTO lines VALUES ({n % 3}, 'b{n}')" for n in range(20)))
    shop.configure(CHUNKED.replace("table: orders", "table: lines") % "chunk_size: 6")
    shop.publish()
    assert reconcile(shop).result == "match"
    shop.source("DELETE FROM lines WHERE a = 1 AND b = 'b10'", "INSERT INTO lines VALUES (9, 'x')")
    report = reconcile(shop)
    assert [item.result for item in report.partitions].count("mismatch") == 1
    assert report.partitions[-1].kind == "beyond"


def test_a_table_that_was_emptied(shop: Shop):
    shop.publish()
    shop.source("DELETE FROM orders")
    report = reconcile(shop)
    assert (report.result, report.source_rows) == ("mismatch", 0)
    assert set(results(report).values()) == {"mismatch"}


@pytest.mark.parametrize("mode", ["full", "chunked"])
@pytest.mark.parametrize("empty", ["file", "skip"])
def test_an_empty_dataset(shop: Shop, mode: str, empty: str):
    shop.source("DELETE FROM orders")
    destination = "{type: local, path: out}"
    shop.configure(f"{{name: orders, table: orders, mode: {mode}, empty: {empty}, destination: {destination}}}")
    shop.publish()
    assert (reconcile(shop).result, reconcile(shop).source_rows) == ("match", 0)
    shop.source("INSERT INTO orders VALUES (1, 'first')")
    assert reconcile(shop).result == "mismatch"


def test_a_dataset_of_one_part(shop: Shop):
    shop.configure("{name: orders, table: orders, destination: {type: local, path: out}}")
    shop.publish()
    report = reconcile(shop)
    assert [item.kind for item in report.partitions] == ["whole"]
    assert report.result == "match"
    shop.source("DELETE FROM orders WHERE id = 1")
    assert reconcile(shop).result == "mismatch"


def test_a_table_whose_keys_are_all_null(shop: Shop):
    shop.source("CREATE TABLE visits (id INTEGER, n INTEGER)", "INSERT INTO visits VALUES (NULL, 1), (NULL, 2)")
    shop.configure(CHUNKED.replace("table: orders", "table: visits") % "chunk_column: id")
    assert shop.run(reconcile=True).error is None
    report = reconcile(shop)
    assert (report.result, report.source_rows) == ("match", 2)
    assert reconcile(shop, content=True).result == "match"


def test_an_incremental_dataset_has_at_least_the_rows_up_to_its_cursor(shop: Shop):
    shop.configure(
        "{name: orders, table: orders, mode: incremental, cursor_column: id, destination: {type: local, path: out}}"
    )
    assert shop.run(reconcile=True).reconciliation == {
        "result": "match",
        "rows": ROWS,
        "source_rows": ROWS,
        "reason": "",
    }
    shop.source("INSERT INTO orders VALUES (2000, 'new')")
    report = reconcile(shop)
    assert [(item.kind, item.source_rows) for item in report.partitions] == [("whole", ROWS), ("beyond", 1)]
    assert (report.result, report.compared) == ("match", "counts")
    shop.source("INSERT INTO orders VALUES (0, 'late')")
    assert reconcile(shop, content=True).result == "mismatch"
    shop.source("DELETE FROM orders WHERE id < 9")
    report = reconcile(shop)
    assert (report.result, report.exit_code) == ("unknown", 0)
    assert report.partitions[0].reason == "the dataset has 8 rows more: earlier versions of rows, or rows that are gone"


def test_a_time_window_is_compared_from_its_first_moment_on(shop: Shop):
    shop.source("CREATE TABLE visits (id INTEGER PRIMARY KEY, at INTEGER)")
    shop.source(f"INSERT INTO visits VALUES (1, 5), (2, {datetime.now(UTC).timestamp():.0f})")
    shop.configure(
        "{name: orders, table: visits, mode: time_window, time_column: at, time_unit: seconds, window_days: 7, "
        "destination: {type: local, path: out}}"
    )
    result = shop.run(reconcile=True)
    assert result.reconciliation == {"result": "match", "rows": 1, "source_rows": 1, "reason": ""}
    for content in (False, True):
        assert reconcile(shop, content=content).result == "match"
    shop.source("UPDATE visits SET at = at - 1 WHERE id = 2", "DELETE FROM visits WHERE id = 1")
    assert reconcile(shop).result == "match"
    assert reconcile(shop, content=True).partitions[0].changed == 1
    shop.source("DELETE FROM visits")
    assert reconcile(shop).result == "mismatch"


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_part_that_is_not_there_as_it_was_written(shop: Shop, damage: str):
    shop.publish()
    part = shop.out / "part-000004.parquet"
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-7])
    report = reconcile(shop)
    assert results(report) == {4: "mismatch"}
    assert f"part-000004.parquet is {damage}" in report.partitions[3].reason


def test_a_bound_that_is_no_value_of_the_key(shop: Shop):
    shop.publish()
    shop.source("CREATE TABLE again (id TEXT PRIMARY KEY, note TEXT)", "INSERT INTO again VALUES ('x', 'y')")
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id DATE PRIMARY KEY, note TEXT)")
    shop.source("INSERT INTO orders VALUES (x'00ff', 'bytes')")
    report = reconcile(shop)
    assert (report.result, report.exit_code) == ("unknown", 0)
    assert "is no bytes" in report.partitions[0].reason


def test_a_key_that_is_gone_is_no_match(shop: Shop):
    shop.publish()
    shop.source("ALTER TABLE orders RENAME COLUMN id TO number")
    report = reconcile(shop)
    assert (report.result, report.reason) == ("unknown", "the source has no column id any more")


@pytest.mark.parametrize("prefix", ["nothing", "unfinished", "tampered"])
def test_a_prefix_without_a_dataset_is_refused(shop: Shop, prefix: str):
    if prefix != "nothing":
        shop.publish()
        (shop.out / ("_SUCCESS" if prefix == "unfinished" else "manifest.json")).write_bytes(b"{}")
    with pytest.raises(TrustError, match="holds no certified dataset"):
        reconcile(shop)


def test_files_without_a_manifest_are_unknown(shop: Shop):
    shop.out.mkdir()
    (shop.out / "old.parquet").write_bytes(b"PAR1")
    report = reconcile(shop)
    assert (report.result, report.exit_code) == ("unknown", 0)
    assert "without a manifest" in report.reason


def test_a_run_reconciles_what_it_has_published(shop: Shop):
    shop.source("INSERT INTO orders VALUES (2000, 'x')")
    result = shop.run(reconcile=True)
    assert result.error is None
    assert result.reconciliation == {"result": "match", "rows": ROWS + 1, "source_rows": ROWS + 1, "reason": ""}


def test_a_run_that_does_not_agree_with_the_source_fails_and_stays_published(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):

    tidy = Afterwards.tidy

    def meanwhile(*args: Any, **kwargs: Any) -> None:
        tidy(*args, **kwargs)
        shop.source("DELETE FROM orders WHERE id = 500", "INSERT INTO orders VALUES (9000, 'later')")

    monkeypatch.setattr(Afterwards, "tidy", meanwhile)
    result = shop.run(reconcile=True)
    assert result.error is not None
    assert (result.status, result.exit_code, result.error.code) == ("failed", 3, "R601")
    assert "the source has 999 rows, the dataset 1000" in result.error.message
    assert result.error.hint.startswith("its dataset was published before that")
    assert json.loads((shop.out / "manifest.json").read_bytes())["row_count"] == ROWS


def test_a_run_counts_again_where_the_source_fails_for_a_while(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    fetch, reconcile_run = SqlalchemySource.fetch, Afterwards.reconcile
    failures = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(SqlalchemySource, "fetch", fetch)
        failures.append(args)
        raise SourceUnavailable("the database went away")

    def armed(*args: Any) -> None:
        monkeypatch.setattr(SqlalchemySource, "fetch", failing)
        reconcile_run(*args)

    monkeypatch.setattr(Afterwards, "reconcile", armed)
    result = shop.run(reconcile=True)
    assert result.error is None, result.error
    assert result.reconciliation == {"result": "match", "rows": ROWS, "source_rows": ROWS, "reason": ""}
    assert len(failures) == 1
    assert [message for message in result.warnings if "the database went away" in message]


def test_content_names_missing_extra_and_changed_keys(shop: Shop):
    shop.publish()
    shop.source(
        "DELETE FROM orders WHERE id = 150",
        "UPDATE orders SET note = 'changed' WHERE id IN (160, 170)",
        "INSERT INTO orders VALUES (0, 'missing')",
        "UPDATE orders SET id = 5000 WHERE id = 999",
    )
    assert results(reconcile(shop)).keys() == {1, 2, 10, 11}
    report = reconcile(shop, content=True)
    assert (report.result, report.compared, report.key) == ("mismatch", "content", ("id",))
    assert results(report) == {1: "mismatch", 2: "mismatch", 10: "mismatch", 11: "unknown"}
    first, second, last = (report.partitions[number] for number in (0, 1, 9))
    assert (first.missing, first.extra, first.changed, first.reason) == (1, 0, 0, "1 missing")
    assert first.examples.missing == (("0",),)
    assert (second.missing, second.extra, second.changed) == (0, 1, 2)
    assert second.reason == "1 extra, 2 changed"
    assert second.examples.extra == (("150",),)
    assert sorted(second.examples.changed) == [("160",), ("170",)]
    assert (last.extra, last.examples.extra, last.source_rows) == (1, (("999",),), 99)


@pytest.mark.parametrize("method", ["fetch", "read"])
def test_a_source_that_fails_for_a_while_is_asked_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
):
    shop.publish()
    shop.source("DELETE FROM orders WHERE id = 150")
    calm = getattr(SqlalchemySource, method)
    calls = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) in (2, 3):
            raise SourceUnavailable("the database went away")
        return calm(*args, **kwargs)

    monkeypatch.setattr(SqlalchemySource, method, failing)
    report = reconcile(shop, content=True)
    assert results(report) == {2: "mismatch"}
    assert (report.rows, report.source_rows) == (ROWS, ROWS - 1)
    assert sum("the database went away" in record.getMessage() for record in caplog.records) == 2


def test_content_finds_what_counts_do_not(shop: Shop):
    shop.publish()
    shop.source("UPDATE orders SET note = 'x'")
    assert reconcile(shop).result == "match"
    report = reconcile(shop, content=True)
    assert [item.changed for item in report.partitions] == [100] * 10
    assert {len(item.examples.changed) for item in report.partitions} == {10}


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("mode", ["full", "chunked"])
def test_every_type_is_equal_to_itself(shop: Shop, form: str, mode: str):
    shop.source(
        "CREATE TABLE kinds (id INTEGER PRIMARY KEY, i BIGINT, f DOUBLE, d DECIMAL(12, 2), t TEXT, b BLOB, day DATE,"
        " at DATETIME, yes BOOLEAN)",
        "INSERT INTO kinds VALUES (1, 5, 0.0, 1.5, 'a:b', x'00ff', '2026-01-02', '2026-01-02 03:04:05', 1)",
        "INSERT INTO kinds VALUES (2, -9, -0.0, NULL, '', x'', '1969-01-02', '1969-01-02 03:04:05.000001', 0)",
        "INSERT INTO kinds VALUES (3, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL)",
        "INSERT INTO kinds VALUES (4, 0, 9e999, 99.99, 'ü', x'61', NULL, NULL, 1)",
    )
    shop.configure(
        f"{{name: orders, table: kinds, mode: {mode}, format: {form}, meta_columns: {{exported_at: true}}, "
        "destination: {type: local, path: out}}"
    )
    shop.publish()
    report = reconcile(shop, content=True)
    assert (report.result, report.columns, report.reason) == ("match", (), ""), report
    assert report.source_rows == 4
    for column, value in (("i", "6"), ("f", "0.25"), ("d", "1.51"), ("t", "'a'"), ("b", "x'00fe'"), ("yes", "0")):
        shop.source("CREATE TABLE kept AS SELECT * FROM kinds")
        shop.source(f"UPDATE kinds SET {column} = {value} WHERE id = 1")
        assert reconcile(shop, content=True).partitions[0].changed == 1, column
        shop.source("DELETE FROM kinds", "INSERT INTO kinds SELECT * FROM kept", "DROP TABLE kept")
    shop.source("UPDATE kinds SET t = '' WHERE id = 3")
    assert reconcile(shop, content=True).partitions[0].changed == 1, "NULL is not the empty text"


def test_rows_without_any_key_are_compared_as_they_are(shop: Shop):
    shop.source("CREATE TABLE visits (page TEXT)", "INSERT INTO visits VALUES ('a'), ('a'), ('b')")
    shop.configure("{name: orders, table: visits, destination: {type: local, path: out}}")
    shop.publish()
    assert reconcile(shop, content=True).result == "match"
    shop.source("DELETE FROM visits WHERE rowid = 1", "INSERT INTO visits VALUES ('c')")
    report = reconcile(shop, content=True)
    assert report.key == ()
    (whole,) = report.partitions
    assert (whole.missing, whole.extra, whole.changed) == (1, 1, 0)
    assert whole.examples.missing == ()


def test_a_key_that_is_not_unique(shop: Shop):
    shop.source("CREATE TABLE visits (day TEXT NOT NULL, page TEXT)")
    shop.source("INSERT INTO visits VALUES ('1', 'a'), ('1', 'a'), ('1', 'b'), ('2', 'a')")
    shop.configure(CHUNKED.replace("table: orders", "table: visits") % "chunk_column: day, chunk_size: 1")
    shop.publish()
    assert reconcile(shop, content=True).result == "match"
    shop.source("UPDATE visits SET page = 'c' WHERE rowid = 2")
    report = reconcile(shop, content=True)
    assert results(report) == {1: "mismatch"}
    assert (report.partitions[0].changed, report.partitions[0].examples.changed) == (1, (("1",),))


def test_other_columns_are_a_mismatch_that_names_them(shop: Shop):
    shop.publish()
    shop.source("ALTER TABLE orders ADD COLUMN amount INTEGER")
    report = reconcile(shop, content=True)
    assert (report.result, report.columns) == ("mismatch", ("the dataset has no column amount",))
    assert results(report) == {}
    shop.source("ALTER TABLE orders DROP COLUMN note")
    assert "the source has no column note any more" in reconcile(shop, content=True).columns


@pytest.mark.parametrize("damage", ["missing", "damaged", "swapped"])
def test_content_of_a_part_that_cannot_be_read(shop: Shop, damage: str):
    shop.publish()
    part = shop.out / "part-000004.parquet"
    if damage == "missing":
        part.unlink()
    elif damage == "damaged":
        part.write_bytes(b"PAR1" + part.read_bytes()[4:-4] + b"PARX")
    else:
        part.write_bytes((shop.out / "part-000005.parquet").read_bytes())
    report = reconcile(shop, content=True)
    assert results(report) == {4: "mismatch"}
    assert report.partitions[3].reason.startswith("part-000004.parquet is")


def test_a_repair_mends_what_content_has_found(shop: Shop):
    shop.publish()
    shop.source("UPDATE orders SET note = 'x' WHERE id = 500")
    config = shop.config
    found = repair_export(
        config,
        config.exports[0],
        shop.registry,
        PrefixChoice(datetime.now(UTC).date()),
        RunOptions(),
        watch=lambda name, counters: nullcontext(),
        report=reconcile(shop, content=True),
        execute=True,
    )
    assert [item.number for item in found.flagged] == [5]
    assert reconcile(shop, content=True).result == "match"


def test_without_a_column_in_common_rows_are_counted(shop: Shop):
    shop.configure("{name: orders, table: visits, destination: {type: local, path: out}}")
    shop.source("CREATE TABLE visits (n INTEGER)", "INSERT INTO visits VALUES (1)")
    shop.publish()
    shop.source("DROP TABLE visits", "CREATE TABLE visits (n TEXT)", "INSERT INTO visits VALUES ('1'), ('2')")
    report = reconcile(shop, content=True)
    assert (report.result, report.compared, report.source_rows) == ("mismatch", "counts", 2)
    assert report.columns == ("the column n is int64 in the dataset and string in the source",)
