"""Queries are read by the binary protocol where the server prepares them, by the text protocol otherwise."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa
import pymysql
import pytest
from pymysql.cursors import SSCursor

from fuzz import plain_binary
from integration.source.both_sources import check_same, open_as_text, open_builtin, open_native, outcome, read
from rivet_core.api import Query, Snapshot, Source, ValueRefused
from rivet_core.builtin.sqlalchemy.mysql_snapshot import drop
from rivet_mysql import prepared
from rivet_mysql.binary import as_text, form_of, look_of
from rivet_mysql.fields import Field, Form, Kind
from servers.mariadb import Mariadb


@pytest.fixture(scope="module")
def database(server: Mariadb) -> Mariadb:
    database = server.create_database()
    database.execute(
        "CREATE TABLE items"
        " (at datetime(3) PRIMARY KEY, n int, f float, d double, note varchar(60) CHARACTER SET latin1)",
        "INSERT INTO items VALUES"
        " ('2026-11-23 05:20:00.25', 1, 16777216, 0.1, 'é'), ('2026-11-24', -2, NULL, 1e300, '')",
    )
    return database


def told(source: Source, snapshot: Snapshot) -> dict[str, int]:
    """Return what the snapshot's connection has prepared and executed, and what is not forgotten."""
    names = "'Com_stmt_execute', 'Com_stmt_prepare', 'Prepared_stmt_count'"
    rows = source.fetch(Query(f"SHOW SESSION STATUS WHERE Variable_name IN ({names})"), snapshot=snapshot)
    return {str(name): int(str(value)) for name, value in rows}


def test_a_query_is_prepared_and_forgotten(database: Mariadb) -> None:
    with closing(open_native(database.url)) as source:
        query = source.table_query("items")
        with source.snapshot(query, 1) as snapshot:
            assert snapshot is not None
            for number in (1, 2):
                with source.read(query, batch_bytes=1000, snapshot=snapshot) as stream:
                    assert sum(batch.num_rows for batch in stream) == 2
                assert told(source, snapshot) == {
                    "Com_stmt_execute": number,
                    "Com_stmt_prepare": number,
                    "Prepared_stmt_count": 0,
                }


def test_a_query_that_is_left_early_is_forgotten_too(database: Mariadb) -> None:
    many = Query(
        " CROSS JOIN ".join(
            ["SELECT 1 AS x, REPEAT('x', 9999) AS s FROM items", *(f"items AS i{n}" for n in range(14))]
        )
    )
    with closing(open_native(database.url)) as source, source.snapshot(many, 1) as snapshot:
        assert snapshot is not None
        with source.read(many, batch_bytes=1000, snapshot=snapshot) as stream:
            assert next(iter(stream)).num_rows > 0
        assert told(source, snapshot) == {"Com_stmt_execute": 1, "Com_stmt_prepare": 1, "Prepared_stmt_count": 0}


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("items", {"d": pa.string()}),
        ("items", {"at": pa.string()}),
        ("items", {"n": pa.decimal128(12, 2)}),
        (Query("SELECT f FROM items"), {"f": pa.float32()}),  # which the server rounds in a text
    ],
)
def test_what_takes_the_servers_text_is_read_by_the_text_protocol(
    database: Mariadb, query: Query | str, columns: dict[str, pa.DataType]
) -> None:
    check_same(database.url, query, columns=columns)
    with closing(open_native(database.url, columns=columns)) as source:
        query = source.table_query(query) if isinstance(query, str) else query
        with source.snapshot(query, 1) as snapshot:
            assert snapshot is not None
            with source.read(query, batch_bytes=1000, snapshot=snapshot) as stream:
                assert sum(batch.num_rows for batch in stream) == 2
            assert told(source, snapshot) == {"Com_stmt_execute": 0, "Com_stmt_prepare": 1, "Prepared_stmt_count": 0}


@pytest.fixture
def without_statements(database: Mariadb) -> Iterator[None]:
    """Let the server prepare nothing."""
    database.execute("SET GLOBAL max_prepared_stmt_count = 0")
    yield
    database.execute("SET GLOBAL max_prepared_stmt_count = DEFAULT")


@pytest.mark.usefixtures("without_statements")
def test_a_server_that_prepares_nothing_is_read_by_the_text_protocol(
    database: Mariadb, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "rivet_core"):
        table = read(open_native, database.url, "items")
    assert "the server refuses to prepare the query (error 1461), which is read as text" in caplog.messages
    assert table == read(open_builtin, database.url, "items")


def test_a_query_with_a_question_mark_is_the_error_that_it_is_as_a_text(database: Mariadb) -> None:
    check_same(database.url, Query("SELECT ? AS x"))
    check_same(database.url, Query("SELECT '?' AS x"))


def test_columns_that_change_after_the_query_was_prepared_are_an_error(database: Mariadb) -> None:
    database.execute("CREATE TABLE changed (x int)", "INSERT INTO changed VALUES (1)")
    asked: list[object] = []

    def suits(described: object) -> bool:
        asked.append(described)
        if len(asked) == 1:
            database.execute("ALTER TABLE changed MODIFY x varchar(9)")
        return len(asked) == 1

    connection = database.connect()
    with closing(open_native(database.url)) as source:
        try:
            with pytest.raises(pymysql.err.OperationalError, match="1412") as changed:
                prepared.run(connection.cursor(SSCursor), "SELECT x FROM changed", suits)
            assert "altered" in source._backend.failure(changed.value).message
        finally:
            drop(connection)
    assert len(asked) == 2


def test_each_protocol_gives_the_same(database: Mariadb) -> None:
    table = read(open_native, database.url, "items")
    assert table.equals(read(open_as_text, database.url, "items"))
    assert table.equals(read(open_builtin, database.url, "items"))


#: Types whose values have a form of their own in the binary protocol, and values.
TEXTS = {
    "tinyint": ("-128", "127", "0"),
    "smallint unsigned": ("65535", "0", "NULL"),
    "mediumint": ("-8388608", "8388607", "-1"),
    "int unsigned zerofill": ("42", "4294967295", "NULL"),
    "bigint": ("-9223372036854775808", "9223372036854775807", "NULL"),
    "bigint unsigned": ("18446744073709551615", "0", "1"),
    "decimal(12,2)": ("1.5", "-0.01", "NULL"),
    "double": ("0.25", "-12345.5", "NULL"),
    "year": ("2026", "0", "NULL"),
    "date": ("'2026-11-23'", "'0000-00-00'", "'2026-00-00'"),
    "datetime": ("'2026-11-23 05:20:00'", "'0000-00-00'", "'2026-00-01 01:02:03'"),
    "datetime(3)": ("'2026-11-23 05:20:00'", "'2026-11-23 05:20:00.12'", "NULL"),
    "timestamp(6) NULL": ("'2026-11-23 05:20:00.000001'", "0", "NULL"),
    "time": ("'-25:00:01'", "'0'", "'838:59:59'"),
    "time(2)": ("'-838:00:00.1'", "'00:00:01'", "'0'"),
    "bit(9)": ("b'101'", "b'111111111'", "NULL"),
    "varchar(9)": ("'é'", "''", "NULL"),
    "varbinary(9)": ("x'00ff'", "''", "NULL"),
    "enum('a','b')": ("'a'", "'b'", "NULL"),
    "json": ("'[1]'", "'{}'", "NULL"),
}


def test_every_value_has_the_text_of_the_text_protocol(database: Mariadb) -> None:
    columns = ", ".join(f"c{number} {declared}" for number, declared in enumerate(TEXTS))
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute(f"CREATE TABLE texts ({columns})")
        for values in zip(*TEXTS.values(), strict=True):
            cursor.execute(f"INSERT INTO texts VALUES ({', '.join(values)})")
        connection.decoders = {}
        connection.use_unicode = False
        cursor.execute("SELECT * FROM texts")
        expected = cursor.fetchall()
        streaming = connection.cursor(SSCursor)
        assert prepared.run(streaming, "SELECT * FROM texts", lambda described: True)
        described = streaming._result.fields
        forms = [Form.TEXT if (form := form_of(field)) is None else form for field in described]
        looks = [look_of(field) for field in described]
        for row in expected:
            payload = connection._read_packet().get_all_data()
            raws = plain_binary.raws(payload, [Field(Kind.TEXT, form=form) for form in forms])
            found = [
                raw if raw is None else as_text(form, raw, look)
                for form, raw, look in zip(forms, raws, looks, strict=True)
            ]
            assert found == list(row)
        streaming._result._finish_unbuffered_query()


def test_a_refused_value_is_named_alike_by_its_key(database: Mariadb) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("CREATE TABLE refused (a datetime(2), b int(5) zerofill, day date, PRIMARY KEY (a, b))")
        cursor.execute("INSERT INTO refused VALUES ('2026-11-23', 7, '2026-00-01')")
    check_same(database.url, "refused")
    told = outcome(open_native, database.url, "refused")
    assert isinstance(told, tuple)
    assert told[0] is ValueRefused
    assert "(a = 2026-11-23 00:00:00.00, b = 00007)" in told[1]
