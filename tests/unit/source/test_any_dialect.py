"""A database known through its SQLAlchemy dialect alone; SQLite stands in for one, read without our knowledge of it."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
import sqlalchemy

from rivet_core.api import DriverMissing, Query, QueryError, ReadOptions, SourceContext, TypeMappingError, ValueRefused
from rivet_core.builtin.sqlalchemy import values
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.builtin.sqlalchemy.generic import Generic
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource, open_source


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "any.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a DECIMAL(10,2) NOT NULL, at TIMESTAMP, d DATE, x NUMERIC)"
        )
        connection.execute("INSERT INTO t VALUES (1, 1.25, '2026-01-02 03:04:05', '2026-01-02', NULL)")
    return path


def opened(path, options):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    return closing(SqlalchemySource(Generic(engine, options, tls_required=False, read_timeout=60), options))


@pytest.fixture
def source(path):
    with opened(path, ReadOptions(unbounded_numeric="string")) as source:
        yield source


def read(source, query):
    with source.read(query, batch_bytes=100_000) as stream:
        return pa.Table.from_batches(stream, stream.schema)


def test_a_table_has_its_reflected_types(source):
    query = source.table_query("t")
    table = read(source, query)
    assert table.schema == source.describe(query).arrow()
    assert table.schema.field("a") == pa.field("a", pa.decimal128(10, 2), nullable=False)
    row = {"id": 1, "a": Decimal("1.25"), "at": datetime(2026, 1, 2, 3, 4, 5), "d": date(2026, 1, 2), "x": None}
    assert table.to_pylist() == [row]
    assert source.engine_name == "sqlite"


def test_a_query_has_the_types_of_a_first_look(source):
    table = read(source, Query("SELECT id, 'x' || ${a} AS s, 0.5 AS f FROM t", {"a": "%"}))
    assert table.to_pylist() == [{"id": 1, "s": "x%", "f": 0.5}]


def test_errors_are_mapped(source):
    with pytest.raises(QueryError):
        read(source, Query("SELECT 1 AS a, 2 AS a"))
    assert [check.status for check in source.check()] == ["ok"]


def test_a_dialect_that_is_not_installed(tmp_path):
    config = SqlalchemyConfig(url="nosuchdb://localhost/d")
    with pytest.raises(DriverMissing, match="no SQLAlchemy dialect named nosuchdb"):
        open_source(config, SourceContext(tmp_path))


def test_a_driver_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DriverMissing) as caught:
        open_source(SqlalchemyConfig(url="postgresql://localhost/d"), SourceContext(tmp_path))
    assert caught.value.hint == "pip install 'rivet-core[postgres]'"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([None, 1], pa.int64()),
        ([1, 0.5], pa.float64()),
        ([True], pa.bool_()),
        ([datetime(2026, 1, 1), None], pa.timestamp("us")),
        ([datetime(2026, 1, 1).astimezone()], pa.timestamp("us", "UTC")),
        ([datetime(2026, 1, 1).astimezone(), datetime(2026, 1, 1)], None),
        ([date(2026, 1, 1)], pa.date32()),
        ([{"a": 1}], pa.json_(pa.string())),
        ([Decimal(1)], None),
        ([1, "x"], None),
        ([None], pa.null()),
    ],
)
def test_what_a_first_look_concludes(seen, expected):
    assert values.infer(seen)[0] == expected


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (2**63, pa.int64()),
        (2**53 + 1, pa.float64()),
        (2, pa.bool_()),
        (0.5, pa.int64()),
        (0.125, pa.decimal128(10, 2)),
        (float("inf"), pa.decimal128(10, 2)),
        (datetime(2026, 1, 1).astimezone(), pa.timestamp("us")),
        (datetime(2026, 1, 1), pa.timestamp("us", "UTC")),
        ("{", pa.json_(pa.string())),
        (b"short", pa.uuid()),
        ("text", pa.binary()),
        (1, pa.null()),
    ],
)
def test_a_value_of_another_kind_is_refused(value, target):
    with pytest.raises((ValueError, TypeError, OverflowError, pa.ArrowException)):
        values.decode([None, value], target)


def test_values_that_fit_only_one_by_one(path):
    text = Query("SELECT '0e9ff0a0-1d0c-4b83-9e0e-3c2a7b1d9f00' AS u UNION ALL SELECT zeroblob(16)")
    with opened(path, ReadOptions()) as source, pytest.raises(TypeMappingError, match="BLOB and TEXT"):
        read(source, text)
    overridden = ReadOptions(columns={"u": pa.uuid()})
    with opened(path, overridden) as source, pytest.raises(ValueRefused, match="row 2"):
        read(source, text)
