"""Every type comes out of the native source as it comes out of the built-in one, which the type matrix proves."""

from __future__ import annotations

import pyarrow as pa
import pytest

from integration.source.both_sources import check_same, open_builtin, open_native, outcome, read
from integration.types.export import Column, create_table
from integration.types.mariadb_types import CASES, MARIADB
from rivet_core.api import Query, ValueRefused

REFUSED = [(case.declared, value) for case in CASES for value in case.refused]
BINARY = ("bit", "binary", "varbinary", "blob", "geometry", "point", "line", "polygon", "multi")


@pytest.fixture(scope="module")
def database(mariadb):
    database = mariadb.create_database()
    height = max(len(case.values) + case.null for case in CASES)
    columns = []
    for case in CASES:
        values = [*([None] if case.null else []), *(value.given for value in case.values)]
        filler = None if case.null else values[-1]
        columns.append(Column(case.declared, values + [filler] * (height - len(values)), case.null))
    with database.connect() as connection:
        with connection.cursor() as cursor:
            for statement in MARIADB.setup:
                cursor.execute(statement)
        create_table(connection, MARIADB, "every type", columns)
    return database


def test_every_type_is_described_and_read_alike(database):
    native = read(open_native, database.url, "every type")
    builtin = read(open_builtin, database.url, "every type")
    assert native.schema == builtin.schema
    for name in native.column_names:
        assert repr(native[name].to_pylist()) == repr(builtin[name].to_pylist()), name


def test_every_type_as_text(database):
    columns = {case.declared: pa.string() for case in CASES if not any(word in case.declared for word in BINARY)}
    native = read(open_native, database.url, "every type", columns=columns)
    builtin = read(open_builtin, database.url, "every type", columns=columns)
    for name in native.column_names:
        assert native[name].to_pylist() == builtin[name].to_pylist(), name


@pytest.mark.parametrize(("declared", "value"), REFUSED, ids=[f"{name}-{value}" for name, value in REFUSED])
@pytest.mark.parametrize("policy", ["error", "null"])
def test_a_refused_value_is_refused_in_the_same_words(database, declared, value, policy):
    table = f"{policy} {declared} {value!r}"[:60]
    with database.connect() as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
        create_table(connection, MARIADB, table, [Column(declared, [None, value]), Column("int", [1, 2], null=False)])
    told = outcome(open_native, database.url, table, zero_dates=policy)
    assert told == outcome(open_builtin, database.url, table, zero_dates=policy)
    assert policy == "null" or told[0] is ValueRefused


@pytest.mark.parametrize(
    ("expression", "target"),
    [
        ("CAST(1.50 AS DECIMAL(4,2))", pa.decimal128(5, 1)),
        ("CAST(1.55 AS DECIMAL(4,2))", pa.decimal128(5, 1)),
        ("CAST(1.55 AS DECIMAL(4,2))", pa.decimal256(60, 5)),
        ("CAST(99.99 AS DECIMAL(4,2))", pa.decimal128(3, 2)),
        ("CAST(-7 AS DECIMAL(4,2))", pa.int64()),
        ("CAST(7.5 AS DECIMAL(4,2))", pa.int64()),
        ("7", pa.int8()),
        ("-129", pa.int8()),
        ("128", pa.int8()),
        ("-1", pa.uint64()),
        ("7", pa.float64()),
        ("9007199254740993", pa.float64()),
        ("7", pa.decimal128(5, 2)),
        ("12345", pa.decimal128(5, 2)),
        ("1", pa.bool_()),
        ("2", pa.bool_()),
        ("0.5e0", pa.float32()),
        ("0.1e0", pa.float32()),
        ("'12'", pa.int64()),
        ("'012'", pa.int64()),
        ("'{}'", pa.json_(pa.string())),
        ("'{'", pa.json_(pa.string())),
        ("x'ff'", pa.string()),
        ("x'6162'", pa.string()),
        ("x'6162'", pa.binary(2)),
        ("x'0e9ff0a01d0c4b839e0e3c2a7b1d9f00'", pa.uuid()),
        ("b'101'", pa.int32()),
        ("b'101'", pa.bool_()),
        ("DATE '2026-02-03'", pa.timestamp("us")),
        ("TIMESTAMP '2026-02-03 04:05:06'", pa.date32()),
        ("TIMESTAMP '2026-02-03 00:00:00'", pa.date32()),
        ("TIMESTAMP '2026-02-03 00:00:00.001'", pa.timestamp("ms")),
        ("TIMESTAMP '2026-02-03 00:00:00.0001'", pa.timestamp("ms")),
        ("TIME '01:02:03'", pa.time64("us")),
        ("TIME '25:02:03'", pa.time64("us")),
        ("TIME '-01:02:03.5'", pa.string()),
        ("NULL", pa.int32()),
    ],
)
def test_an_override_is_followed_alike(database, expression, target):
    check_same(database.url, Query(f"SELECT {expression} AS x UNION ALL SELECT NULL"), columns={"x": target})
    check_same(database.url, Query(f"SELECT {expression} AS x"), columns={"x": target})


def test_text_that_is_no_utf8_is_refused_alike(database):
    check_same(database.url, Query("SELECT 1 AS id, CAST(x'61ff' AS CHAR CHARACTER SET latin1) AS s"))
    database.execute(
        "CREATE TABLE `raw` (id int PRIMARY KEY, b varbinary(9))", "INSERT INTO `raw` VALUES (1, 'a'), (5, x'ff')"
    )
    check_same(database.url, "raw", columns={"b": pa.string()})
