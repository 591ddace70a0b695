"""An export is killed before and after every operation, one by one; nothing that is certified is ever wrong."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crash import observer
from crash.zygote import Zygote

ROWS = 400
SITUATIONS = [
    "empty prefix",
    "published",
    "published twice, with strangers",
    "published, superseded parts deleted",
    "published, in chunks",
    "empty prefix, in chunks, resumed",
    "published, in chunks, resumed",
]
OPTIONS: dict[str, dict[str, object]] = {
    "published, superseded parts deleted": {"superseded": "delete"},
    **{name: {"mode": "chunked", "chunk_size": 150} for name in SITUATIONS if "in chunks" in name},
}


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    directory = tmp_path_factory.mktemp("warm-up")
    write_source(directory / "shop.db", "warm-up")
    zygote = Zygote(write_config(directory))
    yield zygote
    zygote.close()


def write_source(path: Path, generation: str) -> list[dict[str, object]]:
    """Create the source table and return its rows. Generations differ in every row."""
    rows = [(number, f"{generation} {number} " + "x" * 200) for number in range(ROWS)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE IF EXISTS orders")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT NOT NULL)")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", rows)
    return [{"id": number, "note": note} for number, note in rows]


def write_config(directory: Path, **options: object) -> Path:
    config = directory / "rivet.yaml"
    export = {
        "name": "orders",
        "table": "orders",
        "compression": "none",
        "max_file_size": "64KiB",
        "destination": {"type": "local", "path": "out"},
        **options,
    }
    content = {"source": {"type": "sqlite", "database": "shop.db"}, "exports": [export]}
    config.write_text(json.dumps(content))  # JSON is YAML
    return config


def set_up(directory: Path, zygote: Zygote, situation: str) -> Path:
    """Bring a directory into a situation and return its configuration."""
    directory.mkdir()
    config = write_config(directory, **OPTIONS.get(situation, {}))
    if not situation.startswith("empty prefix"):
        write_source(directory / "shop.db", "first")
        assert zygote.run(config, directory / "trace").exit_code == 0
        assert observer.check(directory / "out") is not None
    if situation == "published twice, with strangers":
        write_source(directory / "shop.db", "second")
        assert zygote.run(config, directory / "trace").exit_code == 0
        (directory / "out" / "notes.txt").write_text("not ours")
        (directory / "out" / "part-000050.parquet").write_bytes(b"untracked")
    write_source(directory / "shop.db", "new")
    return config


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_run_killed_at_any_point_leaves_the_old_dataset_or_the_new_one(
    memory_disk: Path, zygote: Zygote, situation: str
) -> None:
    template = memory_disk / "template"
    set_up(template, zygote, situation)
    before = observer.check(template / "out")
    rows = write_source(memory_disk / "expected.db", "new")
    old_rows = before.rows() if before else None
    deleting, resumed = "deleted" in situation, "resumed" in situation
    deleted = {part.name for part in before.parts} if before and deleting else set()

    whole = memory_disk / "whole"
    shutil.copytree(template, whole)
    points = zygote.run(whole / "rivet.yaml", whole / "trace").points
    published = observer.check(whole / "out", deleted=deleted)
    assert published is not None
    assert published.rows() == rows
    assert len(published.parts) > 1, "the export must roll over, or rolling over is not tested"
    assert sum(point == "before state write" for point in points) > 5
    assert sum(point == "before writer.commit" for point in points) == len(published.parts) + 3
    shutil.rmtree(whole)

    for kill_at, point in enumerate(points, start=1):
        directory = memory_disk / "killed"
        shutil.copytree(template, directory)
        killed = zygote.run(directory / "rivet.yaml", directory / "trace", kill_at=kill_at)
        where = f"killed at point {kill_at}, {point}"
        assert killed.exit_code is None, where
        found = observer.check(directory / "out", deleted=deleted)
        if found is None:
            assert before is None, where
        else:
            assert found.rows() in (old_rows, rows), where

        again = zygote.run(directory / "rivet.yaml", directory / "trace", resume=resumed, force=resumed)
        assert again.exit_code == 0, where
        superseded = {part.name for part in found.parts} if found and deleting else set()
        final = observer.check(directory / "out", deleted=deleted | superseded)
        assert final is not None, where
        assert final.rows() == rows, where
        if not resumed:
            assert found is None or final.run_id != found.run_id, where
        strangers = {path.name for path in (directory / "out").iterdir()} - {"notes.txt", "_quarantine", "_SUCCESS"}
        assert strangers == {
            *(part.name for part in final.parts),
            *(name for name in strangers if name.startswith("manifest")),
            *(name for name in strangers if name.startswith(".rivet-tmp-")),
        }, f"{where}: parts of no dataset are left"
        if situation == "published twice, with strangers":
            assert (directory / "out" / "notes.txt").read_text() == "not ours"
        shutil.rmtree(directory)
