"""Runs in chunks: what they write, what they certify, and what ends them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from rivet_core.api import StorageFull
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_local.objects import LocalWriter
from unit.engine.shop import Shop, large_shop

CHUNKED = "{name: orders, table: orders, mode: chunked, destination: {type: local, path: out}, %s}"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return large_shop(tmp_path, key="i * 7")


def manifest(shop: Shop) -> dict[str, Any]:
    return json.loads((shop.out / "manifest.json").read_bytes())


def rows_of(shop: Shop, part: dict[str, Any]) -> list[int]:
    return pyarrow.parquet.read_table(shop.out / part["path"]).column("id").to_pylist()


@pytest.mark.parametrize("parallel", [1, 3])
def test_every_chunk_is_a_part_with_its_range(shop: Shop, parallel: int):
    shop.configure(CHUNKED % f"chunk_size: 300, parallel: {parallel}")
    result = shop.run(validate=True)
    assert result.error is None
    assert (result.rows, result.parts) == (1000, 4)
    written = manifest(shop)
    assert written["source"]["extraction"] == {
        "strategy": "chunked",
        "cursor_column": "id",
        "cursor_type": "int64",
        "cursor_low": "7",
        "cursor_high": "7000",
    }
    assert written["source"]["consistency"] == "per_chunk"
    assert [part["chunk"] for part in written["parts"]] == [1, 2, 3, 4]
    assert [rows_of(shop, part) for part in written["parts"]] == [
        list(range(7, 2101, 7)),
        list(range(2107, 4201, 7)),
        list(range(4207, 6301, 7)),
        list(range(6307, 7001, 7)),
    ]
    bounds = [(part["range"].get("low"), part["range"].get("high")) for part in written["parts"]]
    assert bounds == [(None, ["2100"]), (["2100"], ["4200"]), (["4200"], ["6300"]), (["6300"], ["7000"])]
    assert all(part["range"]["columns"] == ["id"] for part in written["parts"])
    assert len({part["path"] for part in written["parts"]}) == 4


def test_chunks_roll_over(shop: Shop):
    shop.source("UPDATE orders SET note = hex(randomblob(200))")
    shop.configure(CHUNKED % "chunk_size: 500, parallel: 2, max_file_size: 64KiB, compression: none")
    assert shop.publish().rows == 1000
    parts = manifest(shop)["parts"]
    assert len(parts) > 4
    assert sorted({part["chunk"] for part in parts}) == [1, 2]
    assert [row for part in parts for row in rows_of(shop, part)] == list(range(7, 7001, 7))


@pytest.mark.parametrize(("empty", "parts"), [("file", 1), ("skip", 0)])
def test_a_table_without_rows(shop: Shop, empty: str, parts: int):
    shop.source("DELETE FROM orders")
    shop.configure(CHUNKED % f"parallel: 2, empty: {empty}")
    result = shop.run(validate=True)
    assert result.error is None
    assert (result.rows, result.parts) == (0, parts)


def test_as_many_chunks_at_once_as_asked_for(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    together = threading.Barrier(3, timeout=10)
    read_alone = SqlalchemySource.read

    def read(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
        together.wait()  # three readers meet here, or nobody passes
        return read_alone(self, *args, **kwargs)

    monkeypatch.setattr(SqlalchemySource, "read", read)
    shop.configure(CHUNKED % "chunk_count: 6, parallel: 3")
    assert shop.publish().parts == 6


def test_a_failure_ends_the_other_workers_and_publishes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    commits: list[LocalWriter] = []

    def fail(self: LocalWriter) -> None:
        commits.append(self)
        raise StorageFull("the disk is full")

    monkeypatch.setattr(LocalWriter, "commit", fail)
    shop.configure(CHUNKED % "chunk_count: 100, parallel: 2")
    result = shop.run()
    assert result.error is not None
    assert result.error.code == StorageFull.code
    assert not (shop.out / "_SUCCESS").exists()
    assert len(commits) <= 2, "a worker went on"


def test_a_key_that_cannot_be_used_ends_the_run_before_the_first_part(shop: Shop):
    shop.configure(CHUNKED % "chunk_column: nothing")
    result = shop.run()
    assert result.error is not None
    assert "no column nothing" in result.error.message
    assert not list(shop.out.glob("part-*"))


def test_a_chunk_of_a_query_whose_values_tell_less_than_all_of_them(shop: Shop):
    shop.source("UPDATE orders SET note = NULL WHERE id > 700")
    shop.configure(
        "{name: orders, query: 'SELECT id, note FROM orders', mode: chunked, chunk_column: id, chunk_size: 300, "
        "destination: {type: local, path: out}}"
    )
    result = shop.run(validate=True)
    assert (result.error, result.rows) == (None, 1000)
