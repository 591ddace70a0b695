"""Whichever libpq psycopg has loaded, rows are decoded natively; without any there is one clear error."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys

import pytest

from servers.postgres import Postgres

READ = """
import sys
from contextlib import closing
from pathlib import Path

from rivet_core.api import Query, RivetError, SourceContext
from rivet_postgres.config import PostgresConfig
from rivet_postgres.source import open_source

try:
    config = PostgresConfig(url=sys.stdin.read())
    with closing(open_source(config, SourceContext(Path("/")))) as source:
        query = Query("SELECT n, n::text AS t FROM generate_series(1, 1000) AS n")
        with source.read(query, batch_bytes=1000) as stream:
            rows = [row for batch in stream for row in batch.to_pylist()]
        assert [int(row["t"]) for row in rows] == [row["n"] for row in rows] == list(range(1, 1001))
        print(sys.modules["psycopg"].pq.__impl__, type(source).__name__, len(rows))
except RivetError as error:
    print(type(error).__name__, error.hint)
"""


def read_with(implementation: str, postgres: Postgres) -> str:
    """Read in a process whose psycopg is of that implementation, and return what it has printed."""
    done = subprocess.run(
        [sys.executable, "-c", READ],
        input=postgres.url,
        env={**os.environ, "PSYCOPG_IMPL": implementation},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("implementation", ["binary", "python"])
def test_rows_are_decoded_natively(postgres: Postgres, implementation: str) -> None:
    if implementation == "python" and ctypes.util.find_library("pq") is None:
        pytest.skip("no libpq of the system's: apt-get install libpq5")
    assert read_with(implementation, postgres) == f"{implementation} NativeSource 1000"


def test_a_psycopg_that_cannot_be_loaded_is_one_clear_error(postgres: Postgres) -> None:
    assert read_with("none", postgres) == "DriverMissing pip install 'rivet-core[postgres]'"
