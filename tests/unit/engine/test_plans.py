"""Sealed plans: what they say, that exactly that is run, and which of them are refused."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rivet_core.api import ConfigError, PlanRefused, SafetyError, SchemaDrift, SourceUnavailable, UsageError
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.engine.apply import apply_plan
from rivet_core.engine.preview import PreviewOptions, preview
from rivet_core.engine.result import RunResult
from rivet_core.engine.run import RunOptions
from rivet_core.engine.sealed_plan import PlannedExport, read_plan, seal_of, write_plan
from rivet_core.state import StateStore
from unit.engine.shop import ORDERS, Shop, large_shop

CHUNKED = "{name: orders, table: orders, mode: chunked, %s, destination: {type: local, path: %s}}"
MADE = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
#: Longer ago than any of these plans was made.
EVER = timedelta(days=36_500)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    shop = large_shop(tmp_path)
    chunked(shop)
    return shop


def chunked(shop: Shop, cut: str = "chunk_size: 300", path: str = "out") -> None:
    shop.configure(CHUNKED % (cut, path))


def made(shop: Shop, **options: Any) -> PlannedExport:
    (export,) = shop.config.exports
    return preview(shop.config, export, shop.registry, MADE, PreviewOptions({}, **options))


def write(shop: Shop, created_at: datetime = MADE, **options: Any) -> Path:
    file = shop.directory / "plan.json"
    write_plan(file, [made(shop, **options)], created_at)
    return file


def apply(shop: Shop, file: Path, *, names: tuple[str, ...] = (), max_age: timedelta = EVER, **options: Any) -> Any:
    watch = lambda name, counters: nullcontext()  # noqa: E731
    plan = read_plan(file)
    return apply_plan(shop.config, plan, shop.registry, RunOptions(**options), watch, names=names, max_age=max_age)


def applied(shop: Shop, file: Path, **options: Any) -> RunResult:
    (result,) = apply(shop, file, **options)
    assert isinstance(result, RunResult)
    assert result.error is None, result
    return result


def edit(file: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
    """Change a plan's document, and seal it anew as somebody might who knows how."""
    document = json.loads(file.read_text())
    change(document)
    if seal:
        document["seal"] = seal_of(document)
    file.write_text(json.dumps(document))


def refused(shop: Shop, file: Path, message: str, **options: Any) -> None:
    """Assert that a plan is refused and that nothing was changed."""
    before = sorted(path for path in shop.out.rglob("*")) if shop.out.exists() else []
    with pytest.raises(PlanRefused, match=message) as caught:
        apply(shop, file, **options)
    assert caught.value.exit_code == 5
    assert (sorted(path for path in shop.out.rglob("*")) if shop.out.exists() else []) == before


def test_a_plan_says_what_a_run_would_do_and_does_nothing(shop: Shop):
    planned = made(shop)
    assert [chunk.rows for chunk in planned.chunks] == [300, 300, 300, 100]
    assert [chunk.bounds["high"] for chunk in planned.chunks] == [[["int", str(n)]] for n in (300, 600, 900, 1000)]
    assert (planned.rows, planned.rows_from, planned.key) == (1000, "chunk_size", ("id",))
    assert [(column.name, column.type) for column in planned.columns] == [("id", "int64"), ("note", "string")]
    assert (planned.success, planned.published) == (None, None)
    assert not shop.out.exists()
    assert not (shop.directory / ".rivet_state.db").exists()


def test_the_size_is_estimated_from_a_sample(shop: Shop):
    planned = made(shop)
    result = shop.publish()
    assert planned.estimated_bytes is not None
    assert planned.sampled_rows > 0
    assert result.bytes / 2 < planned.estimated_bytes < result.bytes * 2
    unsampled = made(shop, sample=False)
    assert (unsampled.estimated_bytes, unsampled.sampled_rows) == (None, 0)


def test_the_rows_of_chunks_are_known_without_counting_each(shop: Shop):
    chunked(shop, "chunk_count: 3")
    planned = made(shop)
    assert ([chunk.rows for chunk in planned.chunks], planned.rows_from) == ([334, 334, 332], "chunk_size")


def test_rows_without_a_key_are_counted(shop: Shop):
    shop.source("INSERT INTO orders VALUES (1001, NULL), (1002, NULL)")
    chunked(shop, "chunk_column: note, chunk_size: 400")
    assert [chunk.rows for chunk in made(shop).chunks] == [400, 400, 200, 2]


def test_days_are_counted(shop: Shop):
    shop.source(
        "CREATE TABLE days (day DATE)", "INSERT INTO days VALUES ('2026-01-01'), ('2026-01-01'), ('2026-01-02')"
    )
    shop.configure(
        "{name: days, table: days, mode: chunked, chunk_column: day, chunk_by_days: 1, "
        "destination: {type: local, path: out}}"
    )
    planned = made(shop)
    assert ([chunk.rows for chunk in planned.chunks], planned.rows_from) == ([2, 1, 0], "count")


def test_a_whole_table_is_estimated_unless_it_is_to_be_counted(shop: Shop):
    shop.configure(ORDERS)
    shop.source("DELETE FROM orders WHERE id < 500")
    assert made(shop).rows_from == "source_estimate"
    counted = made(shop, count=True)
    assert (counted.rows, counted.rows_from) == (501, "count")
    shop.configure("{name: orders, query: SELECT id FROM orders, destination: {type: local, path: out}}")
    unknown = made(shop)
    assert (unknown.rows, unknown.rows_from, unknown.estimated_bytes) == (None, "unknown", None)


def test_an_empty_table_can_be_planned_and_applied(shop: Shop):
    shop.source("DELETE FROM orders")
    planned = made(shop)
    assert (planned.rows, planned.sampled_rows, len(planned.chunks)) == (0, 0, 1)
    assert applied(shop, write(shop)).rows == 0


def test_a_plan_names_the_dataset_that_it_would_supersede(shop: Shop):
    result = shop.publish()
    planned = made(shop)
    assert planned.published is not None
    facts = planned.published
    assert (facts.run_id, facts.rows, facts.parts) == (result.run_id, result.rows, result.parts)
    assert (planned.success, planned.superseded) == (result.manifest_fingerprint, "quarantine")


def test_a_plan_says_how_the_columns_have_changed(shop: Shop):
    shop.publish()
    shop.source("ALTER TABLE orders ADD COLUMN more TEXT")
    assert [(change["column"], change["change"]) for change in made(shop).schema_drift] == [("more", "added")]
    chunked(shop, "chunk_size: 300, on_schema_drift: fail")
    with pytest.raises(SchemaDrift, match="'more'"):
        made(shop)


def test_what_the_source_cannot_do_is_found_when_it_is_planned(shop: Shop):
    chunked(shop, "chunk_size: 300, consistency: snapshot")
    with pytest.raises(ConfigError, match="consistency: snapshot: sqlite"):
        made(shop)


def test_exactly_the_planned_chunks_are_run(shop: Shop):
    file = write(shop)
    shop.source("INSERT INTO orders VALUES (5000, 'later')", "DELETE FROM orders WHERE id BETWEEN 301 AND 599")
    result = applied(shop, file, validate=True)
    assert shop.rows() == 701
    assert result.plan is not None
    assert result.run_id.endswith(f"_{result.plan}")
    manifest = json.loads((shop.out / "manifest.json").read_text())
    assert [part["range"]["high"] for part in manifest["parts"]] == [["300"], ["600"], ["900"], ["1000"]]
    ((fields,),) = shop.state("SELECT fields FROM rivet_event WHERE kind = 'run_started'")
    assert json.loads(fields)["plan"] == result.plan


def test_a_plan_is_run_at_its_own_prefix_after_midnight(shop: Shop):
    chunked(shop, path='"out/{date}"')
    result = applied(shop, write(shop))
    assert result.prefix.endswith("/out/2026-11-22/")


def test_a_prefix_that_names_the_run_is_known_when_it_runs(shop: Shop):
    chunked(shop, path='"out/{run_id}"')
    planned = made(shop)
    assert planned.prefix.endswith("/out/{run_id}/")
    result = applied(shop, write(shop))
    assert result.prefix.endswith(f"/out/{result.run_id}/")


def test_the_file_is_its_owners_and_has_no_query_and_no_parameter(shop: Shop):
    shop.configure(
        '{name: orders, query: "SELECT id FROM orders WHERE note <> ${secret}", destination: {type: local, path: out}}'
    )
    (export,) = shop.config.exports
    planned = preview(shop.config, export, shop.registry, MADE, PreviewOptions({"secret": "canary"}))
    file = shop.directory / "plan.json"
    write_plan(file, [planned], MADE)
    text = file.read_text()
    assert "canary" not in text
    assert "SELECT" not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    refused(shop, file, "was changed since the plan was made: query", params={"secret": "other"})
    assert applied(shop, file, params={"secret": "canary"}).rows == 1000


def test_a_plan_is_applied_once(shop: Shop):
    file = write(shop)
    result = applied(shop, file)
    refused(shop, file, f"was applied by the run {result.run_id}")


def test_a_sample_that_the_source_ends_is_taken_again(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    read = SqlalchemySource.read
    calls = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise SourceUnavailable("the database went away")
        return read(*args, **kwargs)

    monkeypatch.setattr(SqlalchemySource, "read", failing)
    assert made(shop).sampled_rows == 300
    assert len(calls) == 2


def test_a_plan_whose_run_has_died_is_resumed_not_applied_again(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    file = write(shop)
    read = SqlalchemySource.read

    def fails(self: SqlalchemySource, query: Any, **options: Any) -> Any:
        if 600 in query.params.values():
            raise SourceUnavailable("the connection was lost")
        return read(self, query, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SqlalchemySource, "read", fails)
        (failed,) = apply(shop, file)
    assert failed.error.code == "R302"
    with pytest.raises(PlanRefused, match="was applied") as caught:
        apply(shop, file)
    assert "--resume" in caught.value.hint
    resumed = shop.run(resume=True)
    assert (resumed.resumes, resumed.rows) == (failed.run_id, 1000)


def test_a_plan_whose_run_has_read_nothing_may_be_applied_again(shop: Shop):
    shop.publish()
    file = write(shop)
    with shop.state_refuses("rivet_chunk", "INSERT", "1"):
        (failed,) = apply(shop, file)
    assert failed.error.code == "R801"
    assert applied(shop, file).rows == 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shop: chunked(shop, "chunk_size: 200"), r"chunk_size \(was 300, is 200\)"),
        (lambda shop: chunked(shop, "chunk_size: 300, compression: gzip"), r"compression \(was zstd, is gzip\)"),
        (
            lambda shop: chunked(shop, "chunk_size: 300, superseded: delete"),
            r"superseded \(was quarantine, is delete\)",
        ),
        (lambda shop: chunked(shop, path="elsewhere"), r"prefix \(was file://.*/out/, is file://.*/elsewhere/\)"),
        (lambda shop: shop.configure(ORDERS), r"mode \(was chunked, is full\)"),
        (lambda shop: shop.configure(ORDERS.replace("name: orders", "name: other")), "no export 'orders' any more"),
        (lambda shop: shop.source("ALTER TABLE orders ADD COLUMN more TEXT"), "columns"),
        (lambda shop: shop.publish(), "another dataset was published"),
    ],
)
def test_a_plan_that_is_no_longer_true_is_refused(shop: Shop, change: Callable[[Shop], object], message: str):
    file = write(shop)
    change(shop)
    refused(shop, file, message)


def test_a_plan_to_replace_a_dataset_is_refused_where_that_is_gone(shop: Shop):
    shop.publish()
    file = write(shop)
    (shop.out / "_SUCCESS").unlink()
    refused(shop, file, "another dataset was published")


def test_no_export_is_run_if_one_of_them_is_out_of_date(shop: Shop):
    other = "{name: other, table: orders, destination: {type: local, path: other}}"
    shop.configure(ORDERS, other)
    options = PreviewOptions({})
    file = shop.directory / "plan.json"
    planned = [preview(shop.config, export, shop.registry, MADE, options) for export in shop.config.exports]
    write_plan(file, planned, MADE)
    shop.configure(ORDERS, other.replace("path: other", "path: elsewhere"))
    refused(shop, file, "'other' was changed")
    assert applied(shop, file, names=("orders",)).export == "orders"
    with pytest.raises(UsageError, match="the plan has no export nothing"):
        apply(shop, file, names=("nothing",))


def test_an_old_plan_is_refused(shop: Shop):
    file = write(shop, datetime.now(UTC) - timedelta(hours=2))
    refused(shop, file, "is too old", max_age=timedelta(hours=1))
    assert applied(shop, file, max_age=timedelta(hours=3)).rows == 1000


def test_a_plan_of_the_future_is_refused(shop: Shop):
    refused(shop, write(shop, datetime.now(UTC) + timedelta(hours=2)), "in the future")


def test_a_plan_that_is_overtaken_while_it_waits_for_the_lease_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    file = write(shop)
    acquire = StateStore.acquire

    def overtaken(state: StateStore, export: str, **options: Any) -> Any:
        monkeypatch.setattr(StateStore, "acquire", acquire)
        shop.publish()
        return acquire(state, export, **options)

    monkeypatch.setattr(StateStore, "acquire", overtaken)
    (result,) = apply(shop, file)
    assert (result.status, result.error.code, result.exit_code) == ("failed", "R704", 5)
    assert shop.runs() == ["succeeded"]
    assert (len(shop.parts()), shop.rows()) == (4, 1000)


def test_a_plan_is_refused_whatever_byte_of_it_was_changed(shop: Shop):
    file = write(shop)
    sealed, data = read_plan(file), file.read_bytes()
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        file.write_bytes(changed)
        with suppress(UsageError, PlanRefused):
            assert read_plan(file) == sealed  # it was white space


def test_a_message_shows_no_more_of_a_plan_than_people_read(shop: Shop):
    file = write(shop)
    edit(file, lambda plan: plan["exports"][0]["settings"].update(empty="x" * 10_000))
    with pytest.raises(PlanRefused) as caught:
        apply(shop, file)
    assert len(caught.value.message) < 1000


def test_an_edited_plan_is_refused(shop: Shop):
    file = write(shop)
    edit(file, lambda document: document["exports"][0]["chunks"].pop(), seal=False)
    refused(shop, file, "its seal is broken")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: plan.update(plan_version=2), "has version '2'"),
        (lambda plan: plan["exports"][0]["chunks"].pop(1), "do not follow each other"),
        (lambda plan: plan["exports"][0]["chunks"].pop(0), "do not follow each other"),
        (lambda plan: plan["exports"][0]["chunks"].reverse(), "do not follow each other"),
        (lambda plan: plan["exports"][0]["chunks"][2]["bounds"].update(low=[["int", "7"]]), "do not follow"),
        (lambda plan: plan["exports"][0].update(key=["id", "note"]), "do not follow"),
        (lambda plan: plan["exports"][0]["chunks"][0].update(bounds={}), "bounds of the plan's chunk 1 are none"),
        (lambda plan: plan["exports"][0]["chunks"][0]["bounds"].update(high="x"), "chunk 1 are none"),
        (lambda plan: plan["exports"][0]["chunks"][0]["bounds"].update(high=[["int", "x"]]), "chunk 1 are none"),
        (lambda plan: plan["exports"][0]["chunks"][0]["bounds"].update(high=[["float", "1"]]), "chunk 1 are none"),
        (lambda plan: plan["exports"][0].update(prefix="file:///etc/"), "prefix"),
    ],
)
def test_a_plan_that_was_sealed_again_is_refused_all_the_same(
    shop: Shop, change: Callable[[dict[str, Any]], object], message: str
):
    file = write(shop)
    edit(file, change)
    refused(shop, file, message)


@pytest.mark.parametrize(
    "content",
    [b"", b"no plan", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"plan_version": NaN', b'"plan_version"'],
)
def test_what_is_no_plan_is_a_usage_error(tmp_path: Path, content: bytes):
    file = tmp_path / "plan.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="is no plan") as caught:
        read_plan(file)
    assert "rivet plan" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(exports=[]),
        lambda plan: plan.update(exports=plan["exports"] * 2),
        lambda plan: plan.update(created_at="2026-11-22T10:00:00"),
        lambda plan: plan["exports"][0].update(plan_id="../../etc/passwd"),
        lambda plan: plan["exports"][0].update(chunks=[]),
        lambda plan: plan["exports"][0].pop("inputs"),
    ],
)
def test_a_plan_of_another_shape_is_a_usage_error(shop: Shop, change: Callable[[dict[str, Any]], object]):
    file = write(shop)
    edit(file, change)
    with pytest.raises(UsageError, match="is no plan: "):
        read_plan(file)


def test_a_plan_of_many_chunks_takes_little_room(shop: Shop):
    shop.source("INSERT INTO orders SELECT id + 1000, note FROM orders")
    chunked(shop, "chunk_size: 1")
    file = write(shop)
    assert len(read_plan(file).exports[0].bounds()) == 2000
    assert file.stat().st_size < 2000 * 150


def test_a_plan_that_would_be_too_large_to_be_read_is_not_written(shop: Shop):
    planned = made(shop)
    (chunk, *_) = planned.chunks
    large = chunk.model_copy(update={"bounds": {"low": None, "high": [["text", "x" * (1 << 20)]], "nulls": False}})
    file = shop.directory / "plan.json"
    with pytest.raises(UsageError, match="are the most that are read"):
        write_plan(file, [planned.model_copy(update={"chunks": (large,) * 65})], MADE)
    assert not file.exists()


def test_a_plan_that_cannot_be_read_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot read the plan"):
        read_plan(tmp_path / "plan.json")
    with (tmp_path / "large").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(UsageError, match="too large"):
        read_plan(tmp_path / "large")


WINDOW = "{name: orders, table: orders, %s, destination: {type: local, path: '%s'}}"
INCREMENTAL = "mode: incremental, cursor_column: id"


def incremental(shop: Shop, path: str = "out") -> None:
    shop.configure(WINDOW % (INCREMENTAL, path))


def test_a_window_is_part_of_the_plan(shop: Shop):
    shop.source(
        "CREATE TABLE visits (day DATE)",
        "INSERT INTO visits VALUES ('2026-11-14'), ('2026-11-15'), ('2026-11-16'), ('2026-11-22')",
    )
    shop.configure(
        "{name: visits, table: visits, mode: time_window, time_column: day, window_days: 7, "
        "destination: {type: local, path: out}}"
    )
    planned = made(shop)
    (chunk,) = planned.chunks
    assert (chunk.rows, planned.rows_from, planned.key) == (3, "count", ("day",))
    assert chunk.bounds == {"low": [["text", "2026-11-15"]], "high": None, "nulls": False, "low_inclusive": True}
    assert applied(shop, write(shop)).rows == 3


def test_an_increment_is_part_of_the_plan(shop: Shop):
    incremental(shop)
    shop.publish()
    shop.source("INSERT INTO orders VALUES (1001, 'new'), (1002, 'new')")
    planned = made(shop)
    (chunk,) = planned.chunks
    assert (planned.cursor, planned.superseded) == ("1000", "append")
    assert (chunk.bounds["low"], chunk.bounds["high"]) == ([["int", "1000"]], [["int", "1002"]])
    file = write(shop)
    shop.source("INSERT INTO orders VALUES (1003, 'later')")
    result = applied(shop, file)
    assert (result.rows, result.new_rows) == (1002, 2)
    assert shop.publish().rows == 1003


def test_a_first_increment_can_be_planned_without_a_state(shop: Shop):
    incremental(shop)
    planned = made(shop)
    assert (planned.cursor, planned.rows, planned.superseded) == (None, 1000, "quarantine")
    assert not (shop.directory / ".rivet_state.db").exists()
    assert applied(shop, write(shop)).rows == 1000


def test_an_increment_that_another_run_has_delivered_is_refused(shop: Shop):
    incremental(shop)
    shop.publish()
    shop.source("INSERT INTO orders VALUES (1001, 'new')")
    file = write(shop)
    shop.publish()
    refused(shop, file, "another dataset was published")


def test_an_increment_that_was_delivered_to_another_prefix_is_refused(shop: Shop):
    incremental(shop, "out/{run_id}")
    shop.publish()
    shop.source("INSERT INTO orders VALUES (1001, 'new')")
    file = write(shop)
    shop.publish()
    refused(shop, file, r"cursor \(was 1000, is 1001\)")


def test_a_commit_that_the_state_has_missed_is_seen_by_the_plan(shop: Shop):
    incremental(shop)
    shop.publish()
    shop.source("INSERT INTO orders VALUES (1001, 'new')")
    shop.publish()
    shop.state("UPDATE rivet_cursor SET value = '1000'")
    shop.state("UPDATE rivet_run SET status = 'publishing' WHERE sequence = 2")
    assert made(shop).cursor == "1001"
    assert applied(shop, write(shop)).new_rows == 0


def test_a_commit_that_may_have_been_missed_elsewhere_is_looked_for_by_a_run_first(shop: Shop):
    incremental(shop, "out/{run_id}")
    shop.publish()
    file = write(shop)
    shop.state("UPDATE rivet_run SET status = 'publishing'")
    with pytest.raises(SafetyError, match="may have published"):
        made(shop)
    with pytest.raises(SafetyError, match="may have published"):
        apply(shop, file)
    shop.publish()
    assert made(shop).cursor == "1000"
