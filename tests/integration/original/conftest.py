"""The original Rivet, and prefixes that it wrote from a live database."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import crash.conftest
from integration.original.program import OriginalRivet
from servers.postgres import Postgres

memory_disk = crash.conftest.memory_disk

CUSTOMERS = """
CREATE TABLE customers (
  id bigint PRIMARY KEY, name text NOT NULL, balance numeric(12, 2), share numeric(38, 10), active boolean,
  joined_at timestamptz, born date, wakes time, token uuid, settings jsonb, photo bytea, note text)
"""
FILL = """
INSERT INTO customers
SELECT i, 'Ünï ' || i, i * 1.25 - 30, i / 7.0, i % 2 = 0, '2026-01-01'::timestamptz + i * interval '1 day',
  '1970-01-01'::date + i, '06:30'::time + i * interval '1 minute', md5(i::text)::uuid, jsonb_build_object('i', i),
  decode(lpad(to_hex(i), 8, '0'), 'hex'), CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'a "quoted", line
of two' END
FROM generate_series(1, 250) AS i
"""
ROWS = 250


@dataclass(frozen=True)
class LivePrefixes:
    """What the original Rivet wrote, one prefix per export, and the database that it read."""

    directory: Path
    database: Postgres

    @property
    def url(self) -> str:
        return self.database.url.replace("postgresql+psycopg", "postgresql")


@pytest.fixture
def original(original_rivet: Path, memory_disk: Path) -> OriginalRivet:
    """The original Rivet at work in a directory of its own."""
    directory = memory_disk / "original"
    directory.mkdir()
    return OriginalRivet(original_rivet, directory)


@pytest.fixture(scope="session")
def live_prefixes(original_rivet: Path, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> LivePrefixes:
    """Prefixes ``full``, ``chunked`` and ``csv`` of one table; not to be changed."""
    live = LivePrefixes(tmp_path_factory.mktemp("live"), postgres.create_database())
    live.database.execute(CUSTOMERS, FILL)
    query = "SELECT * FROM customers"
    exports = [
        {"name": "full", "query": query, "mode": "full", "format": "parquet"},
        {
            "name": "chunked",
            "table": "customers",
            "mode": "chunked",
            "chunk_column": "id",
            "chunk_size": 60,
            "format": "parquet",
        },
        {"name": "csv", "query": query, "mode": "full", "format": "csv"},
    ]
    OriginalRivet(original_rivet, live.directory).run(
        live.url,
        [
            {**export, "destination": {"type": "local", "path": f"{live.directory}/{export['name']}/"}}
            for export in exports
        ],
    )
    return live


@pytest.fixture
def its_prefix(live_prefixes: LivePrefixes, memory_disk: Path) -> Callable[[str], Path]:
    """Return a function that copies one of the live prefixes, and the original's state, to a directory of ours."""

    def copy(name: str) -> Path:
        directory = memory_disk / "moved"
        shutil.copytree(live_prefixes.directory / name, directory / "out")
        shutil.copy(live_prefixes.directory / ".rivet_state.db", directory)
        return directory

    return copy
