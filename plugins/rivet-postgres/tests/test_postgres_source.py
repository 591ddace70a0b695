"""The native source over a real server: all that the built-in one is tested for, and what is its own."""

from __future__ import annotations

import datetime as dt
import signal
import struct
import time
import uuid
from contextlib import closing, nullcontext
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from integration.source import open_source
from integration.source.both_sources import check_same, open_native
from integration.source.both_sources import read as read_through

# The built-in source's own tests, run over this source by `natively`.
from integration.source.test_postgres_through_sqlalchemy import *  # noqa: F403
from integration.source.test_postgres_through_sqlalchemy import database, sessions  # noqa: F401
from rivet_core.api import Query, QueryError, ReadOptions, SourceContext, SourceUnavailable, ValueRefused
from rivet_core.builtin.sqlalchemy import text
from rivet_core.builtin.sqlalchemy.columns import ResultColumn, readers
from rivet_core.builtin.sqlalchemy.stream import Limits
from rivet_postgres import pages
from rivet_postgres import source as native
from rivet_postgres.backend import NativePostgres
from rivet_postgres.columns import copied_columns
from rivet_postgres.config import PostgresConfig
from rivet_postgres.pages import PageRange, Relation, TablePages, cut, range_statements
from rivet_postgres.stream import CopyBatches
from servers.proxy import BlackHole, FaultProxy


@pytest.fixture(autouse=True)
def natively(monkeypatch):
    monkeypatch.setattr(open_source, "open_database", open_native)


def statements_of(url, query, batch_bytes=1 << 20):
    """Return the rows of the query's first column and the statements that the server was given for them."""
    with closing(open_native(url)) as source:
        query = source.table_query(query) if isinstance(query, str) else query
        with source.read(query, batch_bytes=batch_bytes) as stream:
            statements = stream._statements = list(stream._statements)
            rows = pa.Table.from_batches(stream, stream.schema).column(0).to_pylist()
            assert 0 < stream.longest_statement_seconds < 600
    return rows, statements


def test_a_plain_table_is_read_page_by_page(database, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pages, "_FIRST_PAGES", 7)
    monkeypatch.setattr(pages, "_MAX_PAGES", 50)
    rows, statements = statements_of(database.url, "items")
    assert len(statements) > 5
    assert all(statement.startswith("COPY (\nSELECT ") for statement in statements)
    assert sorted(rows) == list(range(1, 50_001))


def test_views_and_empty_tables(database):  # noqa: F811
    database.execute(
        "CREATE VIEW lowest AS SELECT id FROM items WHERE id < 3",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM lowest",
        "CREATE TABLE nothing (id integer)",
        "CREATE VIEW counted AS WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT 2 FROM r WHERE id < 2) TABLE r",
    )
    for name, expected, by_pages in [
        ("lowest", [1, 2], False),
        ("kept", [1, 2], True),
        ("nothing", [], True),
        ("counted", [1, 2], False),
    ]:
        rows, statements = statements_of(database.url, name)
        assert (sorted(rows), len(statements)) == (expected, 1)
        assert ("ctid" in statements[0]) == by_pages


def test_all_ranges_of_a_table_see_one_state(database, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pages, "_FIRST_PAGES", 4)
    monkeypatch.setattr(pages, "_MAX_PAGES", 4)
    database.execute(
        "CREATE TABLE moving (id integer, state integer)",
        "INSERT INTO moving SELECT i, 0 FROM generate_series(1, 20000) i",
    )
    with open_source.opened(database.url) as source:
        moving = source.table_query("moving")
        with source.read(moving, batch_bytes=20_000) as stream:
            batches = iter(stream)
            first = next(batches)
            database.execute("UPDATE moving SET state = 1", "DELETE FROM moving WHERE id % 2 = 0")
            table = pa.Table.from_batches([first, *batches])
    assert sorted(table["id"].to_pylist()) == list(range(1, 20_001))
    assert set(table["state"].to_pylist()) == {0}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_page_is_read_once(monkeypatch, size):
    monkeypatch.setattr(pages, "_FIRST_PAGES", size)
    monkeypatch.setattr(pages, "_MAX_PAGES", 5)
    for low, high, count in [(0, None, 0), (0, None, 20), (3, 11, 20), (11, None, 20), (3, 11, 5), (0, 1, 1)]:
        ranges: list[tuple[int, int | None]] = []
        told = PageRange(Relation("t", count), low, high)
        for _ in range_statements(lambda one, ranges=ranges: ranges.append((one.low, one.high)) or "", [told]):
            pass
        assert ranges[0][0] == low
        assert ranges[-1][1] == high
        assert all(before[1] == after[0] for before, after in pairwise(ranges))
        assert all(end is None or first < end for first, end in ranges)


def test_pieces_of_relations():
    def cut_into(counts, n):
        relations = [Relation(str(number), count) for number, count in enumerate(counts)]
        return [[(int(one.relation.name), one.low, one.high) for one in piece] for piece in cut(relations, n)]

    assert cut_into([10], 3) == [[(0, 0, 3)], [(0, 3, 6)], [(0, 6, None)]]
    assert cut_into([2], 5) == [[(0, 0, 1)], [(0, 1, None)]]
    assert cut_into([4, 0, None, 2], 2) == [[(0, 0, None)], [(1, 0, None), (2, 0, None), (3, 0, None)]]
    assert cut_into([3, 9], 2) == [[(0, 0, None), (1, 0, 3)], [(1, 3, None)]]
    assert cut_into([1, 1, 1, 1, 1], 2) == [
        [(0, 0, None), (1, 0, None)],
        [(2, 0, None), (3, 0, None), (4, 0, None)],
    ]


def test_a_small_table_is_one_piece(monkeypatch):
    monkeypatch.setattr(pages, "_MIN_PIECE_PAGES", 4096)
    assert [len(cut([Relation("t", count)], 4)) for count in (0, 8191, 8192)] == [1, 1, 2]


def test_a_table_is_split_by_pages_and_a_query_is_not(database):  # noqa: F811
    with closing(open_native(database.url)) as source:
        pieces = source.split(source.table_query("items"), 4)
        assert len(pieces) == 4
        assert all(isinstance(piece, TablePages) for piece in pieces)
        query = Query("SELECT id FROM items")
        assert source.split(query, 4) == [query]
    ids = [key for piece in pieces for key in read_through(open_native, database.url, piece)["id"].to_pylist()]
    assert sorted(ids) == list(range(1, 50_001))
    for piece in pieces:  # a reader that knows nothing of pages finds the same rows
        check_same(database.url, Query(piece.text))


def test_a_split_table_without_rows(database):  # noqa: F811
    database.execute("CREATE TABLE bare (id integer)")
    with closing(open_native(database.url)) as source:
        query = source.table_query("bare")
        assert source.split(query, 4) == [query]


VALUES = [
    0, -1, 2**15, 2**31, 2**63, -(2**63), True, 1.5, float("inf"), Decimal("1.50"), Decimal("NaN"),
    "", "5", "it's", "back\\slash", "%s ${x} :x", "naïve 🦔", "\n", b"", b"\x00\xff'\\",
    dt.date(2026, 2, 3), dt.time(1, 2, 3), dt.datetime(2026, 2, 3, 4, 5, 6, 7), dt.datetime(2026, 2, 3, tzinfo=dt.UTC),
    dt.timedelta(days=-1, seconds=5), uuid.UUID(int=7), [1, 2], ["a", None, "b'\\"], [], None,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_literal_is_what_a_bind_is(database, value):  # noqa: F811
    check_same(database.url, Query("SELECT ${x} AS x, '%' AS p", {"x": value}))
    if not isinstance(value, str | list | None):  # of unknown type until it is used
        check_same(database.url, Query("SELECT pg_typeof(${x})::text AS t", {"x": value}))


def test_a_literal_is_compared_as_a_bind_is(database):  # noqa: F811
    for statement, params in [
        ("SELECT id FROM items WHERE id BETWEEN ${low} AND ${high} ORDER BY id", {"low": 5, "high": "9"}),
        ("SELECT id FROM items WHERE amount = ${a} OR note = ${n}", {"a": Decimal("3.33"), "n": "note 7"}),
        ("SELECT id FROM items WHERE id = ANY(${ids}) ORDER BY id LIMIT ${n}", {"ids": [3, 1, 2], "n": 2}),
        ("SELECT id - ${n} AS x, -${n} AS y FROM items WHERE id < 3", {"n": -5}),
        ("SELECT id FROM items WHERE note = ${n}", {"n": "x' OR '1'='1"}),
        ("SELECT ${n} AS n", {"n": "nul \0 byte"}),
    ]:
        check_same(database.url, Query(statement, params))


@pytest.mark.parametrize(
    "text",
    [
        "VALUES (1, 'a'), (2, NULL)",
        "TABLE few",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a -- the end",
        "SELECT id, k FROM few ORDER BY id DESC",
        "(SELECT id FROM few ORDER BY id) UNION ALL SELECT 7",
        "SELECT id AS \"a\"\"b\", k AS \"A%s\" FROM few /* ) */",
        "SELECT few FROM few",
        "SELECT ROW(NULL, NULL) AS empty, ROW(1, 'a') AS full, NULL::few AS none",
        "SELECT 1 AS x FOR UPDATE",
        "SELECT id FROM few FOR UPDATE",
        "DELETE FROM few RETURNING id",
        "WITH gone AS (DELETE FROM few RETURNING id) SELECT * FROM gone",
        "SELECT 1 AS x) TO STDOUT; SELECT (1",
        "SELECT 1 AS x) TO PROGRAM 'true' WITH (FORMAT text",
        "COPY few TO STDOUT",
        "SELECT 1 AS a, 2 AS a",
        "SELECT xmin, ctid, tableoid FROM few",
        "SELECT '{1,2}'::int2vector AS v, 'a'::\"char\" AS c, ''::\"char\" AS e, 'x'::unknown AS u",
        "SELECT nextval('numbers') AS x",
    ],
)  # fmt: skip
def test_any_query_ends_as_it_does_with_the_builtin_source(database, text):  # noqa: F811
    database.execute(
        "CREATE TABLE IF NOT EXISTS few AS SELECT i AS id, '10.0.0.1'::inet AS k FROM generate_series(1, 3) i"
    )
    database.execute("CREATE SEQUENCE IF NOT EXISTS numbers")
    check_same(database.url, Query(text))


def in_encoding(postgres, encoding):
    """Create a database in another encoding."""
    name = f"in_{encoding.lower()}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    return replace(postgres, database=name)


@pytest.mark.parametrize(
    ("encoding", "value"),
    [("LATIN1", "naïve ÿ"), ("WIN1251", "Привет ё"), ("EUC_JP", "日本語 ｱ"), ("SQL_ASCII", "é😀")],
)
def test_text_in_any_encoding_is_utf8(postgres, encoding, value):
    odd = in_encoding(postgres, encoding)
    json_ = f'{{"{value}": "{value}"}}'
    with odd.connect() as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        connection.execute(f"CREATE TYPE word AS ENUM ('{value}')")
        columns = f'"{value}" text, c char(9), l text[], j json, b jsonb, n name, x xml, e word'
        connection.execute(f'CREATE TABLE "{value}" ({columns})')
        row = (value, value[:2], [value, None], json_, json_, value, f"<a>{value}</a>", value)
        connection.execute(f'INSERT INTO "{value}" VALUES (%s, %s, %s, %s, %s, %s, %s, %s)', row)
    check_same(odd.url, value)
    found = read_through(open_native, odd.url, value).to_pylist()[0]
    assert list(found) == [value, "c", "l", "j", "b", "n", "x", "e"]
    assert [found[value], found["l"], found["j"], found["e"]] == [value, [value, None], json_, value]


def test_a_character_that_utf8_has_not_is_an_error(postgres):
    odd = in_encoding(postgres, "WIN1252")
    query = Query("SELECT convert_from('\\x81', 'WIN1252') AS v")
    check_same(odd.url, query)
    with pytest.raises(ValueRefused, match="a character that UTF-8 has not"):
        read_through(open_native, odd.url, query)


@pytest.mark.parametrize("column", ["v", "l", "n"])
def test_text_that_is_no_utf8_ends_the_read(postgres, column):
    odd = replace(postgres, database=postgres.create_database().database + "_ascii")
    postgres.execute(
        f"CREATE DATABASE {odd.database} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    odd.execute(
        "SET client_encoding = 'UTF8'",
        "CREATE TABLE t (k integer PRIMARY KEY, v text, l text[], n varchar(20))",
        "INSERT INTO t SELECT i, 'ok', ARRAY['ok', 'é'], 'ok' FROM generate_series(1, 99) i",
        f"UPDATE t SET {column} = {'ARRAY[chr(255)]' if column == 'l' else 'chr(255)'} WHERE k = 42",
    )
    check_same(odd.url, "t")
    with pytest.raises(ValueRefused, match=rf"'{column}' .*\(k = 42\): the value is no valid UTF-8") as caught:
        read_through(open_native, odd.url, "t")
    assert "binary data" in caught.value.hint
    check_same(odd.url, Query(f"SELECT {column}, k FROM t"))


class Sent:
    """Gives the decoder bytes as if the server had sent them."""

    def __init__(self, data):
        self.data = data

    def batches(self, statement, decoder):
        yield from decoder.feed(self.data)
        decoder.end_stream()


def batches_of(data, source_type="text", type_=None, nullable=True, max_value_bytes=10_000):
    """Decode a stream of the columns ``k integer`` and ``v``."""
    described = [
        ResultColumn("k", "integer", pa.int32(), nullable=False),
        ResultColumn("v", source_type, type_ or pa.string(), nullable=nullable),
    ]
    options = ReadOptions(max_value_bytes=max_value_bytes)
    resolved = readers(described, options, lambda column, target, overridden: text.decoder(column.type, target))
    columns = copied_columns(described, resolved, max_value_bytes)
    limits = Limits(1 << 20, max_value_bytes)
    return CopyBatches(
        columns,
        Sent(data),
        ["COPY"],
        limits=limits,
        failures=nullcontext,
        locate=lambda number, row: f"row {number} (k = {row[0]})",
    )


def stream_of(*values):
    rows = [
        struct.pack("!hiii", 2, 4, 100 + number, -1 if value is None else len(value)) + (value or b"")
        for number, value in enumerate(values)
    ]
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(rows) + b"\xff\xff"


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 64])
def test_bytes_that_are_no_utf8_are_named(count):
    for place in range(count):
        values = ["é".encode()] * count
        values[place] = b"\xff\xfe"
        with pytest.raises(ValueRefused) as caught:
            list(batches_of(stream_of(*values)))
        where = f"row {place + 1} (k = {100 + place})"
        assert caught.value.message == f"column 'v' (text), {where}: the value is no valid UTF-8 text"


def test_null_in_a_column_that_is_declared_without_is_named():
    with pytest.raises(ValueRefused, match=r"'v' \(text\), row 2 \(k = 101\): the value is NULL, but"):
        list(batches_of(stream_of(b"a", None), nullable=False))


def test_a_large_value_is_named():
    with pytest.raises(
        ValueRefused, match=r"'v', row 3 \(k = 102\): the value has 51 bytes, more than max_value_bytes"
    ):
        list(batches_of(stream_of(b"a", None, b"x" * 51), max_value_bytes=50))


def test_text_that_python_reads_is_named_by_its_own_row():
    good = [b"{1,NULL}"] * 9000
    list_ = pa.list_(pa.int32())
    table = pa.Table.from_batches(batches_of(stream_of(*good), "integer[]", list_))
    assert table["v"].to_pylist() == [[1, None]] * 9000
    with pytest.raises(ValueRefused, match=r"'v' \(integer\[\]\), row 8194 \(k = 8293\): .*other dimensions"):
        list(batches_of(stream_of(*good[:8193], b"{{1}}", *good), "integer[]", list_))


def test_a_damaged_stream_is_worth_a_retry():
    with pytest.raises(SourceUnavailable, match="stream of rows is damaged: it ends before its trailer"):
        list(batches_of(stream_of(b"a")[:-2]))


def test_an_interrupt_cancels_the_copy(database):  # noqa: F811
    def interrupt(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            read_through(
                open_native, database.url, Query("SELECT i, pg_sleep(20)::text AS s FROM generate_series(1, 5) i")
            )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 60
    deadline = time.monotonic() + 10
    while sessions(database, "pg_sleep") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sessions(database, "pg_sleep") == 0


def test_an_error_after_many_rows_gives_no_partial_success(database):  # noqa: F811
    query = Query("SELECT i, 1 / (49999 - i) AS x FROM generate_series(1, 50000) i")
    with pytest.raises(QueryError, match="fails on a value"):
        read_through(open_native, database.url, query, batch_bytes=1 << 30)


def test_several_batches_of_every_width(database):  # noqa: F811
    for batch_bytes in (1, 100, 10_000):
        check = Query("SELECT i, NULLIF(i % 3, 0) = 1 AS b, repeat('x', i % 50) AS s FROM generate_series(1, 300) i")
        table = read_through(open_native, database.url, check, batch_bytes=batch_bytes)
        assert table["i"].to_pylist() == list(range(1, 301))
        assert table["s"].to_pylist() == ["x" * (i % 50) for i in range(1, 301)]
        assert table["b"].to_pylist() == [None if i % 3 == 0 else i % 3 == 1 for i in range(1, 301)]


def test_the_server_keeps_the_memory_of_a_wide_row(postgres, monkeypatch):
    """What it returns to the system after each row comes back as page faults, about 75 of them."""
    monkeypatch.setattr(pages, "_FIRST_PAGES", 100)
    rows, wide = 2000, postgres.create_database()
    names = ", ".join(f"1 AS c{number}" for number in range(300))
    wide.execute(f"CREATE TABLE wide AS SELECT {names} FROM generate_series(1, {rows})")
    with closing(open_native(wide.url)) as source:
        query = source.table_query("wide")
        with source.read(query, batch_bytes=1 << 20) as stream:
            process = stream._copier._pgconn.backend_pid
            before = page_faults(process)
            assert sum(batch.num_rows for batch in stream) == rows
            assert page_faults(process) - before < 10 * rows


def page_faults(process):
    """Return how many page faults that needed no disk a process has had (``minflt`` in proc(5))."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[7])


def test_a_silent_server_is_given_up(database):  # noqa: F811
    with FaultProxy(database.port) as proxy:
        proxy.inject(BlackHole(after_bytes=300_000))
        config = PostgresConfig(url=database.through(proxy.port).url, read_timeout=1)
        with closing(native.open_source(config, SourceContext(Path("/")))) as source:
            query = source.table_query("items")
            with (
                pytest.raises(SourceUnavailable, match="said nothing for 1 s"),
                source.read(query, batch_bytes=10_000) as stream,
            ):
                list(stream)


def test_a_connection_that_the_server_ends_is_worth_a_retry(database):  # noqa: F811
    endless = Query("SELECT generate_series(1, 100000000) AS i, repeat('x', 1000) AS s")
    with open_source.opened(database.url) as source, source.read(endless, batch_bytes=100_000) as stream:
        batches = iter(stream)
        next(batches)
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'rivet' AND query LIKE 'COPY%generate_series%'"
        )
        with pytest.raises(SourceUnavailable):
            for _ in batches:
                pass


def test_settings_of_another_session_do_not_change_the_values(database, monkeypatch):  # noqa: F811
    """A pooler of transactions may run the read on another connection than the one that was set up."""
    text_ = "SELECT interval '1 day 2 hours' AS i, '2026-03-04 05:06:07+00'::timestamptz AS t, 0.1::float4 AS f"
    query = Query(text_)
    expected = read_through(open_native, database.url, query, columns={"t": pa.string(), "f": pa.string()})
    connect = NativePostgres.connect

    def of_the_pool(self):
        connection = connect(self)
        connection.execute(
            "SET TIME ZONE 'Asia/Kathmandu'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = -5"
        )
        connection.commit()
        return connection

    monkeypatch.setattr(NativePostgres, "connect", of_the_pool)
    found = read_through(open_native, database.url, query, columns={"t": pa.string(), "f": pa.string()})
    assert (
        found.to_pylist()
        == expected.to_pylist()
        == [{"i": "1 day 02:00:00", "t": "2026-03-04 05:06:07+00", "f": "0.1"}]
    )
