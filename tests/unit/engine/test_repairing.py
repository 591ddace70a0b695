"""Repairs: what is exported again, what is kept, and what is refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from rivet_core.api import LostRace, RivetError, SafetyError, TrustError, UsageError
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.reconciliation import ReconcileReport, read_report
from rivet_core.engine.plan import PrefixChoice
from rivet_core.engine.proof import prove_part
from rivet_core.engine.publish import Publisher
from rivet_core.engine.reconcile import reconcile_export
from rivet_core.engine.repair import RepairReport, repair_export
from rivet_core.engine.run import ExportRun, RunOptions
from rivet_local.destination import LocalDestination
from unit.engine.shop import ROWS, Shop, large_shop

CHUNKED = "{name: orders, table: orders, mode: chunked, destination: {type: local, path: out}, %s}"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return large_shop(tmp_path, CHUNKED % "chunk_size: 100")


def choice() -> PrefixChoice:
    return PrefixChoice(datetime.now(UTC).date())


def repair(shop: Shop, *, execute: bool = True, report: ReconcileReport | None = None, **options: Any) -> RepairReport:
    config = shop.config
    return repair_export(
        config,
        config.exports[0],
        shop.registry,
        choice(),
        RunOptions(**options),
        watch=lambda name, counters: nullcontext(),
        report=report,
        execute=execute,
    )


def reconcile(shop: Shop, **options: Any) -> ReconcileReport:
    config = shop.config
    return reconcile_export(config, config.exports[0], shop.registry, choice(), {}, **options)


def manifest(shop: Shop) -> dict[str, Any]:
    return json.loads((shop.out / "manifest.json").read_bytes())


def ids(shop: Shop) -> list[int]:
    parts = manifest(shop)["parts"]
    assert len({part["path"] for part in parts}) == len(parts)
    return [row for part in parts for row in pyarrow.parquet.read_table(shop.out / part["path"])["id"].to_pylist()]


def in_source(shop: Shop) -> list[int]:
    with closing(sqlite3.connect(shop.directory / "shop.db")) as connection:
        return [row for (row,) in connection.execute("SELECT id FROM orders ORDER BY id")]


def check(shop: Shop, found: RepairReport) -> None:
    """The dataset is the table, verifies, and there is nothing else at the prefix."""
    assert found.run is not None
    assert found.run.error is None, found.run.error
    assert ids(shop) == in_source(shop)
    assert shop.parts() == sorted(part["path"] for part in manifest(shop)["parts"])
    assert reconcile(shop).result == "match"


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(shop: Shop):
    shop.publish()
    shop.source("DELETE FROM orders WHERE id = 250")
    before = {path: path.stat().st_mtime_ns for path in shop.directory.rglob("*")}
    found = repair(shop, execute=False)
    assert (found.executed, found.run, found.kept) == (False, None, 9)
    assert [(item.number, item.reason) for item in found.flagged] == [(3, "the source has 99 rows, the dataset 100")]
    assert found.aside == ["part-000003.parquet"]
    assert {path: path.stat().st_mtime_ns for path in shop.directory.rglob("*")} == before


def test_only_what_differs_is_read_again(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    first = shop.publish()
    shop.source("DELETE FROM orders WHERE id = 250", "INSERT INTO orders VALUES (-1, 'late')")
    reads = []
    read = SqlalchemySource.read
    monkeypatch.setattr(
        SqlalchemySource, "read", lambda self, query, **kw: (reads.append(query), read(self, query, **kw))[1]
    )
    found = repair(shop, validate=True)
    assert len(reads) == 2
    check(shop, found)
    assert found.run is not None
    assert found.run.run_id != first.run_id
    assert found.run.validation is not None
    parts = manifest(shop)["parts"]
    assert [part["path"] for part in parts][:3] == ["part-000011.parquet", "part-000002.parquet", "part-000012.parquet"]
    new, old = found.run.run_id, first.run_id
    assert [part["run_id"] for part in parts] == [new, old, new, *[old] * 7]
    assert [part["chunk"] for part in parts] == list(range(1, 11))
    assert found.run.quarantined == ["part-000001.parquet", "part-000003.parquet"]
    quarantine = shop.out / "_quarantine" / new
    assert sorted(path.name for path in quarantine.iterdir()) == found.run.quarantined
    assert shop.runs() == ["succeeded", "succeeded"]


def test_the_prefix_is_listed_and_every_part_proven_once(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.publish()
    shop.source("DELETE FROM orders WHERE id = 250")
    report = reconcile(shop)
    listed, proven = [], []
    list_, prove = LocalDestination.list, prove_part
    monkeypatch.setattr(LocalDestination, "list", lambda *args: (listed.append(args), list_(*args))[1])
    monkeypatch.setattr(
        "rivet_core.engine.reconcile.prove_part",
        lambda destination, part, *args, **kw: (proven.append(part.path), prove(destination, part, *args, **kw))[1],
    )
    for given in (report, None):
        listed.clear()
        proven.clear()
        assert repair(shop, execute=False, report=given).kept == 9
        assert len(listed) == 1
        assert sorted(proven) == shop.parts()


@pytest.mark.parametrize("superseded", ["quarantine", "keep", "delete"])
def test_stale_parts_go_to_quarantine_whatever_superseded_says(shop: Shop, superseded: str):
    shop.configure(CHUNKED % f"chunk_size: 100, superseded: {superseded}")
    shop.publish()
    shop.publish()
    others = set(shop.parts())
    shop.source("DELETE FROM orders WHERE id = 250")
    found = repair(shop)
    assert found.run is not None
    assert found.run.quarantined == found.aside
    assert set(shop.parts()) == others - set(found.aside) | {"part-000021.parquet"}


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_parts_that_are_missing_or_damaged_are_written_again(shop: Shop, damage: str):
    shop.publish()
    part = shop.out / "part-000004.parquet"
    data = part.read_bytes()
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes(data[:-9] if damage == "shorter" else data[:500] + b"!" + data[501:])
    report = reconcile(shop)
    for found in (repair(shop, execute=False, report=report), repair(shop, execute=False)):
        assert [item.number for item in found.flagged] == [4]
        assert "part-000004.parquet is" in found.flagged[0].reason
    found = repair(shop)
    check(shop, found)
    assert found.run is not None
    assert found.run.quarantined == ([] if damage == "missing" else ["part-000004.parquet"])


def test_a_range_that_has_no_rows_any_more(shop: Shop):
    shop.publish()
    shop.source("DELETE FROM orders WHERE id > 100 AND id <= 200")
    check(shop, repair(shop))
    assert [item.kind for item in reconcile(shop).partitions][:3] == ["range", "gap", "range"]
    shop.source("INSERT INTO orders VALUES (150, 'back')")
    check(shop, repair(shop))
    assert [part["chunk"] for part in manifest(shop)["parts"]] == list(range(1, 11))


def test_rows_without_a_key(shop: Shop):
    shop.source("CREATE TABLE visits (id INTEGER, n INTEGER)")
    shop.source("INSERT INTO visits VALUES (1, 1), (2, 2), (NULL, 3)")
    shop.configure(CHUNKED.replace("table: orders", "table: visits") % "chunk_column: id, chunk_size: 1")
    shop.publish()
    shop.source("INSERT INTO visits VALUES (NULL, 4)")
    found = repair(shop)
    assert [item.number for item in found.flagged] == [3]
    assert ids(shop) == [1, 2, None, None]
    assert reconcile(shop).result == "match"


def test_rows_beyond_the_dataset_are_left_to_the_next_run(shop: Shop):
    shop.publish()
    shop.source("INSERT INTO orders VALUES (5000, 'new')")
    assert repair(shop).flagged == []
    shop.source("DELETE FROM orders WHERE id = 1")
    assert repair(shop).run is not None
    assert ids(shop) == list(range(2, 1001))


def test_keys_of_several_columns(shop: Shop):
    shop.source("CREATE TABLE lines (id INTEGER NOT NULL, b TEXT NOT NULL, PRIMARY KEY (id, b))")
    shop.source(*(f"INSERT INTO lines VALUES ({n % 3}, 'b{n}')" for n in range(20)))
    shop.configure(CHUNKED.replace("table: orders", "table: lines") % "chunk_size: 6")
    shop.publish()
    shop.source("DELETE FROM lines WHERE id = 1 AND b = 'b10'")
    found = repair(shop)
    assert (len(found.flagged), found.kept) == (1, 3)
    assert reconcile(shop).result == "match"
    assert sorted(ids(shop)) == sorted(n % 3 for n in range(20) if n != 10)


def test_a_dataset_without_ranges_is_exported_as_a_whole(shop: Shop):
    shop.configure("{name: orders, table: orders, destination: {type: local, path: out}}")
    shop.publish()
    shop.source("DELETE FROM orders WHERE id IN (1, 2)", "INSERT INTO orders VALUES (2000, 'new')")
    found = repair(shop)
    assert (found.kept, found.aside) == (0, ["part-000001.parquet"])
    check(shop, found)


def test_everything_differs(shop: Shop):
    shop.publish()
    shop.source("UPDATE orders SET id = id + 5000")
    check(shop, repair(shop))


def test_nothing_differs(shop: Shop):
    shop.publish()
    before = manifest(shop)
    found = repair(shop)
    assert (found.flagged, found.run, found.exit_code) == ([], None, 0)
    assert manifest(shop) == before
    assert shop.runs() == ["succeeded"]


def test_a_report_decides(shop: Shop):
    shop.publish()
    report = reconcile(shop)
    items = [
        item.model_copy(update={"result": "mismatch", "reason": "changed"}) if item.number == 7 else item
        for item in report.partitions
    ]
    document = report.model_copy(update={"partitions": tuple(items)}).to_json()
    read = read_report(json.dumps({"reports": [document]}).encode(), "orders")
    shop.source("UPDATE orders SET note = 'new' WHERE id = 650")
    found = repair(shop, report=read)
    assert [(item.number, item.reason) for item in found.flagged] == [(7, "changed")]
    check(shop, found)


def test_a_report_about_another_dataset_is_refused(shop: Shop):
    shop.publish()
    report = reconcile(shop)
    shop.publish()
    with pytest.raises(SafetyError, match="the report is about another dataset"):
        repair(shop, report=report)


def test_a_report_of_other_columns_is_refused(shop: Shop):
    shop.publish()
    shop.source("ALTER TABLE orders ADD COLUMN amount INTEGER")
    with pytest.raises(UsageError, match="the dataset has no column amount"):
        repair(shop, report=reconcile(shop, content=True))


def test_a_report_needs_no_reasons(shop: Shop):
    shop.publish()
    report = reconcile(shop)
    first, *others = report.partitions
    odd = report.model_copy(update={"partitions": (first.model_copy(update={"result": "mismatch"}), *others)})
    assert [item.number for item in repair(shop, report=odd, execute=False).flagged] == [1]


def test_a_report_that_does_not_fit_is_refused(shop: Shop):
    shop.publish()
    report = reconcile(shop)
    first, second, *others = report.partitions
    for items in (
        (first.model_copy(update={"parts": second.parts}), *others),
        (first, second.model_copy(update={"range": first.range}), *others),
        (*report.partitions, first.model_copy(update={"number": 99})),
    ):
        with pytest.raises(UsageError, match="does not fit"):
            repair(shop, report=report.model_copy(update={"partitions": items}))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff", "not JSON"),
        (b"[]", "no list of reports"),
        (b'{"reports": []}', "0 reports on 'orders'"),
        (b'{"reports": [{"export": "orders", "error": {}}]}', "could not be compared then"),
        (b'{"reports": [{"export": "orders", "report_version": 2}]}', "its version is 2"),
        (b'{"reports": [{"export": "orders", "report_version": 1}]}', "resolved_prefix: Field required"),
    ],
)
def test_what_is_no_report_is_refused(data: bytes, why: str):
    with pytest.raises(UsageError, match=why):
        read_report(data, "orders")


@pytest.mark.parametrize(
    ("export", "what"),
    [
        ("{name: orders, table: orders, destination: {type: local, path: out}}", "mode|key of its chunks"),
        (CHUNKED % "chunk_size: 100, compression: gzip", "compression"),
        (CHUNKED % "chunk_size: 100, format: csv", "format"),
        (CHUNKED % "chunk_column: [id, note]", "key|may be NULL"),
        (CHUNKED % "chunk_size: 100, columns: {note: binary}", "columns"),
        (CHUNKED % "chunk_size: 100, meta_columns: {exported_at: true}", "columns"),
        (CHUNKED.replace("table: orders", 'query: "SELECT * FROM orders"') % "chunk_column: id", "table"),
    ],
)
def test_an_export_that_was_changed_is_refused(shop: Shop, export: str, what: str):
    shop.publish()
    shop.source("DELETE FROM orders WHERE id = 1")
    shop.configure(export)
    before = manifest(shop)
    with pytest.raises(RivetError, match=what):
        repair(shop)
    assert manifest(shop) == before
    shop.configure(CHUNKED % "chunk_size: 300")  # how the rest is cut changes nothing
    check(shop, repair(shop))


def test_a_query_that_was_changed_is_refused_where_the_state_knows_it(shop: Shop):
    shop.configure(_query(800))
    shop.publish()
    shop.source("DELETE FROM orders WHERE id = 1")
    shop.configure(_query(900))
    found = repair(shop)
    assert found.run is not None
    assert found.run.error is not None
    assert (found.run.error.code, found.run.exit_code) == ("R101", 2)
    assert "query" in found.run.error.message


def test_a_query_that_nobody_remembers_is_refused(shop: Shop):
    shop.configure(_query(800))
    shop.publish()
    before = manifest(shop)
    shop.source("DELETE FROM orders WHERE id = 1")
    for path in shop.directory.glob(".rivet_state.db*"):
        path.unlink()
    shop.configure(_query(800).replace("SELECT *", "SELECT id, upper(note) AS note"))
    found = repair(shop)
    assert found.run is not None
    assert found.run.error is not None
    assert (found.run.error.code, manifest(shop)) == ("R701", before)
    assert "query" in found.run.error.message


def _query(most: int) -> str:
    table = f'query: "SELECT * FROM orders WHERE id < {most}"'
    chunks = "chunk_column: id, chunk_size: 100, columns: {id: int64, note: string}"
    return CHUNKED.replace("table: orders", table) % chunks


def test_an_incremental_dataset_is_refused(shop: Shop):
    shop.configure(
        "{name: orders, table: orders, mode: incremental, cursor_column: id, destination: {type: local, path: out}}"
    )
    shop.publish()
    with pytest.raises(SafetyError, match="incremental") as refused:
        repair(shop)
    assert "rivet state reset" in refused.value.hint


@pytest.mark.parametrize("prefix", ["nothing", "legacy", "unfinished", "tampered", "foreign"])
def test_what_cannot_be_repaired_is_refused(shop: Shop, prefix: str):
    shop.out.mkdir()
    if prefix == "legacy":
        (shop.out / "old.parquet").write_bytes(b"PAR1")
    if prefix in ("unfinished", "tampered", "foreign"):
        shop.publish()
    if prefix == "unfinished":
        (shop.out / "_SUCCESS").unlink()
    if prefix == "tampered":
        (shop.out / "manifest.json").write_bytes(b"{}")
    if prefix == "foreign":
        data = (shop.out / "manifest.json").read_bytes().replace(b"rivet-core", b"rivet-cli")
        for path in shop.out.glob("manifest*.json"):
            path.write_bytes(data)
        (shop.out / "_SUCCESS").write_text(f"{fingerprint(data)}\n")
    with pytest.raises((TrustError, SafetyError)) as refused:
        repair(shop)
    assert refused.value.exit_code in (3, 5)
    assert "rivet run" in refused.value.hint


def test_another_run_in_between_wins(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.publish()
    shop.source("DELETE FROM orders WHERE id = 1")
    execute = ExportRun.execute

    def overtaken(run: ExportRun) -> Any:
        monkeypatch.setattr(ExportRun, "execute", execute)
        shop.publish()
        return execute(run)

    monkeypatch.setattr(ExportRun, "execute", overtaken)
    found = repair(shop)
    assert found.run is not None
    assert found.run.error is not None
    assert (found.run.error.code, found.exit_code) == (LostRace.code, 5)
    assert ids(shop) == in_source(shop)


def test_a_repair_that_died_is_repeated_or_resumed(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    def die(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    shop.publish()
    shop.source("DELETE FROM orders WHERE id IN (1, 500)")
    publish = Publisher.publish
    monkeypatch.setattr(Publisher, "publish", die)
    assert repair(shop).exit_code == 130
    assert len(ids(shop)) == ROWS
    monkeypatch.setattr(Publisher, "publish", publish)
    result = shop.run(resume=True, force=True)
    assert result.error is None
    assert {item["decision"] for item in result.decisions} == {"skip"}
    assert ids(shop) == in_source(shop)
    shop.source("DELETE FROM orders WHERE id = 700")
    monkeypatch.setattr(Publisher, "publish", die)
    assert repair(shop).exit_code == 130
    monkeypatch.setattr(Publisher, "publish", publish)
    check(shop, repair(shop))
