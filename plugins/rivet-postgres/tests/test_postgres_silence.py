"""A server that says nothing, on a line that stays open, is given up after ``read_timeout``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rivet_core.api import Query, SourceContext, SourceUnavailable
from rivet_postgres import source as native
from rivet_postgres.config import PostgresConfig
from servers.postgres import Postgres
from servers.proxy import BlackHole, FaultProxy

ROWS = Query("SELECT i, repeat('x', 100) AS note FROM generate_series(1, 100000) AS i")
LATE = Query("SELECT 1 AS one, pg_sleep(3)::text AS note")


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[FaultProxy]:
    with FaultProxy(postgres.port) as proxy:
        yield proxy


def rows(postgres: Postgres, port: int, query: Query, read_timeout: float) -> int:
    config = PostgresConfig(url=postgres.through(port).url, read_timeout=read_timeout)
    with closing(native.open_source(config, SourceContext(Path("/")))) as source:
        assert isinstance(source, native.NativeSource), "the native decoder is not built: make .venv/.installed"
        with source.read(query, batch_bytes=100_000) as stream:
            return sum(batch.num_rows for batch in stream)


def test_in_the_middle_of_the_rows(postgres: Postgres, proxy: FaultProxy) -> None:
    proxy.inject(BlackHole(300_000))
    with pytest.raises(SourceUnavailable, match="said nothing for 1 s"):
        rows(postgres, proxy.port, ROWS, 1)
    assert proxy.fired


def test_before_the_first_row(postgres: Postgres) -> None:
    with pytest.raises(SourceUnavailable, match="said nothing for 1 s"):
        rows(postgres, postgres.port, LATE, 1)


def test_patience_is_for_silence_and_not_for_the_whole(postgres: Postgres) -> None:
    trickle = Query("SELECT i, repeat('x', 9000) || pg_sleep(0.5)::text AS note FROM generate_series(1, 12) AS i")
    assert rows(postgres, postgres.port, trickle, 5) == 12
    assert rows(postgres, postgres.port, LATE, 60) == 1
