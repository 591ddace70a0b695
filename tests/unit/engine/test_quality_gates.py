"""Quality gates: what they measure, and that rows which fail one are never published."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from rivet_core.api import SourceUnavailable, Transient, UsageError
from rivet_core.builtin.csv import CsvConfig, CsvFormat
from rivet_core.builtin.parquet import ParquetConfig, ParquetFormat
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.cli.main import main
from rivet_core.config.sections import QualitySection
from rivet_core.engine.gates import distinct
from rivet_core.engine.gates.quality import Gates
from rivet_core.engine.result import RunResult
from rivet_core.state import PartRow
from rivet_local.destination import LocalDestination
from rivet_local.objects import LocalWriter
from unit.engine.shop import Shop

ROWS = 1000
READ = SqlalchemySource.read
EXPORT = "{name: orders, table: orders, quality: {%s}, destination: {type: local, path: out}, %s}"
CHUNKED = "mode: chunked, chunk_size: 100, parallel: 3"
GATES = (
    f"row_count_min: {ROWS}, row_count_max: {ROWS}, null_ratio_max: {{note: 0.1, id: 0}}, unique_columns: [id, code]"
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A thousand orders; every tenth has no note, every one a code of its own."""
    shop = Shop(tmp_path)
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, code TEXT)")
    shop.source(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
        "INSERT INTO orders SELECT i, CASE WHEN i % 10 THEN 'note' END, 'code ' || i FROM n"
    )
    return shop


def configure(shop: Shop, gates: str = GATES, more: str = "mode: full") -> None:
    shop.configure(EXPORT % (gates, more))


def measures(result: RunResult) -> dict[str, tuple[Any, Any]]:
    return {
        f"{gate['gate']} {gate['column'] or ''}".strip(): (gate["measure"], gate["passed"]) for gate in result.quality
    }


PASSED = {
    "row_count_min": (ROWS, True),
    "row_count_max": (ROWS, True),
    "null_ratio_max note": (0.1, True),
    "null_ratio_max id": (0.0, True),
    "unique_columns id": (0, True),
    "unique_columns code": (0, True),
}


@pytest.mark.parametrize("format_", ["parquet", "csv"])
@pytest.mark.parametrize("mode", ["mode: full", CHUNKED, "max_file_size: 10KB"])
def test_rows_that_pass_are_published_with_every_measure(shop: Shop, mode: str, format_: str):
    configure(shop, more=f"{mode}, format: {format_}")
    result = shop.run(validate=True)
    assert result.error is None, result.error
    assert measures(result) == PASSED


@pytest.mark.parametrize(
    ("gate", "change", "message"),
    [
        ("row_count_min: 1001", "", "1000 rows are less than 1001"),
        ("row_count_max: 999", "", "1000 rows are more than 999"),
        ("null_ratio_max: {note: 0.0999}", "", "0.1 of note is NULL, at most 0.0999 allowed"),
        ("unique_columns: [code]", "UPDATE orders SET code = 'secret' WHERE id > 990", "9 rows repeat a value of code"),
    ],
)
@pytest.mark.parametrize("mode", ["mode: full", CHUNKED])
def test_a_gate_that_fails_publishes_nothing(shop: Shop, mode: str, gate: str, change: str, message: str):
    configure(shop, "row_count_min: 1", mode)
    before = shop.publish()
    certified = (shop.out / "_SUCCESS").read_bytes()
    if change:
        shop.source(change)
    configure(shop, f"{gate}, null_ratio_max: {{code: 1}}" if "null" not in gate else gate, mode)
    result = shop.run()
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("R603", 3)
    assert message in result.error.message
    assert "secret" not in json.dumps(result.to_json())
    assert [item["passed"] for item in result.quality].count(False) == 1
    assert (shop.out / "_SUCCESS").read_bytes() == certified
    assert json.loads((shop.out / "manifest.json").read_bytes())["run_id"] == before.run_id
    assert shop.runs() == ["succeeded", "failed"]


def test_every_failed_gate_is_named(shop: Shop):
    configure(shop, "row_count_min: 5000, null_ratio_max: {note: 0}, unique_columns: [note]")
    result = shop.run()
    assert result.error is not None
    assert result.error.message.startswith("3 of 3 quality gates failed: 1000 rows are less than 5000; ")
    assert "0.1 of note is NULL" in result.error.message
    assert "899 rows repeat a value of note" in result.error.message  # NULL repeats nothing


def test_a_table_without_rows_has_no_share_of_null(shop: Shop):
    shop.source("DELETE FROM orders")
    configure(shop, "row_count_max: 0, null_ratio_max: {note: 0}, unique_columns: [id]")
    assert set(measures(shop.publish()).values()) == {(0, True)}


def test_rows_that_are_read_again_count_once(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    commit, lost = LocalWriter.commit, []

    def losing(writer: LocalWriter) -> Any:
        if len(lost) < 2:
            lost.append(writer)
            raise Transient("the upload was lost")
        return commit(writer)

    monkeypatch.setattr(LocalWriter, "commit", losing)
    configure(shop, more=CHUNKED)
    result = shop.publish()
    assert len(lost) == 2
    assert measures(result) == PASSED


@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_kept_chunks_of_a_resume_are_part_of_the_judgement(shop: Shop, monkeypatch: pytest.MonkeyPatch, format_: str):
    reads: list[object] = []

    @contextmanager
    def read(self: SqlalchemySource, query: Any, **kwargs: Any) -> Iterator[Any]:
        reads.append(query)
        if len(reads) > 5:
            raise SourceUnavailable("the database went away")
        with READ(self, query, **kwargs) as stream:
            yield stream

    shop.source("UPDATE orders SET code = 'code 1' WHERE id = 1000")
    configure(shop, more=f"mode: chunked, chunk_size: 100, format: {format_}")
    with monkeypatch.context() as patched:
        patched.setattr(SqlalchemySource, "read", read)
        assert shop.run().error is not None
    result = shop.run(resume=True)
    assert [item["decision"] for item in result.decisions].count("skip") == 5
    assert result.error is not None
    assert result.error.code == "R603"
    assert measures(result) == {**PASSED, "unique_columns code": (1, False)}


def test_a_gate_that_was_loosened_lets_a_resume_publish(shop: Shop):
    configure(shop, "row_count_max: 10", CHUNKED)
    assert shop.run().error is not None
    configure(shop, "row_count_max: 1000", CHUNKED)
    result = shop.run(resume=True)
    assert result.error is None
    assert {item["decision"] for item in result.decisions} == {"skip"}
    assert measures(result) == {"row_count_max": (ROWS, True)}


def test_gates_judge_the_rows_of_an_increment(shop: Shop):
    increments = "mode: incremental, cursor_column: id, key: id"
    configure(shop, "row_count_min: 1, unique_columns: [code]", increments)
    assert shop.publish().rows == ROWS
    empty = shop.run()
    assert empty.error is not None
    assert "0 rows are less than 1" in empty.error.message
    shop.source("INSERT INTO orders VALUES (5000, NULL, 'code 1')")  # the code of an earlier row
    result = shop.publish()
    assert result.rows == ROWS + 1
    assert measures(result) == {"row_count_min": (1, True), "unique_columns code": (0, True)}
    configure(shop, "null_ratio_max: {note: 0.9}", increments)
    assert measures(shop.publish()) == {"null_ratio_max note": (0.0, True)}


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("null_ratio_max: {nonsense: 0}", "quality.null_ratio_max names 'nonsense'"),
        ("unique_columns: [id, nonsense]", "quality.unique_columns names 'nonsense'"),
    ],
)
def test_a_gate_about_an_unknown_column_is_refused_before_a_row_is_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, gate: str, message: str
):
    monkeypatch.setattr(SqlalchemySource, "read", None)
    configure(shop, gate)
    result = shop.run()
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("R201", 2)
    assert message in result.error.message
    assert result.error.hint == "columns: id, note, code"


EVERY_TYPE: dict[str, tuple[pa.DataType, list[Any]]] = {
    "flag": (pa.bool_(), [True, False]),
    "small": (pa.int16(), [-5, 5]),
    "large": (pa.uint64(), [0, 2**64 - 1]),
    "real": (pa.float32(), [0.1, -1.5]),
    "double": (pa.float64(), [0.1, 1e300]),
    "amount": (pa.decimal128(10, 2), [Decimal("1.10"), Decimal("-0.01")]),
    "wide": (pa.decimal256(60, 5), [Decimal("1.10000"), Decimal("123456789012345678901234567890.5")]),
    "day": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "clock": (pa.time64("us"), [time(0, 0, 0, 1), time(23, 59, 59)]),
    "moment": (pa.timestamp("us"), [datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(2026, 1, 1)]),
    "instant": (pa.timestamp("us", "UTC"), [datetime(2026, 1, 1, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)]),
    "seconds": (pa.timestamp("s"), [datetime(2026, 1, 1), datetime(1900, 1, 1)]),
    "text": (pa.string(), ["", "ä"]),
    "long": (pa.large_string(), ["a", "b,\n"]),
    "body": (pa.binary(), [b"", b"\xff\0"]),
    "uid": (pa.uuid(), [UUID(int=1).bytes, UUID(int=2).bytes]),
    "document": (pa.json_(), ['{"a": 1}', "[]"]),
    "choice": (pa.dictionary(pa.int8(), pa.string()), ["x", "y"]),
}


@pytest.mark.parametrize("format_", [ParquetFormat(ParquetConfig()), CsvFormat(CsvConfig())], ids=["parquet", "csv"])
def test_a_part_that_is_read_back_has_the_values_that_were_seen(tmp_path: Path, format_: Any):
    schema = pa.schema([(name, dtype) for name, (dtype, _) in EVERY_TYPE.items()])
    columns = [pa.array(values, dtype) for dtype, values in EVERY_TYPE.values()]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    store = LocalDestination(tmp_path)
    sink = io.BytesIO()
    with closing(format_.encoder(sink, schema, group_bytes=1_000_000)) as encoder:
        encoder.write(batch)
        encoder.finish()
    store.put("part", sink.getvalue())
    part = PartRow("part", 1, batch.num_rows, len(sink.getvalue()), "xxh3:0", "")
    with Gates(QualitySection(unique_columns=list(EVERY_TYPE)), schema) as gates:
        seen = gates.observe()
        seen.see(batch)
        gates.add(seen)
        gates.add_part(part, store, format_, schema)
        assert {result.column: result.measure for result in gates.results()} == dict.fromkeys(EVERY_TYPE, 2)


@pytest.mark.parametrize(
    "gate", ["row_count_min: 0", "row_count_max: 9", "null_ratio_max: {id: 1}", "unique_columns: [id]"]
)
def test_a_stream_has_no_gates(shop: Shop, gate: str):
    shop.configure(f"{{name: stream, table: orders, quality: {{{gate}}}, destination: {{type: stdout}}}}")
    with pytest.raises(UsageError, match="has quality gates"):
        shop.run()


def test_nothing_is_left_in_the_directory_for_temporary_files(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    written: list[int] = []
    append = distinct.SpillFile.append

    def appending(self: distinct.SpillFile, data: Any) -> int:
        start = append(self, data)
        written.append(data.size)
        assert list(temporary.iterdir()) == []
        return start

    monkeypatch.setattr(distinct.SpillFile, "append", appending)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("rivet_core.engine.gates.quality._MIN_LIMIT_BYTES", 1000)
    monkeypatch.setattr("rivet_core.engine.gates.quality._BUDGET_SHARE", 10**9)
    configure(shop, more=CHUNKED)
    assert measures(shop.publish()) == PASSED
    assert written
    assert list(temporary.iterdir()) == []


def test_the_command_shows_every_gate(shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(shop.directory)
    configure(shop, "row_count_min: 5, unique_columns: [note]")
    assert main(["run"]) == 3
    captured = capsys.readouterr()
    assert "quality: row_count_min: 1000, limit 5: passed" in captured.out
    assert "quality: unique_columns note: 899, limit 0: failed" in captured.out
    assert "error[R603]: 1 of 2 quality gates failed" in captured.err
