"""Incremental runs: what each delivers, what the prefix holds then, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rivet_core.api import SourceUnavailable
from rivet_core.engine.publish import Publisher
from rivet_core.engine.result import RunResult
from rivet_core.plugins import discover
from unit.engine.shop import Shop

EXPORT = "{name: orders, table: orders, mode: incremental, cursor_column: version, %s destination: %s}"
LOCAL = "{type: local, path: '%s'}"


@pytest.fixture
def shop(shop: Shop) -> Shop:
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, version INTEGER)")
    configure(shop)
    return shop


def configure(shop: Shop, more: str = "", path: str = "out") -> None:
    shop.configure(EXPORT % (more, LOCAL % path))


def put(shop: Shop, *rows: tuple[int, str, Any]) -> None:
    for row in rows:
        shop.source(
            f"INSERT OR REPLACE INTO orders VALUES ({', '.join('NULL' if v is None else repr(v) for v in row)})"
        )


def manifest(shop: Shop, path: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop.directory / path / "manifest.json").read_bytes())
    return found


def delivered(shop: Shop, path: str = "out") -> list[list[tuple[Any, ...]]]:
    """The rows of every part that the manifest lists, decoded as it says."""
    from rivet_core.contract.manifest import decode
    from rivet_core.engine import plan

    config = shop.config
    content = decode((shop.directory / path / "manifest.json").read_bytes())
    format_ = plan.open_named_format(content.format, config.exports[0], shop.registry)
    parts = []
    for part in content.parts:
        with (
            (shop.directory / path / part.path).open("rb") as source,
            format_.decoder(source, content.arrow_schema(part)) as decoder,
        ):
            parts.append([tuple(row.values()) for batch in decoder.batches() for row in batch.to_pylist()])
    return parts


def objects(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def refused(result: RunResult, exit_code: int, *said: str) -> str:
    """Check the one error of a run and return its hint."""
    assert result.error is not None
    assert result.error.exit_code == exit_code, result.error
    for words in said:
        assert words in result.error.message, result.error
    return result.error.hint


def test_every_run_delivers_what_is_new(shop: Shop):
    put(shop, (1, "a", 10), (2, "b", 20))
    first = shop.publish()
    assert (first.rows, first.new_rows, first.unchanged) == (2, 2, False)
    put(shop, (3, "tied", 20), (1, "updated", 30))
    second = shop.publish()
    assert (second.rows, second.new_rows) == (4, 2)
    assert delivered(shop) == [[(1, "a", 10), (2, "b", 20)], [(1, "updated", 30), (3, "tied", 20)]]
    content = manifest(shop)
    assert [part["part_id"] for part in content["parts"]] == [1, 2]
    assert [part["chunk"] for part in content["parts"]] == [1, 2]
    assert [part["run_id"] for part in content["parts"]] == [first.run_id, second.run_id]
    assert content["parts"][1]["range"] == {
        "columns": ["version"], "low": ["20"], "high": ["30"],
        "low_inclusive": True, "high_inclusive": True, "nulls": False,
    }  # fmt: skip
    assert content["source"]["extraction"] == {
        "strategy": "incremental", "cursor_column": "version", "cursor_type": "int64",
        "cursor_low": "10", "cursor_high": "30",
    }  # fmt: skip
    assert shop.state("SELECT column, value, run_id FROM rivet_cursor") == [("version", "30", second.run_id)]
    assert second.quarantined == []


def test_a_late_row_is_delivered_within_the_lag(shop: Shop):
    configure(shop, "lag: 15,")
    put(shop, (1, "a", 10), (2, "b", 20))
    shop.publish()
    put(shop, (3, "late", 5), (4, "too late", 4))
    result = shop.publish()
    assert delivered(shop)[1:] == [[(3, "late", 5)]]
    assert result.new_rows == 1
    assert manifest(shop)["source"]["extraction"]["cursor_high"] == "20"
    assert shop.publish().unchanged


def test_without_new_rows_the_prefix_stays_as_it_is(shop: Shop):
    put(shop, (1, "a", 10))
    shop.publish()
    before = objects(shop.out)
    result = shop.run(validate=True)
    assert (result.status, result.unchanged, result.exit_code) == ("succeeded", True, 0)
    assert (result.rows, result.new_rows, result.parts) == (1, 0, 1)
    assert result.manifest_fingerprint is None
    assert result.validation is not None
    assert result.validation["verdict"] == "verified"
    assert objects(shop.out) == before
    assert shop.runs() == ["succeeded", "succeeded"]
    shop.source("DELETE FROM orders")
    assert shop.publish().unchanged
    assert objects(shop.out) == before


def test_an_empty_increment_is_published_on_request(shop: Shop):
    configure(shop, "empty_increment: publish,")
    put(shop, (1, "a", 10))
    first, second = shop.publish(), shop.publish()
    assert not second.unchanged
    assert second.manifest_fingerprint not in (None, first.manifest_fingerprint)
    assert delivered(shop) == [[(1, "a", 10)]]
    assert manifest(shop)["run_id"] == second.run_id


@pytest.mark.parametrize(("empty", "parts"), [("file", [[], [(1, "a", 10)]]), ("skip", [[(1, "a", 10)]])])
def test_the_first_run_of_an_empty_table_makes_a_dataset(shop: Shop, empty: str, parts: list[Any]):
    configure(shop, f"empty: {empty},")
    assert not shop.publish().unchanged
    assert delivered(shop) == parts[:-1]
    assert shop.publish().unchanged
    put(shop, (1, "a", 10))
    assert shop.publish().new_rows == 1
    assert delivered(shop) == parts


def test_the_manifest_alone_is_enough(shop: Shop):
    put(shop, (1, "a", 10))
    shop.publish()
    (shop.directory / ".rivet_state.db").unlink()
    put(shop, (2, "b", 20), (3, "tied", 10))
    assert shop.publish().new_rows == 2
    (shop.directory / ".rivet_state.db").unlink()
    assert shop.publish().unchanged
    assert shop.state("SELECT value FROM rivet_cursor") == [("20",)]


def test_state_and_manifest_that_disagree_are_refused_with_both(shop: Shop):
    put(shop, (1, "a", 10))
    shop.publish()
    shop.state("UPDATE rivet_cursor SET value = '7'")
    before = objects(shop.out)
    hint = refused(shop.run(), 5, "version = 7", "has 10")
    assert "rivet state reset -e orders --execute" in hint
    assert objects(shop.out) == before
    shop.state("DELETE FROM rivet_cursor")
    assert shop.publish().unchanged


def test_a_cursor_without_its_manifest_is_refused(shop: Shop):
    put(shop, (1, "a", 10))
    shop.publish()
    shutil.rmtree(shop.out)
    hint = refused(shop.run(), 5, "version = 10", "no certified manifest")
    assert "rivet state reset" in hint
    assert not shop.out.exists() or objects(shop.out) == {}
    shop.state("DELETE FROM rivet_cursor")
    assert shop.publish().new_rows == 1


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("{name: orders, table: orders, destination: %s}", EXPORT % ("", "%s"), "a dataset of mode full"),
        (EXPORT % ("", "%s"), EXPORT.replace("orders,", "others,", 1) % ("", "%s"), "of the export 'orders'"),
        (EXPORT % ("", "%s"), EXPORT % ("format: csv,", "%s"), "parquet files, and the export writes csv"),
        (EXPORT % ("", "%s"), EXPORT.replace("version", "id") % ("", "%s"), "the cursor version"),
    ],
)
def test_another_dataset_is_not_appended_to(shop: Shop, before: str, now: str, said: str):
    put(shop, (1, "a", 10))
    shop.configure(before % (LOCAL % "out"))
    shop.publish()
    kept = objects(shop.out)
    shop.configure(now % (LOCAL % "out"))
    assert "another prefix" in refused(shop.run(), 5, said)
    assert objects(shop.out) == kept


def test_a_row_without_cursor_is_never_lost_silently(shop: Shop):
    put(shop, (1, "a", 10), (2, "b", None))
    hint = refused(shop.run(), 2, "NULL in version")
    assert "cursor_fallback_column" in hint
    configure(shop, "cursor_fallback_column: id,")
    assert shop.publish().new_rows == 2
    put(shop, (2, "b", 11), (12, "c", None), (3, "late", None))
    assert shop.publish().new_rows == 2
    assert delivered(shop)[1] == [(2, "b", 11), (12, "c", None)]


def test_a_table_without_primary_key_needs_one_named(shop: Shop):
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER, note TEXT, version INTEGER)")
    put(shop, (1, "a", 10))
    assert "key" in refused(shop.run(), 2, "orders has no primary key")
    configure(shop, "key: [id, note],")
    assert shop.publish().new_rows == 1
    put(shop, (1, "b", 10))
    assert shop.publish().new_rows == 1
    shop.source("INSERT INTO orders VALUES (NULL, 'c', 10)")
    refused(shop.run(), 2, "NULL in id")


def test_a_row_without_key_is_refused_by_the_first_run_too(shop: Shop):
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER, note TEXT, version INTEGER)")
    put(shop, (1, "a", 10), (None, "b", 10))  # type: ignore[arg-type]
    configure(shop, "key: id,")
    refused(shop.run(), 2, "NULL in id")


@pytest.mark.parametrize(
    ("type_", "value", "said"),
    [("REAL", 1.5, "cannot be the cursor"), ("BOOLEAN", 1, "cannot be the cursor"), ("DECIMAL(9, 2)", 1.5, "float")],
)
def test_what_has_no_exact_order_is_no_cursor(shop: Shop, type_: str, value: object, said: str):
    shop.source("DROP TABLE orders", f"CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, version {type_})")
    put(shop, (1, "a", value))
    refused(shop.run(), 2, said)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("lag: 2h,", "the lag does not fit version"),
        ("key: nothing,", "there is no column nothing"),
        ("cursor_fallback_column: nothing,", "there is no column nothing"),
        ("cursor_fallback_column: note,", "of different types"),
    ],
)
def test_settings_that_do_not_fit_are_refused(shop: Shop, more: str, said: str):
    put(shop, (1, "a", 10))
    shop.publish()
    configure(shop, more)
    refused(shop.run(), 2, said)


def test_a_stream_is_refused(shop: Shop):
    from rivet_core.api import UsageError

    shop.registry = discover({"RIVET_PLUGINS": ""})
    shop.configure(EXPORT % ("", "{type: stdout}"))
    with pytest.raises(UsageError, match="needs a store") as error:
        shop.run()
    assert "time_window" in error.value.hint


@pytest.mark.parametrize("table", ["rivet_run", "rivet_cursor"])
def test_a_commit_that_the_state_has_missed_is_recorded_by_the_next_run(shop: Shop, table: str):
    put(shop, (1, "a", 10))
    shop.publish()
    put(shop, (2, "b", 20))
    event, condition = ("UPDATE", "NEW.status = 'succeeded'") if table == "rivet_run" else ("INSERT", "1 = 1")
    with shop.state_refuses(table, event, condition):
        result = shop.run()
        assert result.error is not None
        assert result.manifest_fingerprint is not None
    assert shop.state("SELECT value FROM rivet_cursor") == [("10",)]
    assert shop.publish().unchanged
    assert shop.runs() == ["succeeded"] * 3
    assert shop.state("SELECT value FROM rivet_cursor") == [("20",)]


def test_a_run_that_dies_before_its_commit_loses_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    put(shop, (1, "a", 10))
    shop.publish()
    put(shop, (2, "b", 20))

    def die(*args: Any) -> None:
        raise SourceUnavailable("the process died")

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "_put_manifest", die)
        assert shop.run().error is not None
    assert delivered(shop) == [[(1, "a", 10)]]
    assert "--force" in refused(shop.run(resume=True), 5, "published")
    put(shop, (3, "c", 30))
    result = shop.publish()
    assert delivered(shop) == [[(1, "a", 10)], [(2, "b", 20), (3, "c", 30)]]
    assert result.quarantined == ["part-000002.parquet"]


def test_a_resume_goes_on_with_the_recorded_window(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    put(shop, (1, "a", 10))
    shop.publish()
    put(shop, (2, "b", 20))
    with shop.state_refuses("rivet_part", "UPDATE", "NEW.committed = 1"):
        assert shop.run().error is not None
    put(shop, (3, "c", 30))
    result = shop.run(resume=True, force=True)
    assert result.error is None
    assert delivered(shop) == [[(1, "a", 10)], [(2, "b", 20)]]
    assert shop.publish().new_rows == 1
    assert delivered(shop)[2] == [(3, "c", 30)]


def test_a_prepared_manifest_is_published_by_a_resume(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    put(shop, (1, "a", 10))
    shop.publish()
    put(shop, (2, "b", 20))

    def die(*args: Any) -> None:
        raise SourceUnavailable("the process died")

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "_put_manifest", die)
        assert shop.run().error is not None
    put(shop, (3, "c", 30))
    result = shop.run(resume=True, force=True)
    assert (result.error, result.new_rows) == (None, 1)
    assert shop.state("SELECT value FROM rivet_cursor") == [("20",)]
    assert shop.publish().new_rows == 1


def test_columns_may_change_between_runs(shop: Shop):
    put(shop, (1, "a", 10))
    shop.publish()
    shop.source("ALTER TABLE orders ADD COLUMN amount DECIMAL(9, 2)", "INSERT INTO orders VALUES (2, 'b', 20, 1.5)")
    shop.publish()
    first, second = manifest(shop)["parts"]
    assert [column["name"] for column in first["schema"]] == ["id", "note", "version"]
    assert first["schema_fingerprint"] != manifest(shop)["schema_fingerprint"]
    assert "schema" not in second
    assert shop.run(validate=True).error is None
    shop.source("ALTER TABLE orders DROP COLUMN amount", "INSERT INTO orders VALUES (3, 'c', 30)")
    shop.publish()
    assert ["schema" in part for part in manifest(shop)["parts"]] == [False, True, False]


def test_a_key_of_another_type_is_refused(shop: Shop):
    configure(shop, "key: note,")
    put(shop, (1, "7", 10))
    shop.publish()
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, note INTEGER, version INTEGER)")
    put(shop, (1, 7, 10))  # type: ignore[arg-type]
    refused(shop.run(), 5, "note as string, now it is int64")


def test_a_cursor_of_another_type_is_refused(shop: Shop):
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, version TEXT)")
    put(shop, (1, "a", "x"))
    shop.publish()
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, version INTEGER)")
    put(shop, (1, "a", 10))
    refused(shop.run(), 5, "was x")


def test_a_cursor_of_another_type_is_refused_where_its_last_row_is_gone(shop: Shop):
    put(shop, (1, "a", 9))
    shop.publish()
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, version TEXT)")
    put(shop, (2, "b", "10"))
    refused(shop.run(), 5, "was 9 when version was int64", "it is string")


def test_a_lag_beyond_the_smallest_number_reaches_back_to_it(shop: Shop):
    configure(shop, "lag: 100,")
    put(shop, (1, "a", 90 - 2**63))
    shop.publish()
    put(shop, (2, "late", -(2**63)))
    assert shop.publish().new_rows == 1


def test_a_csv_dataset_grows_as_well(shop: Shop):
    configure(shop, "format: csv, lag: 100,")
    put(shop, (1, "a", 10), (2, "", 20))
    shop.publish()
    put(shop, (3, "late", 1))
    assert shop.publish().new_rows == 1
    shop.source("ALTER TABLE orders ADD COLUMN more TEXT")
    shop.source("INSERT INTO orders VALUES (4, 'd', 2, 'x')")
    assert shop.publish().new_rows == 1
    assert shop.publish().unchanged
    assert delivered(shop) == [[(1, "a", 10), (2, "", 20)], [(3, "late", 1)], [(4, "d", 2, "x")]]


def test_a_part_that_rolled_over_is_compared_as_a_whole(shop: Shop):
    configure(shop, "compression: none, max_file_size: 8KiB,")
    shop.source(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
        "INSERT INTO orders SELECT i, 'note ' || i || hex(randomblob(30)), 10 FROM n"
    )
    shop.publish()
    assert len({part["chunk"] for part in manifest(shop)["parts"]}) == 1
    assert len(manifest(shop)["parts"]) > 1
    put(shop, (501, "tied", 10))
    assert shop.publish().new_rows == 1
    assert [part["chunk"] for part in manifest(shop)["parts"]][-2:] == [1, 2]


def test_a_prefix_of_its_own_for_each_run(shop: Shop):
    configure(shop, "lag: 15,", path="out/{run_id}")
    put(shop, (1, "a", 10), (2, "b", 20))
    first = shop.publish()
    put(shop, (3, "tied", 20), (4, "late", 5), (1, "updated", 30))
    second = shop.publish()
    assert delivered(shop, f"out/{first.run_id}") == [[(1, "a", 10), (2, "b", 20)]]
    assert delivered(shop, f"out/{second.run_id}") == [[(1, "updated", 30), (3, "tied", 20), (4, "late", 5)]]
    third = shop.publish()
    assert third.unchanged
    assert not (shop.out / third.run_id).exists()
    assert manifest(shop, f"out/{second.run_id}")["source"]["extraction"]["cursor_low"] == "5"


def test_an_empty_increment_in_a_prefix_of_its_own_is_published_on_request(shop: Shop):
    configure(shop, "empty_increment: publish,", path="out/{run_id}")
    put(shop, (1, "a", 10))
    shop.publish()
    second = shop.publish()
    assert delivered(shop, f"out/{second.run_id}") == [[]]
    assert shop.state("SELECT value FROM rivet_cursor") == [("10",)]
    put(shop, (2, "tied", 10))
    third = shop.publish()
    assert delivered(shop, f"out/{third.run_id}") == [[(2, "tied", 10)]]


def test_a_commit_at_another_prefix_that_the_state_has_missed(shop: Shop):
    configure(shop, path="out/{run_id}")
    put(shop, (1, "a", 10))
    shop.publish()
    put(shop, (2, "b", 20))
    with shop.state_refuses("rivet_run", "UPDATE", "NEW.status = 'succeeded'"):
        assert shop.run().error is not None
    put(shop, (3, "c", 30))
    result = shop.publish()
    assert delivered(shop, f"out/{result.run_id}") == [[(3, "c", 30)]]
    assert shop.runs() == ["succeeded", "succeeded", "succeeded"]


def test_a_dated_prefix_is_appended_to(shop: Shop):
    configure(shop, path="out/{date}")
    put(shop, (1, "a", 10))
    shop.publish()
    put(shop, (2, "b", 20))
    shop.publish()
    (day,) = shop.out.iterdir()
    assert delivered(shop, f"out/{day.name}") == [[(1, "a", 10)], [(2, "b", 20)]]
    # After a reset everything is read again, and what this prefix has is not delivered twice.
    shop.state("DELETE FROM rivet_cursor")
    assert shop.publish().unchanged


def test_a_query_with_binds_and_a_key(shop: Shop):
    shop.configure(
        "{name: orders, mode: incremental, cursor_column: version, key: id, destination: {type: local, path: out}, "
        "query: 'SELECT id, note, version FROM orders WHERE note <> ${not}'}"
    )
    put(shop, (1, "a", 10), (2, "no", 20))
    assert shop.run(params={"not": "no"}).new_rows == 1
    put(shop, (3, "c", 10), (4, "d", 15))
    assert shop.run(params={"not": "no"}).new_rows == 2


def test_the_exported_at_column_is_that_of_each_run(shop: Shop):
    configure(shop, "meta_columns: {exported_at: true},")
    put(shop, (1, "a", 10))
    shop.publish()
    put(shop, (2, "b", 10))
    shop.publish()
    first, second = (rows[0][3] for rows in delivered(shop))
    assert first < second


def test_a_query_whose_new_rows_tell_less_of_their_types_than_all_rows(shop: Shop):
    shop.configure(
        "{name: orders, mode: incremental, cursor_column: version, key: id, destination: {type: local, path: out}, "
        "query: 'SELECT id, note, version FROM orders'}"
    )
    put(shop, (1, "a", 10))
    shop.publish()
    put(shop, (2, None, 20))  # type: ignore[arg-type]
    shop.publish()
    put(shop, (3, None, 30))  # type: ignore[arg-type]
    assert shop.publish().new_rows == 1
    shop.source("DELETE FROM orders WHERE id > 1")
    assert shop.publish().unchanged
    assert delivered(shop) == [[(1, "a", 10)], [(2, None, 20)], [(3, None, 30)]]


def test_a_descending_key_that_is_null_is_refused(shop: Shop):
    shop.source("DROP TABLE orders", "CREATE TABLE orders (version INTEGER PRIMARY KEY DESC, id INTEGER)")
    shop.source("INSERT INTO orders VALUES (NULL, 1), (5, 2)")
    configure(shop, "key: id,")
    refused(shop.run(), 2, "NULL in version")
    shop.configure("{name: orders, table: orders, mode: chunked, destination: {type: local, path: chunks}}")
    assert shop.publish().rows == 2
