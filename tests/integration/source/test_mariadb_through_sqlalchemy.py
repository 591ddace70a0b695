"""MariaDB through the built-in source: exact floats, UTC, zero dates, and a connection that is cut when it is left."""

from __future__ import annotations

import struct
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from integration.source.open_source import opened, read
from integration.source.server_failures import check_denied_and_unreachable, check_lost_connection
from rivet_core.api import (
    Query,
    QueryError,
    SourceContext,
    TypeMappingError,
    ValueRefused,
)
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.builtin.sqlalchemy.source import open_source
from servers.proxy import Drop, Reset


@pytest.fixture(scope="module")
def database(mariadb):
    database = mariadb.create_database()
    database.execute(
        "CREATE TABLE items (id int unsigned PRIMARY KEY, amount decimal(12,2) NOT NULL, note varchar(60), body blob)",
        "INSERT INTO items SELECT seq, seq / 100, CONCAT('note ', seq), UNHEX(MD5(seq)) FROM seq_1_to_20000",
        'CREATE TABLE `odd ``name` (`say "hi" ☂` int, `a%b:c` text)',
        "INSERT INTO `odd ``name` VALUES (1, '50% :x ${y}')",
        "ANALYZE TABLE items",
    )
    return database


def test_a_table_in_bounded_batches(database):
    with opened(database.url) as source:
        query = source.table_query("items")
        assert source.approximate_rows(query) == pytest.approx(20_000, rel=0.2)
        with source.read(query, batch_bytes=100_000) as stream:
            assert stream.schema == source.describe(query).arrow()
            batches = list(stream)
    assert max(batch.nbytes for batch in batches) <= 100_000
    table = pa.Table.from_batches(batches)
    assert table["id"].to_pylist() == list(range(1, 20_001))
    assert table.schema.field("id") == pa.field("id", pa.uint32(), nullable=False)


def test_strange_names_and_text_that_looks_like_binds(database):
    assert read(database.url, "odd `name").to_pylist() == [{'say "hi" ☂': 1, "a%b:c": "50% :x ${y}"}]
    text = r"""SELECT id % 7 AS `%s`, 'it\'s ${a} %(b)s' AS q, 5--1 AS six # ${d} ; '
               FROM items WHERE id = ${id} AND note LIKE 'note%' /* ' ; */ ; -- end"""
    row = {"%s": 5, "q": "it's ${a} %(b)s", "six": 6}
    assert read(database.url, Query(text, {"id": "5"})).to_pylist() == [row]
    assert read(database.url, Query("SELECT '%' AS p, 7 % 4 AS m")).to_pylist() == [{"p": "%", "m": 3}]


def test_describe_and_read_agree_on_expressions(database):
    text = Query("SELECT NULL AS n, 1 AS i, 1.5 AS d, 'a' AS s, NOW() AS at, COUNT(*) AS c, SUM(id) AS t FROM items")
    with opened(database.url) as source:
        described = source.describe(text).arrow()
    assert described.types == read(database.url, text).schema.types


def test_floats_have_all_their_digits_or_are_refused(database):
    values = [16777215.0, 0.1, -1.5, 3.4028234663852886e38, 123456.789]
    database.execute("CREATE TABLE floats (f float NOT NULL, d double)")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO floats VALUES (%s * 1e0, %s * 1e0)", [(str(v), str(v)) for v in values])
    singles = [struct.unpack("f", struct.pack("f", value))[0] for value in values]
    table = read(database.url, "floats")
    assert list(map(repr, table["f"].to_pylist())) == list(map(repr, singles))
    assert table.schema.field("f") == pa.field("f", pa.float32(), nullable=False)
    with pytest.raises(TypeMappingError, match="six digits"):
        read(database.url, Query("SELECT f FROM floats"))
    assert read(database.url, Query("SELECT CAST(f AS DOUBLE) AS f FROM floats"))["f"].to_pylist() == singles


def test_timestamps_are_utc_whatever_the_server_thinks(database):
    database.execute(
        "CREATE TABLE moments (at timestamp(6) NULL, naive datetime(6))",
        "INSERT INTO moments VALUES (FROM_UNIXTIME(1.5), '1970-01-01 00:00:01.5')",
    )
    row = read(database.url, "moments").to_pylist()[0]
    assert row["at"] == datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)
    assert row["naive"] == datetime(1970, 1, 1, 0, 0, 1, 500000)


def test_zero_dates_follow_their_policy(database):
    database.execute(
        "SET SESSION sql_mode = ''",
        "CREATE TABLE zeros (id int PRIMARY KEY, d date NOT NULL, t datetime(3))",
    )
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")
        cursor.execute("INSERT INTO zeros VALUES (1, '2026-01-01', NULL), (7, '0000-00-00', '0000-00-00 00:00:00')")
    with pytest.raises(ValueRefused, match=r"'d' \(date\), row 2 \(id = 7\): the value is a zero date"):
        read(database.url, "zeros")
    table = read(database.url, "zeros", zero_dates="null")
    assert table["d"].null_count == 1
    assert table["t"].null_count == 2
    texts = read(database.url, "zeros", columns={"d": pa.string(), "t": pa.string()})
    assert texts["d"].to_pylist() == ["2026-01-01", "0000-00-00"]


def test_what_declarations_know_better(database):
    database.execute("CREATE TABLE declared (u uuid, j json, b bit(1), t tinyint(1), a inet6)")
    database.execute("""INSERT INTO declared VALUES (UUID(), '{"a": 1}', 1, 1, '::1')""")
    schema = read(database.url, "declared").schema
    assert schema.types == [pa.uuid(), pa.json_(pa.string()), pa.binary(), pa.int8(), pa.string()]
    table = read(database.url, "declared", columns={"b": pa.bool_(), "t": pa.bool_()})
    assert table.select(["b", "t"]).to_pylist() == [{"b": True, "t": True}]


def test_large_values_come_in_small_batches(database):
    text = Query("SELECT seq, REPEAT('x', IF(seq < 500, 1, 3000000)) AS big FROM seq_1_to_510")
    with opened(database.url) as source, source.read(text, batch_bytes=1_000_000) as stream:
        sizes = [(batch.num_rows, batch.nbytes) for batch in stream]
    assert sum(rows for rows, _ in sizes) == 510
    assert all(rows == 1 for rows, size in sizes if size > 1_000_000)


def test_leaving_a_large_result_cuts_the_connection(database):
    endless = Query("SELECT seq, REPEAT('x', 1000) AS s FROM seq_1_to_100000000")
    started = time.monotonic()
    with opened(database.url) as source, source.read(endless, batch_bytes=100_000) as stream:
        assert next(iter(stream)).num_rows > 0
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("SELECT * FROM missing", QueryError, "missing' doesn't exist"),
        ("SELECT nope FROM items", QueryError, "Unknown column 'nope'"),
        ("SELECT 1,\n FROM FROM items", QueryError, "syntax error in line"),
        ("SELECT 1 AS a, 2 AS a", QueryError, "more than one column"),
        ("DELETE FROM items", QueryError, "syntax error|only reads"),
        ("SELECT 1; DROP TABLE items", QueryError, "more than one statement"),
    ],
)
def test_bad_queries_are_one_clear_error(database, text, error, message):
    for action in (lambda source: source.describe(Query(text)), lambda source: _read_all(source, Query(text))):
        with opened(database.url) as source, pytest.raises(error, match=message):
            action(source)


def _read_all(source, query):
    with source.read(query, batch_bytes=1000) as stream:
        return list(stream)


def test_a_query_that_fails_half_way(database):
    text = Query("SELECT id, (SELECT 1 UNION SELECT IF(id = 9000, 2, 1)) AS x FROM items ORDER BY id")
    with opened(database.url) as source, source.read(text, batch_bytes=1000) as stream:
        batches = iter(stream)
        assert next(batches).num_rows > 0
        with pytest.raises(QueryError, match="fails on a value"):
            list(batches)


def test_denied_and_unreachable(database):
    database.execute("CREATE USER guest@'%' IDENTIFIED BY 'c4nary-guest'")
    check_denied_and_unreachable(database)


@pytest.mark.parametrize("fault", [Drop(after_bytes=300_000), Reset(after_bytes=300_000)])
def test_a_lost_connection_is_an_error_and_never_a_short_result(database, fault):
    check_lost_connection(database, fault)


def test_a_server_without_tls_is_refused_where_tls_is_required(database):
    config = SqlalchemyConfig(url=database.url, tls={"mode": "require"})
    with closing(open_source(config, SourceContext(Path("/")))) as source:
        assert [(check.status, "TLS" in check.message) for check in source.check()] == [("failed", True)]


def test_doctor_reports_the_server(database):
    with opened(database.url) as source:
        checks = {check.name: check for check in source.check()}
    assert {check.status for check in checks.values()} == {"ok"}
    assert "MariaDB" in checks["source server"].message
