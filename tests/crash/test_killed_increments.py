"""An incremental run is killed before and after everything that it writes; no row is lost, and none comes twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crash import observer
from crash.zygote import Zygote

FIRST = [(1, "first", 10), (2, "second", 20), (3, "third", 30)]
#: Tied with the last cursor, late, updated, new.
LATER = [(4, "tied", 30), (5, "late", 26), (1, "updated", 40), (6, "new", 50)]
#: The ends of the names of the points at which something is written.
WRITES = ("state write", " put", "writer.commit")


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    directory = tmp_path_factory.mktemp("warm-up")
    write(directory, FIRST)
    zygote = Zygote(configure(directory, "out"))
    yield zygote
    zygote.close()


def configure(directory: Path, path: str) -> Path:
    export = {
        "name": "orders",
        "table": "orders",
        "mode": "incremental",
        "cursor_column": "version",
        "lag": 5,
        "destination": {"type": "local", "path": path},
    }
    config = directory / "rivet.yaml"
    config.write_text(json.dumps({"source": {"type": "sqlite", "database": "shop.db"}, "exports": [export]}))
    return config


def write(directory: Path, rows: list[tuple[int, str, int]]) -> None:
    with closing(sqlite3.connect(directory / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, note TEXT, version INTEGER)")
        connection.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", rows)


def delivered(directory: Path) -> list[tuple[Any, ...]]:
    """Every row that is certified at any prefix, by version."""
    prefixes = [directory / "out", *(path for path in (directory / "out").glob("orders_*") if path.is_dir())]
    found = [dataset for prefix in prefixes if (dataset := observer.check(prefix)) is not None]
    return sorted(
        (tuple(row.values()) for dataset in found for row in dataset.rows()), key=lambda row: (row[2], row[0])
    )


@pytest.mark.parametrize(
    ("path", "state"),
    [("out", "kept"), ("out", "lost"), ("out/{run_id}", "kept")],
    ids=["state kept", "state lost", "own prefix"],
)
def test_an_incremental_run_killed_at_any_write(memory_disk: Path, zygote: Zygote, path: str, state: str) -> None:
    directory, template = memory_disk / "exports", memory_disk / "template"
    directory.mkdir()
    config = configure(directory, path)
    write(directory, FIRST)
    assert zygote.run(config, directory / "trace").exit_code == 0
    before = delivered(directory)
    write(directory, LATER)
    after = sorted([*FIRST, *LATER], key=lambda row: (row[2], row[0]))
    shutil.copytree(directory, template)

    points = zygote.run(config, directory / "trace").points
    assert delivered(directory) == after
    assert sum(point == "before state write" for point in points) > 5

    for kill_at, point in enumerate(points, start=1):
        if not point.endswith(WRITES) or (point.startswith("before") and (path, state) != ("out", "kept")):
            continue
        where = f"killed at point {kill_at}, {point}"
        shutil.rmtree(directory)
        shutil.copytree(template, directory)
        assert zygote.run(config, directory / "trace", kill_at=kill_at).exit_code is None, where
        assert delivered(directory) in (before, after), where
        if state == "lost":
            for file in directory.glob(".rivet_state.db*"):
                file.unlink()
        assert zygote.run(config, directory / "trace").exit_code == 0, where
        assert delivered(directory) == after, where
        if path == "out":
            dataset = observer.check(directory / "out")
            assert dataset is not None
            strays = {item.name for item in (directory / "out").glob("part-*")} - {part.name for part in dataset.parts}
            assert strays == set(), where
