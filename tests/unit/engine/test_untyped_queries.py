"""A query whose types only its values tell: every verb reads each piece of it as the types of the whole."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet
import pytest

from rivet_core.engine.apply import apply_plan
from rivet_core.engine.check import check_export
from rivet_core.engine.plan import PrefixChoice
from rivet_core.engine.preview import PreviewOptions, preview
from rivet_core.engine.reconcile import reconcile_export
from rivet_core.engine.repair import repair_export
from rivet_core.engine.run import RunOptions
from rivet_core.engine.sealed_plan import read_plan, write_plan
from unit.engine.shop import NUMBERS, ROWS, Shop

QUERY = '"SELECT id, amount + 0 AS amount FROM orders"'
EXPORT = (
    f"{{name: orders, query: {QUERY}, mode: chunked, chunk_column: id, chunk_size: 100, columns: {{id: int64}},"
    " destination: {type: local, path: out}}"
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A thousand amounts: in the first nine chunks whole ones only, in the last one broken ones."""
    shop = Shop(tmp_path)
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, amount NUMERIC)")
    shop.source(f"{NUMBERS} INSERT INTO orders SELECT i, CASE WHEN i <= 900 THEN i ELSE i + 0.5 END FROM n")
    shop.configure(EXPORT)
    return shop


def today() -> PrefixChoice:
    return PrefixChoice(datetime.now(UTC).date())


def watch(name, counters):
    return nullcontext()


def amounts(shop: Shop) -> list[float]:
    table = pyarrow.parquet.read_table([shop.out / name for name in shop.parts()])
    return table.sort_by("id")["amount"].to_pylist()


EXPECTED = [float(i) if i <= 900 else i + 0.5 for i in range(1, ROWS + 1)]


def test_the_content_of_what_was_exported_matches(shop: Shop):
    shop.publish()
    assert amounts(shop) == EXPECTED
    report = reconcile_export(shop.config, shop.config.exports[0], shop.registry, today(), {}, content=True)
    assert (report.result, report.compared, report.rows) == ("match", "content", ROWS)
    shop.source("UPDATE orders SET amount = 7 WHERE id = 50")
    report = reconcile_export(shop.config, shop.config.exports[0], shop.registry, today(), {}, content=True)
    assert [(item.number, item.changed) for item in report.partitions if item.result != "match"] == [(1, 1)]


def test_a_plan_is_made_and_applied(shop: Shop):
    config, now = shop.config, datetime.now(UTC)
    planned = preview(config, config.exports[0], shop.registry, now, PreviewOptions({}))
    assert [column.type for column in planned.columns] == ["int64", "float64"]
    assert planned.sampled_rows == 100
    path = shop.directory / "plan.json"
    write_plan(path, [planned], now)
    (result,) = apply_plan(
        config, read_plan(path), shop.registry, RunOptions(), watch, names=(), max_age=timedelta(days=1)
    )
    assert result.error is None, result.error
    assert amounts(shop) == EXPECTED


def test_a_repair_takes_over_the_chunks_that_match(shop: Shop):
    shop.publish()
    shop.source("DELETE FROM orders WHERE id = 250")
    found = repair_export(
        shop.config, shop.config.exports[0], shop.registry, today(), RunOptions(), watch=watch, execute=True
    )
    assert found.run is not None
    assert (found.run.error, found.kept, found.aside) == (None, 9, ["part-000003.parquet"])
    assert amounts(shop) == EXPECTED[:249] + EXPECTED[250:]


def test_the_check_says_what_the_run_exports(shop: Shop):
    report = check_export(shop.config, shop.config.exports[0], shop.registry, {}, sample_queries=True)
    assert report.exit_code == 0, report.checks
    assert [(column.name, column.type) for column in report.columns] == [("id", "int64"), ("amount", "float64")]
    shop.publish()
    schema = pyarrow.parquet.read_schema(shop.out / "part-000001.parquet")
    assert [str(field.type) for field in schema] == ["int64", "double"]
