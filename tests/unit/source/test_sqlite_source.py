"""SQLite through the source: what users store there comes out exactly, and nothing is guessed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from rivet_core.api import (
    ConfigError,
    Query,
    QueryError,
    ReadOptions,
    SourceContext,
    SourceError,
    TypeMappingError,
    ValueRefused,
)
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.builtin.sqlalchemy.source import open_source

MEGABYTE = 1_000_000


class Database:
    """A SQLite file and the source over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def execute(self, *statements, many=()):
        with closing(sqlite3.connect(self.path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)
            for statement, rows in many:
                connection.executemany(statement, rows)

    def open(self, **options):
        config = SqlalchemyConfig(url=f"sqlite:///{self.path}", dialect="sqlite")
        return closing(open_source(config, SourceContext(self.path.parent, ReadOptions(**options))))

    def read(self, text="", params=None, *, table="", batch_bytes=MEGABYTE, **options):
        with self.open(**options) as source:
            query = source.table_query(table) if table else Query(text, params or {})
            with source.read(query, batch_bytes=batch_bytes) as stream:
                return pa.Table.from_batches(stream, stream.schema)

    def schema(self, text="", *, table="", **options):
        with self.open(**options) as source:
            return source.describe(source.table_query(table) if table else Query(text))


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "100% é.db")


def test_a_query_with_everything_that_looks_like_a_bind(database):
    database.execute("CREATE TABLE t (x INTEGER)", "INSERT INTO t VALUES (7)")
    text = """SELECT x AS "a:b %s ${x}", ':y %d %% ?' AS s, 10 % 4 AS m -- ${z} :w
              FROM t WHERE x = ${x} /* ' */ ; -- done"""
    assert database.read(text, {"x": 7}).to_pylist() == [{"a:b %s ${x}": 7, "s": ":y %d %% ?", "m": 2}]


def test_percent_signs_without_binds(database):
    database.execute("CREATE TABLE t (x TEXT)", "INSERT INTO t VALUES ('100%'), ('5')")
    assert database.read("SELECT x FROM t WHERE x LIKE '%\\%' ESCAPE '\\'").to_pylist() == [{"x": "100%"}]


@pytest.mark.parametrize("name", ['say "hi"', "naïve 🦔", "a.b", "semi;colon", "select", "per%cent", ":colon", "x'y"])
def test_strange_table_and_column_names(database, name):
    quoted = '"' + name.replace('"', '""') + '"'
    database.execute(f"CREATE TABLE {quoted} ({quoted} INTEGER)", f"INSERT INTO {quoted} VALUES (1)")
    assert database.read(table=name).to_pylist() == [{name: 1}]


def test_a_schema_in_front_of_the_table(database):
    database.execute("CREATE TABLE t (x INTEGER)")
    assert database.read(table="main.t").num_rows == 0


def test_nullability_is_what_the_table_declares(database):
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b TEXT, g TEXT AS (a || b))")
    columns = database.schema(table="t").columns
    assert [(column.name, column.nullable) for column in columns] == [
        ("id", False), ("a", False), ("b", True), ("g", True),
    ]  # fmt: skip


def test_a_text_primary_key_may_be_null(database):
    database.execute("CREATE TABLE t (id TEXT PRIMARY KEY)", "INSERT INTO t VALUES (NULL)")
    assert database.read(table="t").to_pylist() == [{"id": None}]


def test_an_integer_primary_key_that_is_no_rowid_may_be_null(database):
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY DESC)", "INSERT INTO t VALUES (1), (NULL)")
    for name in ("t", "main.t"):
        assert sorted(database.read(table=name)["id"].to_pylist(), key=str) == [1, None]


@pytest.mark.parametrize(
    "definition",
    ["(id INTEGER PRIMARY KEY)", "(id INTEGER, PRIMARY KEY (id DESC))", "(id INTEGER PRIMARY KEY) WITHOUT ROWID"],
)
def test_a_rowid_is_never_null(database, definition):
    database.execute(f"CREATE TABLE t {definition}")
    assert not database.schema(table="t").columns[0].nullable


def test_json_of_too_many_levels_is_refused_by_its_row(database):
    database.execute("CREATE TABLE t (j JSON)", f"INSERT INTO t VALUES ('{'[' * 100_000}{']' * 100_000}')")
    with pytest.raises(ValueRefused, match=r"'j'.*row 1.*levels"):
        database.read(table="t")


def test_json_with_a_long_number(database):
    database.execute("CREATE TABLE t (j JSON)", f"INSERT INTO t VALUES ('[{'1' * 5000}, 0.5e1]')")
    assert len(database.read(table="t")["j"][0].as_py()) == 5009


def test_an_empty_table_keeps_its_schema(database):
    database.execute("CREATE TABLE t (a DECIMAL(10,2), b TIMESTAMP)")
    assert database.read(table="t").schema == pa.schema({"a": pa.decimal128(10, 2), "b": pa.timestamp("us")})


def test_describe_and_read_agree(database):
    database.execute("CREATE TABLE t (a INTEGER, b TEXT)", "INSERT INTO t VALUES (1, 'x')")
    for text in ("SELECT * FROM t", "SELECT a * 1.5 AS c, NULL AS n, x'00' AS b FROM t"):
        assert database.schema(text).arrow() == database.read(text).schema


@pytest.mark.parametrize(
    ("declared", "value", "storage"),
    [("INTEGER", "many", "TEXT"), ("TEXT", b"x", "BLOB"), ("BLOB", 5, "INTEGER"), ("DATE", 5.5, "REAL")],
)
def test_a_wrong_storage_class_names_column_and_rowid(database, declared, value, storage):
    database.execute(f"CREATE TABLE t (x {declared})", many=[("INSERT INTO t VALUES (?)", [(None,)] * 300)])
    database.execute("DELETE FROM t WHERE rowid < 100", many=[("INSERT INTO t VALUES (?)", [(value,)])])
    with pytest.raises(ValueRefused, match=rf"'x' .*row 202 \(rowid 301\).*stored as {storage}") as caught:
        database.read(table="t")
    assert "columns: {x: string}" in caught.value.hint


def test_a_refused_value_is_not_in_the_message(database):
    database.execute("CREATE TABLE t (x DECIMAL(10,2))", "INSERT INTO t VALUES ('c4nary')")
    with pytest.raises(ValueRefused) as caught:
        database.read(table="t")
    assert "c4nary" not in caught.value.message + caught.value.hint


def test_a_table_without_rowid_is_named_by_its_key(database):
    database.execute("CREATE TABLE t (k TEXT PRIMARY KEY, x INTEGER) WITHOUT ROWID", "INSERT INTO t VALUES ('q', 'y')")
    with pytest.raises(ValueRefused, match=r"row 1 \(k = q\)"):
        database.read(table="t")


def test_a_column_overridden_to_string_takes_every_class(database):
    database.execute(
        "CREATE TABLE t (x)", many=[("INSERT INTO t VALUES (?)", [(1,), (0.1,), ("é",), (b"b",), (None,)])]
    )
    table = database.read(table="t", columns={"x": pa.string()})
    assert table["x"].to_pylist() == ["1", "0.1", "é", "b", None]


def test_the_first_look_tells_the_types_of_a_query(database):
    rows = [(None, None, None, None)] * 5 + [(1, 1.5, "a", b"b"), (2, 2, "", b"")]
    database.execute("CREATE TABLE t (a, b, c, d)", many=[("INSERT INTO t VALUES (?,?,?,?)", rows)])
    assert database.read("SELECT * FROM t").schema.types == [pa.int64(), pa.float64(), pa.string(), pa.binary()]


def test_a_class_after_the_first_look_is_refused(database):
    rows = [(1,)] * 3000 + [("x",)]
    database.execute("CREATE TABLE t (a)", many=[("INSERT INTO t VALUES (?)", rows)])
    with pytest.raises(ValueRefused, match="row 3001: the value is stored as TEXT"):
        database.read("SELECT a FROM t")


def test_all_columns_without_a_type_are_named_with_the_override_to_write(database):
    database.execute('CREATE TABLE t (id INTEGER, a NUMERIC, "b 🦔", yes)')
    with pytest.raises(TypeMappingError) as caught:
        database.schema(table="t")
    for name in ("'a'", "'b 🦔'", "'yes'"):
        assert name in caught.value.message
    assert 'columns:\n  a: string\n  "b 🦔": string\n  "yes": string' in caught.value.hint


def test_mixed_classes_in_a_query_are_refused(database):
    with pytest.raises(TypeMappingError, match="INTEGER and TEXT"):
        database.schema("SELECT 1 AS x UNION ALL SELECT 'a'")


@pytest.mark.parametrize(
    ("policy", "expected"), [("string", ["0.1", "7"]), ("decimal(38,9)", [Decimal("0.1"), Decimal(7)])]
)
def test_the_policy_for_numerics_without_precision(database, policy, expected):
    database.execute("CREATE TABLE t (x NUMERIC)", "INSERT INTO t VALUES (0.1), (7)")
    assert database.read(table="t", unbounded_numeric=policy)["x"].to_pylist() == expected


def test_overrides_of_a_query(database):
    text = "SELECT '2026-01-02 03:04:05' AS at, 5 AS amount, '0e9ff0a0-1d0c-4b83-9e0e-3c2a7b1d9f00' AS id"
    types = {"at": pa.timestamp("us"), "amount": pa.decimal128(10, 2), "id": pa.uuid()}
    row = database.read(text, columns=types).to_pylist()[0]
    assert (row["at"], row["amount"]) == (datetime(2026, 1, 2, 3, 4, 5), Decimal("5.00"))


def test_an_override_for_no_column_is_an_error(database):
    database.execute("CREATE TABLE t (amount INTEGER)")
    with pytest.raises(ConfigError, match="'amuont'") as caught:
        database.schema(table="t", columns={"amuont": pa.string()})
    assert "'amount'" in caught.value.hint


def test_batches_respect_their_bytes_and_lose_no_row(database):
    rows = [(i, "x" * (i % 1000)) for i in range(5000)]
    database.execute("CREATE TABLE t (i INTEGER, s TEXT)", many=[("INSERT INTO t VALUES (?,?)", rows)])
    with database.open() as source:
        query = source.table_query("t")
        with source.read(query, batch_bytes=20_000) as stream:
            batches = list(stream)
    assert all(batch.nbytes <= 20_000 for batch in batches)
    assert pa.Table.from_batches(batches)["i"].to_pylist() == list(range(5000))


def test_rows_larger_than_a_batch_come_alone(database):
    rows = [("small",)] * 1000 + [("x" * 2 * MEGABYTE,)] * 3 + [("small",)] * 10
    database.execute("CREATE TABLE t (s TEXT)", many=[("INSERT INTO t VALUES (?)", rows)])
    with database.open() as source:
        query = source.table_query("t")
        with source.read(query, batch_bytes=MEGABYTE) as stream:
            batches = list(stream)
    assert [batch.num_rows for batch in batches if batch.nbytes > MEGABYTE] == [1, 1, 1]
    assert sum(batch.num_rows for batch in batches) == 1013


def test_a_value_above_the_limit_names_column_and_row(database):
    database.execute("CREATE TABLE t (s TEXT)", many=[("INSERT INTO t VALUES (?)", [("é" * 500,), ("é" * 501,)])])
    assert database.read("SELECT s FROM t LIMIT 1", max_value_bytes=1000).num_rows == 1
    with pytest.raises(ValueRefused, match=r"column 's', row 2 \(rowid 2\): the value has 1002 bytes"):
        database.read(table="t", max_value_bytes=1000)


@pytest.mark.parametrize(("limit", "value"), [(3, "\U0001f600"), (1000, "é" * 501), (100_000, "x" * 100_001)])
def test_a_value_above_any_limit_is_found_among_others(database, limit, value):
    rows = [("y" * min(i % 7, limit), b"z", i) for i in range(300)]
    rows[217] = ("y", value.encode(), 217)
    database.execute("CREATE TABLE t (s TEXT, b BLOB, i INTEGER)", many=[("INSERT INTO t VALUES (?,?,?)", rows)])
    with pytest.raises(ValueRefused, match=rf"column 'b', row 218 \(rowid 218\): the value has {len(value.encode())} "):
        database.read(table="t", max_value_bytes=limit)
    database.execute("DELETE FROM t WHERE i = 217")
    assert database.read(table="t", max_value_bytes=limit)["i"].to_pylist() == [i for i in range(300) if i != 217]


def test_leaving_early_does_not_read_on(database):
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    with database.open() as source, source.read(Query(endless), batch_bytes=1000) as stream:
        assert next(iter(stream)).num_rows > 0


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("SELECT * FROM missing", QueryError, "no such table: missing"),
        ("SELECT nope", QueryError, "no such column: nope"),
        ("SELEC 1", QueryError, "SQLITE_ERROR"),
        ("SELECT 1 AS a, 2 AS a", QueryError, "more than one column named 'a'"),
        ("CREATE TABLE x (y)", SourceError, "only reads"),
        ("PRAGMA query_only = OFF", QueryError, "no columns"),
        ("SELECT 1; SELECT 2", QueryError, "more than one statement"),
        ("SELECT ${a}", QueryError, "parameter a has no value"),
        ("SELECT CAST(x'ff' AS TEXT) AS t", ValueRefused, "UTF-8"),
    ],
)
def test_bad_queries_are_one_clear_error(database, text, error, message):
    database.execute("CREATE TABLE t (x)")
    with pytest.raises(error, match=message):
        database.read(text)


def test_an_error_half_way_arrives_after_the_rows_before_it(database):
    text = """WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000)
              SELECT CASE WHEN i = 4000 THEN abs(-9223372036854775808) ELSE i END AS v FROM n"""
    with database.open() as source, source.read(Query(text), batch_bytes=1000) as stream:
        batches = iter(stream)
        assert next(batches).num_rows > 0
        with pytest.raises(QueryError, match="SQLITE_ERROR"):
            list(batches)


def test_a_missing_table_names_similar_ones(database):
    database.execute("CREATE TABLE orders (x INTEGER)", "CREATE VIEW open_orders AS SELECT * FROM orders")
    with database.open() as source:
        with pytest.raises(QueryError, match="no table or view order") as caught:
            source.table_query("order")
        assert "orders" in caught.value.hint
        with pytest.raises(QueryError):
            source.table_query("nowhere.orders")


def test_a_view_with_expressions(database):
    database.execute(
        "CREATE TABLE t (a DECIMAL(10,2))", "INSERT INTO t VALUES (1.5)", "CREATE VIEW v AS SELECT a, a * 2 AS b FROM t"
    )
    assert database.read(table="v").schema.types == [pa.decimal128(10, 2), pa.float64()]


def test_the_file_is_never_written(database):
    database.execute("CREATE TABLE t (x INTEGER)")
    before = database.path.read_bytes()
    with database.open() as source, source.engine.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    assert database.path.read_bytes() == before


def test_a_file_that_is_no_database(database):
    database.path.write_text("this is no database, however long it may be" * 100)
    with pytest.raises(QueryError, match="no SQLite database"):
        database.read("SELECT 1 FROM t")
    with database.open() as source:
        (check,) = source.check()
    assert (check.status, check.message) == ("failed", "the file is no SQLite database (SQLITE_NOTADB)")
    assert check.hint == "check the path"


def test_progress_and_doctor(database):
    database.execute("CREATE TABLE t (x INTEGER)", "INSERT INTO t VALUES (1), (2)", "CREATE VIEW v AS SELECT * FROM t")
    with database.open() as source:
        assert source.approximate_rows(source.table_query("t")) == 2
        assert source.approximate_rows(source.table_query("v")) is None
        assert source.approximate_rows(Query("SELECT 1")) is None
        assert {check.status for check in source.check()} == {"ok"}
