"""MariaDB through the native source: bounded batches, faults, leaving early, snapshots, and the fallback."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.source.both_sources import check_same, open_as_text, open_builtin, open_native, read
from rivet_core.api import Query, QueryError, SourceContext, SourceUnavailable, ValueRefused
from rivet_core.builtin.sqlalchemy import reading
from rivet_mysql import source as native
from rivet_mysql.config import MysqlConfig
from servers.proxy import Drop, FaultProxy, Reset


@pytest.fixture(scope="module")
def database(mariadb):
    database = mariadb.create_database()
    database.execute(
        "CREATE TABLE items (id int unsigned PRIMARY KEY, amount decimal(12,2) NOT NULL, note varchar(60), body blob)",
        "INSERT INTO items SELECT seq, seq / 100, IF(seq % 5, CONCAT('note ', seq), NULL), UNHEX(MD5(seq))"
        " FROM seq_1_to_20000",
    )
    return database


def test_a_table_in_bounded_batches(database):
    with closing(open_native(database.url)) as source:
        query = source.table_query("items")
        with source.read(query, batch_bytes=100_000) as stream:
            assert stream.schema == source.describe(query).arrow()
            batches = list(stream)
    assert max(batch.nbytes for batch in batches) <= 100_000
    table = pa.Table.from_batches(batches)
    table.validate(full=True)
    assert table == read(open_builtin, database.url, "items")


def test_the_statement_is_timed(database):
    text = Query("SELECT SLEEP(0.3) AS s UNION ALL SELECT 0")
    with closing(open_native(database.url)) as source, source.read(text, batch_bytes=1000) as stream:
        assert sum(batch.num_rows for batch in stream) == 2
        assert stream.longest_statement_seconds >= 0.3


def test_an_empty_result_has_its_columns(database):
    table = read(open_native, database.url, Query("SELECT * FROM items WHERE id < 0"))
    assert table.num_rows == 0
    assert table.column_names == ["id", "amount", "note", "body"]


def test_a_row_of_more_than_a_packet(database):
    text = Query("SELECT seq, REPEAT(CHAR(65 + seq), IF(seq = 2, 20000000, 9)) AS big FROM seq_1_to_3")
    table = read(open_native, database.url, text, max_value_bytes=30_000_000)
    assert table["big"].to_pylist() == [b"B" * 9, b"C" * 20_000_000, b"D" * 9]


def test_a_value_above_the_bound_is_refused_by_column_and_row(database):
    database.execute(
        "CREATE TABLE large (id int PRIMARY KEY, t longtext)",
        "INSERT INTO large VALUES (1, 'a'), (9, REPEAT('é', 3000))",
    )
    check_same(database.url, "large", max_value_bytes=5000)
    with pytest.raises(ValueRefused, match=r"'t', row 2 \(id = 9\): the value has 6000 bytes"):
        read(open_native, database.url, "large", max_value_bytes=5000)


def test_a_value_far_behind_is_refused_by_its_row(database):
    text = Query("SELECT IF(id = 19000, x'ff', 'a') AS t FROM items")
    check_same(database.url, text, columns={"t": pa.string()})
    text = Query("SELECT IF(id = 19000, '007', '7') AS t FROM items ORDER BY id")
    check_same(database.url, text, columns={"t": pa.int32()})


@pytest.mark.parametrize("target", [pa.binary(), pa.binary(16), pa.string(), pa.uuid()])
def test_a_uuid_becomes_what_the_user_asks_for(database, target):
    database.execute(
        "CREATE OR REPLACE TABLE ids (u uuid)",
        "INSERT INTO ids VALUES ('6ba7b810-9dad-41d1-80b4-00c04fd430c8'), (NULL)",
    )
    check_same(database.url, "ids", columns={"u": target})


def test_leaving_a_large_result_is_prompt(database):
    endless = Query("SELECT seq, REPEAT('x', 1000) AS s FROM seq_1_to_100000000")
    started = time.monotonic()
    with closing(open_native(database.url)) as source, source.read(endless, batch_bytes=100_000) as stream:
        assert next(iter(stream)).num_rows > 0
    assert time.monotonic() - started < 60


def test_a_query_that_fails_half_way_is_its_error(database):
    text = Query("SELECT id, (SELECT 1 UNION SELECT IF(id = 9000, 2, 1)) AS x FROM items ORDER BY id")
    with closing(open_native(database.url)) as source, source.read(text, batch_bytes=1000) as stream:
        batches = iter(stream)
        assert next(batches).num_rows > 0
        with pytest.raises(QueryError, match="fails on a value"):
            list(batches)


@pytest.mark.parametrize("fault", [Drop(after_bytes=300_000), Reset(after_bytes=300_000)])
def test_a_lost_connection_is_an_error_and_never_a_short_result(database, fault):
    with FaultProxy(database.port) as proxy:
        proxy.inject(fault)
        with pytest.raises(SourceUnavailable):
            read(open_native, database.through(proxy.port).url, "items")
        assert proxy.fired


def test_a_server_that_falls_silent_is_an_error(database):
    config = MysqlConfig(url=database.url, read_timeout=1)
    text = Query("SELECT seq, IF(seq = 15000, SLEEP(20), 0) AS s, REPEAT('x', 100) AS t FROM seq_1_to_20000")
    with (
        closing(native.open_source(config, SourceContext(Path("/")))) as source,
        pytest.raises(SourceUnavailable, match="said nothing for 1 s"),
        source.read(text, batch_bytes=1000) as stream,
    ):
        list(stream)


def test_a_snapshot_survives_readers_that_leave_early(database):
    with closing(open_native(database.url)) as source:
        query = source.table_query("items")
        with source.snapshot(query, 2) as snapshot:
            database.execute("INSERT INTO items VALUES (20001, 1, 'late', NULL)")
            try:
                for _ in range(3):
                    with source.read(query, batch_bytes=1000, snapshot=snapshot) as stream:
                        assert next(iter(stream)).num_rows > 0
                    with source.read(query, batch_bytes=10_000, snapshot=snapshot) as stream:
                        assert sum(batch.num_rows for batch in stream) == 20_000
                    assert [tuple(row) for row in source.fetch(Query("SELECT count(*) FROM items"), snapshot=snapshot)]
            finally:
                database.execute("DELETE FROM items WHERE id = 20001")


VALUES = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "bigint unsigned": st.integers(0, 2**64 - 1),
    "tinyint": st.integers(-128, 127),
    "smallint unsigned": st.integers(0, 2**16 - 1),
    "mediumint": st.integers(-(2**23), 2**23 - 1),
    "int unsigned zerofill": st.integers(0, 2**32 - 1),
    "year": st.integers(1901, 2155),
    "decimal(65,30)": st.decimals(-(10**34), 10**34, places=30),
    "double": st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    "float": st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False, width=32),
    "date": st.dates(),
    "datetime(6)": st.datetimes(),
    "time(6)": st.timedeltas(-timedelta(hours=838), timedelta(hours=838)),
    "longtext": st.text(st.characters(exclude_categories=("Cs",)), max_size=400),
    "longblob": st.binary(max_size=400),
    "uuid": st.uuids(version=4).map(str),  # MariaDB refuses what is of no version
}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_are_those_of_the_driver_and_of_the_built_in_source(database, data):
    rows = data.draw(st.lists(st.tuples(*(st.none() | values for values in VALUES.values())), max_size=20))
    names = [f"c{number}" for number in range(len(VALUES))]
    columns = ", ".join(f"{name} {declared}" for name, declared in zip(names, VALUES, strict=True))
    marks = ", ".join("%s * 1e0" if declared == "float" else "%s" for declared in VALUES)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE OR REPLACE TABLE drawn ({columns})")
        if rows:
            cursor.executemany(f"INSERT INTO drawn VALUES ({marks})", rows)
        exact = (f"{n} * 1e0" if declared == "float" else n for n, declared in zip(names, VALUES, strict=True))
        cursor.execute(f"SELECT {', '.join(exact)} FROM drawn")
        driver = cursor.fetchall()
    table = read(open_native, database.url, "drawn", batch_bytes=data.draw(st.integers(100, 20_000)))
    assert table == read(open_as_text, database.url, "drawn")
    assert table == read(open_builtin, database.url, "drawn")
    got = [tuple(row.values()) for row in table.to_pylist()]
    assert [(*row[:-1], row[-1] and str(row[-1])) for row in got] == list(driver)


@pytest.fixture
def without_extension(monkeypatch):
    monkeypatch.setitem(sys.modules, "rivet_mysql._decoder", None)
    reading.warn_once.cache_clear()
    yield
    reading.warn_once.cache_clear()


def test_without_the_native_decoder_it_reads_slowly_and_says_so(database, without_extension, caplog):
    config = MysqlConfig(url=database.url)
    with caplog.at_level(logging.WARNING), closing(native.open_source(config, SourceContext(Path("/")))) as source:
        checks = {check.name: check for check in source.check()}
        with source.read(source.table_query("items"), batch_bytes=1_000_000) as stream:
            assert sum(batch.num_rows for batch in stream) == 20_000
    assert [record.message for record in caplog.records] == [
        "MySQL is read by the slower built-in source: rivet-mysql was installed without its native decoder"
    ]
    assert checks["source reading"].status == "warning"
    assert "compiler" in checks["source reading"].hint


def test_doctor_reports_the_server_and_the_native_decoder(database):
    with closing(open_native(database.url)) as source:
        checks = {check.name: check for check in source.check()}
    assert {check.status for check in checks.values()} == {"ok"}
    assert "natively" in checks["source reading"].message
