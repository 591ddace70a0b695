"""A pooler of transactions in front of PostgreSQL, and both sources that read through it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from rivet_postgres import pages, source
from rivet_postgres.libpq import NotNative
from servers.pgbouncer import Pool, pgbouncer
from servers.postgres import Postgres
from servers.required import missing, serve

TABLE = (
    "CREATE TABLE t (id integer PRIMARY KEY, at timestamptz NOT NULL, naive timestamp, day date,"
    " tod timetz, span interval, f8 double precision, f4 real, body bytea, cash money, about regclass,"
    " note text, list timestamptz[])",
    "INSERT INTO t SELECT i, '2026-03-04 05:06:07.000008+00'::timestamptz + i * interval '1 second',"
    " '2026-03-04 05:06:07', '2026-03-04', '01:02:03+04', interval '1 year 2 days -3 hours', 0.1 + i, 0.1 + i,"
    " decode(md5(i::text), 'hex'), i, 'pg_class', 'é😀 ' || i, ARRAY['2026-03-04 05:06:07+00'::timestamptz, NULL]"
    " FROM generate_series(1, 300) i",
)


@pytest.fixture
def pool(postgres: Postgres) -> Iterator[Pool]:
    database = postgres.create_database()
    database.execute(*TABLE)
    yield from serve(pgbouncer(database))


@pytest.fixture(params=["native", "builtin"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let ``type: postgres`` be read natively, or as where the native module is missing."""
    if request.param == "builtin":

        def refuse() -> None:
            raise NotNative("a test wants the built-in source")

        monkeypatch.setattr(source, "require_native", refuse)
    elif find_spec("rivet_postgres._decoder") is None:
        missing("the native decoder of rivet-postgres is not built")
    monkeypatch.setattr(pages, "_MIN_PIECE_PAGES", 1)  # so that several connections read the table as a whole, too
    return str(request.param)
