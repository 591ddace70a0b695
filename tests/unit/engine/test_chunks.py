"""Chunks of a query on SQLite: together every row once, whatever the keys are like."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rivet_core.api import Query, QueryError, SourceContext
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource, open_source
from rivet_core.config import Chunking
from rivet_core.engine.selecting import key_order
from rivet_core.engine.selecting.chunks import ChunkPlan, plan_chunks

INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
DATES = st.dates().map(str)
SEVERAL_TIMES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Table:
    """A table ``t (a, b, n)`` in a file of its own, ``n`` counting the rows."""

    def __init__(self, path: Path, types: str, rows: list[tuple[object, object]]) -> None:
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"CREATE TABLE t ({types})")
            connection.executemany("INSERT INTO t VALUES (?, ?, ?)", [(*row, n) for n, row in enumerate(rows)])
        self.source: SqlalchemySource = open_source(
            SqlalchemyConfig(dialect="sqlite", database=str(path)), SourceContext(path.parent)
        )

    def statements(self) -> list[str]:
        """Return a list that fills with what is executed from now on."""
        statements: list[str] = []
        sqlalchemy.event.listen(self.source.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
        return statements

    def plan(self, chunking: Chunking, query: Query | None = None) -> ChunkPlan:
        query = query or self.source.table_query("t")
        return plan_chunks(self.source, query, self.source.describe(query), chunking)

    def read(self, plan: ChunkPlan) -> list[list[int]]:
        """Return the rows of every chunk."""
        chunks = []
        for chunk in plan.chunks:
            with self.source.read(chunk.query, batch_bytes=1_000_000) as stream:
                chunks.append([n for batch in stream for n in batch.column("n").to_pylist()])
        return chunks


def check(chunks: list[list[int]], rows: int) -> None:
    assert Counter(n for chunk in chunks for n in chunk) == Counter(range(rows))


@SEVERAL_TIMES
@given(keys=st.sets(INTEGERS, max_size=30) | st.sets(st.integers(0, 40), max_size=30), size=st.integers(1, 12))
def test_unique_integers(tmp_path: Path, keys: set[int], size: int):
    rows = [(key, None) for key in keys]
    table = Table(tmp_path / "db", "a BIGINT PRIMARY KEY NOT NULL, b TEXT, n INTEGER", rows)
    with closing(table.source):
        plan = table.plan(Chunking(size=size))
        chunks = table.read(plan)
    check(chunks, len(rows))
    assert all(len(chunk) <= size for chunk in chunks)
    assert len(chunks) == max(1, -(-len(rows) // size))
    ordered = [rows[n][0] for chunk in chunks for n in sorted(chunk, key=lambda n: rows[n][0])]
    assert ordered == sorted(keys)
    assert plan.low == (min(keys) if keys else None)


@SEVERAL_TIMES
@given(keys=st.lists(st.none() | TEXTS | st.sampled_from("ab"), max_size=30), size=st.integers(1, 12))
def test_texts_that_repeat_and_are_missing(tmp_path: Path, keys: list[str | None], size: int):
    table = Table(tmp_path / "db", "a TEXT, b TEXT, n INTEGER", [(key, None) for key in keys])
    with closing(table.source):
        plan = table.plan(Chunking(columns=("a",), size=size))
        chunks = table.read(plan)
    check(chunks, len(keys))
    if any(key is not None for key in keys):
        assert plan.chunks[-1].bounds.nulls
        assert sorted(chunks[-1]) == [n for n, key in enumerate(keys) if key is None]


def test_an_integer_primary_key_of_sqlite_that_is_missing(tmp_path: Path):
    rows = [(1, None), (None, None), (2, None), (None, None)]
    table = Table(tmp_path / "db", "a INTEGER PRIMARY KEY DESC, b TEXT, n INTEGER", rows)
    with closing(table.source):
        chunks = table.read(table.plan(Chunking(size=1)))
    check(chunks, len(rows))


@SEVERAL_TIMES
@given(
    keys=st.sets(st.tuples(st.integers(-3, 3), TEXTS | st.sampled_from("abc")), max_size=30), size=st.integers(1, 12)
)
def test_keys_of_two_columns(tmp_path: Path, keys: set[tuple[int, str]], size: int):
    types = "a INTEGER NOT NULL, b TEXT NOT NULL, n INTEGER, PRIMARY KEY (a, b)"
    table = Table(tmp_path / "db", types, list(keys))
    with closing(table.source):
        chunks = table.read(table.plan(Chunking(size=size)))
    check(chunks, len(keys))
    assert all(len(chunk) <= size for chunk in chunks)


@SEVERAL_TIMES
@given(
    keys=st.sets(st.tuples(INTEGERS, TEXTS | st.sampled_from("abc")), max_size=30),
    size=st.integers(1, 12),
    columns=st.sampled_from([("a",), ("b",), ("a", "b"), ("b", "a")]),
    single=st.booleans(),
)
def test_steps_along_an_index_find_what_a_sort_of_all_keys_finds(
    tmp_path: Path, keys: set[tuple[int, str]], size: int, columns: tuple[str, ...], single: bool
):
    unique = {key[:1] if columns == ("a",) else key[1:] if columns == ("b",) else key: key for key in keys}
    table = Table(tmp_path / "db", "a BIGINT NOT NULL, b TEXT NOT NULL, n INTEGER", list(unique.values()))
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute(f"CREATE INDEX keys ON t ({', '.join(columns)})")
    statements = table.statements()
    with closing(table.source):
        query = table.source.table_query("t")
        schema = table.source.describe(query)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(key_order, "LONG_STEP", 1 if single else 100)
            patch.setattr(key_order, "STRIDE", 10)
            walked = plan_chunks(table.source, query, schema, Chunking(columns, size=size))
        steps = [text for text in statements if " LIMIT " in text and "rivet_keys" in text]
        unknown = plan_chunks(table.source, replace(query, table=None), schema, Chunking(columns, size=size))
    assert [chunk.bounds for chunk in walked.chunks] == [chunk.bounds for chunk in unknown.chunks]
    several = 1 if single else max(1, 10 // size)
    outermost = 1 if len(columns) > 1 else 0
    assert len(steps) == (outermost + len(unique) // (size * several) + 1 if keys else outermost)


@SEVERAL_TIMES
@given(keys=st.lists(st.none() | TEXTS | st.sampled_from("aAbB"), max_size=30), size=st.integers(1, 12))
def test_steps_along_an_index_whose_keys_repeat(tmp_path: Path, keys: list[str | None], size: int):
    table = Table(tmp_path / "db", "a TEXT COLLATE NOCASE, b TEXT, n INTEGER", [(key, None) for key in keys])
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("CREATE INDEX keys ON t (a)")
    with closing(table.source), pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_order, "LONG_STEP", 6)
        patch.setattr(key_order, "STRIDE", 10)
        check(table.read(table.plan(Chunking(("a",), size=size))), len(keys))


@SEVERAL_TIMES
@given(changes=st.lists(st.tuples(st.integers(-5, 60), st.booleans()), min_size=1, max_size=20), single=st.booleans())
def test_a_writer_between_the_steps(tmp_path: Path, changes: list[tuple[int, bool]], single: bool):
    """It inserts, deletes, and goes on above the largest key: the plan is sorted and ends at the key it began with."""
    table = Table(tmp_path / "db", "a INTEGER PRIMARY KEY, b TEXT, n INTEGER", [(2 * n, None) for n in range(20)])
    writer = sqlite3.connect(tmp_path / "db", isolation_level=None)
    script = iter(changes)

    def write(*call: object) -> None:
        if "LIMIT" in str(call[2]) and "rivet_keys" in str(call[2]):
            key, inserts = next(script, (0, True))
            writer.execute(
                "INSERT OR IGNORE INTO t VALUES (?, NULL, 0)" if inserts else "DELETE FROM t WHERE a = ?", (key,)
            )
            writer.execute("INSERT INTO t SELECT max(a) + 1, NULL, 0 FROM t WHERE a >= 38")

    sqlalchemy.event.listen(table.source.engine, "before_cursor_execute", write)
    with closing(table.source), closing(writer), pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_order, "LONG_STEP", 1 if single else 100)
        patch.setattr(key_order, "STRIDE", 6)
        bounds = [chunk.bounds for chunk in table.plan(Chunking(size=3)).chunks]
    highs = [bound.high[0] for bound in bounds if bound.high is not None]
    assert highs == sorted(set(highs))
    assert highs[-1] == 38
    assert [bound.low for bound in bounds] == [None, *((high,) for high in highs[:-1])]


def test_keys_that_a_driver_rounds_are_sorted_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A step that does not get on would be taken for ever."""
    rows = [(day, None) for day in ("2026-01-01 00:00:00.25", "2026-01-01 00:00:00.5", "2026-01-01 00:00:00.75")]
    table = Table(tmp_path / "db", "a TEXT NOT NULL, b TEXT, n INTEGER", [*rows, ("2026-01-02 00:00:00", None)])
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("CREATE INDEX keys ON t (a)")
    fetch = table.source.fetch
    table.source.fetch = lambda query, **how: [[str(value)[:19] for value in row] for row in fetch(query, **how)]
    statements = table.statements()
    with closing(table.source):
        monkeypatch.setattr(key_order, "LONG_STEP", 1)
        check(table.read(table.plan(Chunking(("a",), size=1))), 4)
    assert any("ROW_NUMBER" in text for text in statements)


@SEVERAL_TIMES
@example(keys=["2000-01-01", "9999-12-31"], days=40_000, with_time=False)
@given(keys=st.lists(DATES, max_size=20), days=st.integers(4_000, 400_000), with_time=st.booleans())
def test_days(tmp_path: Path, keys: list[str], days: int, with_time: bool):
    keys = [f"{key} 23:59:59" for key in keys] if with_time else keys
    table = Table(tmp_path / "db", "a DATE NOT NULL, b TEXT, n INTEGER", [(key, None) for key in keys])
    query = Query("SELECT * FROM t" if not with_time else "SELECT CAST(a AS TEXT) AS a, n FROM t")
    with closing(table.source):
        plan = table.plan(Chunking(columns=("a",), days=days), query)
        check(table.read(plan), len(keys))


def test_a_month_is_cut_into_weeks(tmp_path: Path):
    keys = [f"2026-11-{day:02}" for day in range(1, 31)]
    table = Table(tmp_path / "db", "a DATE NOT NULL, b TEXT, n INTEGER", [(key, None) for key in keys])
    with closing(table.source):
        chunks = table.read(table.plan(Chunking(columns=("a",), days=7)))
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 2]


def test_a_number_of_chunks(tmp_path: Path):
    table = Table(tmp_path / "db", "a INTEGER PRIMARY KEY, b TEXT, n INTEGER", [(10**n, None) for n in range(10)])
    with closing(table.source):
        chunks = table.read(table.plan(Chunking(count=4)))
    assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]


def test_rows_that_arrive_beyond_the_largest_key_are_left_to_the_next_run(tmp_path: Path):
    table = Table(tmp_path / "db", "a INTEGER PRIMARY KEY, b TEXT, n INTEGER", [(n, None) for n in range(10)])
    with closing(table.source):
        plan = table.plan(Chunking(size=4))
        with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
            connection.executemany("INSERT INTO t VALUES (?, NULL, ?)", [(-1, 10), (10, 11), (1000, 12)])
        assert sorted(n for chunk in table.read(plan) for n in chunk) == list(range(11))


def test_the_query_s_own_binds_and_comments_stay(tmp_path: Path):
    table = Table(tmp_path / "db", "a INTEGER PRIMARY KEY, b TEXT, n INTEGER", [(n, "x%") for n in range(10)])
    query = Query("SELECT a, n FROM t WHERE b LIKE ${like} AND a <> 5 -- the end", {"like": "x%"})
    with closing(table.source):
        chunks = table.read(table.plan(Chunking(columns=("a",), size=4), query))
    assert [sorted(chunk) for chunk in chunks if chunk] == [[0, 1, 2, 3], [4, 6, 7, 8], [9]]


@pytest.mark.parametrize(
    ("types", "chunking", "message"),
    [
        ("a INTEGER, b TEXT, n INTEGER", Chunking(size=1), "t has no primary key"),
        ("a INTEGER, b TEXT, n INTEGER", Chunking(columns=("c",), size=1), "no column c"),
        ("a REAL NOT NULL, b TEXT, n INTEGER", Chunking(columns=("a",), size=1), "cannot be cut by a"),
        ("a INTEGER NOT NULL, b TEXT, n INTEGER", Chunking(columns=("a", "b"), size=1), "b may be NULL"),
        ("a INTEGER NOT NULL, b TEXT, n INTEGER", Chunking(columns=("a",), days=1), "chunk_by_days needs a date"),
    ],
)
def test_a_key_that_cannot_bound_chunks_is_refused(tmp_path: Path, types: str, chunking: Chunking, message: str):
    table = Table(tmp_path / "db", types, [(1, "x")])
    with closing(table.source), pytest.raises(QueryError, match=message) as caught:
        table.plan(chunking)
    assert caught.value.hint


def test_too_many_chunks_are_refused(tmp_path: Path):
    table = Table(tmp_path / "db", "a DATE NOT NULL, b TEXT, n INTEGER", [("0001-01-01", ""), ("9999-12-31", "")])
    with closing(table.source), pytest.raises(QueryError, match="100000 chunks"):
        table.plan(Chunking(columns=("a",), days=7))
