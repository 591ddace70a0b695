"""A state database of an earlier release, on each engine, becomes one of this release with all that it holds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy

from rivet_core.state import ChunkRow, PartRow, RunStart, open_state, tables
from rivet_core.state.database import open_database

#: What versions 2 and 3 added.
ADDED = {"rivet_run": ("prefix", "inputs", "resumes", "columns"), "rivet_part": ("checksums", "written_by")}
START = RunStart("orders_1", "orders", "full", "file:///out/", datetime(2026, 11, 22, tzinfo=UTC))
PART = PartRow("part-000001.parquet", 1, 10, 100, "xxh3:0000000000000000", "v1")


def take_back_to_version_1(url: str, directory: Path) -> None:
    database = open_database(url, directory)
    with database.write() as connection:
        tables.chunk.drop(connection)
        tables.cursor.drop(connection)
        for table, names in ADDED.items():
            for name in names:
                connection.execute(sqlalchemy.text(f"ALTER TABLE {table} DROP COLUMN {name}"))
        connection.execute(sqlalchemy.update(tables.schema).values(version=1))
    database.close()


def columns(url: str, directory: Path) -> dict[str, set[str]]:
    database = open_database(url, directory)
    with database.read() as connection:
        inspector = sqlalchemy.inspect(connection)
        found = {
            name: {column["name"] for column in inspector.get_columns(name)} for name in inspector.get_table_names()
        }
    database.close()
    return found


def test_version_1(state_url: str, tmp_path: Path) -> None:
    with open_state(state_url, tmp_path) as state, state.acquire("orders") as lease:
        state.start_run(lease, START)
        state.reserve_part(lease, "orders_1", PART.key, PART.number)
        state.commit_part(lease, "orders_1", PART)
    new = columns(state_url, tmp_path)
    take_back_to_version_1(state_url, tmp_path)
    with open_state(state_url, tmp_path) as state, state.acquire("orders") as lease:
        assert state.parts("orders_1") == [PART]
        assert state.chunks("orders_1") == []
        (run,) = state.runs()
        assert (run.run_id, run.prefix, run.inputs, run.resumes) == ("orders_1", None, None, None)
        state.plan_chunks(lease, "orders_1", [ChunkRow(1, "{}")], inputs="{}")
        state.finish_chunk(lease, "orders_1", 1, 2)
        assert state.chunks("orders_1") == [ChunkRow(1, "{}", 2)]
    assert columns(state_url, tmp_path) == new
