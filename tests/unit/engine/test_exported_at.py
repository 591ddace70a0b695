"""The column with the time of the run: in the rows, in the schema, and through everything that depends on it."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.cli.main import main
from rivet_core.contract.manifest import decode
from rivet_core.contract.types import schema_fingerprint
from rivet_core.engine.writing.rows import EXPORTED_AT
from unit.engine.shop import Shop

EXPORT = "{name: orders, table: orders, %s, destination: {type: local, path: out}}"
ON = "meta_columns: {exported_at: true}"


def manifest(shop: Shop) -> dict[str, Any]:
    return json.loads((shop.out / "manifest.json").read_bytes())


def times(shop: Shop) -> set[datetime]:
    paths = [shop.out / part["path"] for part in manifest(shop)["parts"]]
    return {value for path in paths for value in pyarrow.parquet.read_table(path)[EXPORTED_AT].to_pylist()}


@pytest.mark.parametrize(
    "mode", ["mode: full", "max_file_size: 10KB", "mode: chunked, chunk_column: id, chunk_size: 1"]
)
@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_every_row_has_the_time_of_the_start(shop: Shop, format_: str, mode: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(shop.directory)
    shop.configure(EXPORT % f"{ON}, {mode}, format: {format_}, compression: none")
    result = shop.run(validate=True)
    assert result.error is None
    content = decode((shop.out / "manifest.json").read_bytes())
    column = content.columns[-1]
    assert (column.name, column.type, column.nullable) == (EXPORTED_AT, "timestamp[us,UTC]", False)
    assert content.schema_fingerprint == schema_fingerprint(content.arrow_schema())
    started = datetime.fromisoformat(result.started_at)
    if format_ == "parquet":
        (time,) = times(shop)
        field = pyarrow.parquet.read_schema(shop.out / content.parts[0].path).field(EXPORTED_AT)
        assert (field.type, field.nullable) == (pa.timestamp("us", "UTC"), False)
    else:
        tables = [list(csv.reader((shop.out / part.path).read_text().splitlines())) for part in content.parts]
        assert [table[0] for table in tables] == [["id", "note", EXPORTED_AT]] * len(tables)
        (text,) = {row[2] for table in tables for row in table[1:]}
        time = datetime.fromisoformat(text)
    assert time.astimezone(UTC).replace(microsecond=time.microsecond // 1000 * 1000) == started
    assert main(["validate", "--depth", "full"]) == 0


def test_a_table_without_rows_has_the_column_too(shop: Shop):
    shop.source("DELETE FROM orders")
    shop.configure(EXPORT % ON)
    shop.publish()
    assert pyarrow.parquet.read_schema(shop.out / shop.parts()[0]).names == ["id", "note", EXPORTED_AT]


def test_a_stream_has_the_column(shop: Shop, capfdbinary: pytest.CaptureFixture[bytes]):
    shop.configure(f"{{name: stream, table: orders, {ON}, format: csv, destination: {{type: stdout}}}}")
    assert shop.run().error is None
    head, first, *_ = csv.reader(capfdbinary.readouterr().out.decode().splitlines())
    assert head == ["id", "note", EXPORTED_AT]
    assert datetime.fromisoformat(first[2]).tzinfo is not None


def test_a_column_of_that_name_is_refused(shop: Shop):
    shop.configure(
        f"{{name: orders, query: 'SELECT 1 AS {EXPORTED_AT}', {ON}, destination: {{type: local, path: out}}}}"
    )
    result = shop.run()
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("R304", 2)
    assert f"have a column {EXPORTED_AT} already" in result.error.message


def test_switching_it_on_or_off_is_drift(shop: Shop):
    shop.publish()
    shop.configure(EXPORT % f"{ON}, on_schema_drift: fail")
    refused = shop.run()
    assert refused.error is not None
    assert refused.error.code == "R308"
    assert [item["change"] for item in refused.schema_drift] == ["added"]
    shop.configure(EXPORT % ON)
    assert len(shop.publish().warnings) == 1
    shop.configure(EXPORT % "mode: full")
    assert [item["change"] for item in shop.publish().schema_drift] == ["removed"]


CHUNKS = "mode: chunked, chunk_column: id, chunk_size: 1"


def failing_run(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    read = SqlalchemySource.read
    calls: list[object] = []

    def failing(self: SqlalchemySource, query: Any, **kwargs: Any) -> Any:
        calls.append(query)
        if len(calls) > 1:
            raise OSError("gone")
        return read(self, query, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(SqlalchemySource, "read", failing)
        assert shop.run().error is not None


def test_kept_parts_of_a_resume_have_the_time_of_their_own_run(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.configure(EXPORT % f"{ON}, {CHUNKS}, quality: {{null_ratio_max: {{{EXPORTED_AT}: 0}}}}")
    failing_run(shop, monkeypatch)
    result = shop.run(resume=True, validate=True)
    assert result.error is None, result.error
    assert [item["decision"] for item in result.decisions].count("skip") == 1
    assert len(times(shop)) == 2
    assert max(times(shop)).isoformat(timespec="milliseconds")[:23] == result.started_at[:23]


@pytest.mark.parametrize(("before", "now"), [(ON, "empty: file"), ("empty: file", ON)])
def test_a_resume_after_it_was_switched_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch, before: str, now: str):
    shop.configure(EXPORT % f"{before}, {CHUNKS}")
    failing_run(shop, monkeypatch)
    shop.configure(EXPORT % f"{now}, {CHUNKS}")
    result = shop.run(resume=True)
    assert result.error is not None
    assert "exported_at" in result.error.message
    assert result.error.exit_code == 2


def test_increments_have_the_time_of_their_own_run_and_compare_with_the_source(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(shop.directory)
    shop.configure(EXPORT % f"{ON}, mode: incremental, cursor_column: id, key: id, lag: 5, on_schema_drift: fail")
    shop.publish()
    shop.source("INSERT INTO orders VALUES (3, 'c'), (4, NULL)")
    assert shop.publish().rows == 4
    assert len(times(shop)) == 2
    assert shop.publish().rows == 4
    assert main(["validate", "--depth", "full"]) == 0
    assert main(["reconcile", "--content"]) == 0


def test_repaired_rows_have_the_time_of_the_repair(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(shop.directory)
    shop.configure(EXPORT % f"{ON}, {CHUNKS}, quality: {{unique_columns: [id]}}")
    shop.publish()
    (shop.out / manifest(shop)["parts"][0]["path"]).unlink()
    assert main(["repair", "--execute", "-e", "orders"]) == 0
    assert len(times(shop)) == 2
    assert main(["validate", "--depth", "full"]) == 0
    assert main(["reconcile", "--content"]) == 0
