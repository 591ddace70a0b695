"""Every type comes out of the native source as it comes out of the built-in one, which the type matrix proves."""

from __future__ import annotations

import pyarrow as pa
import pytest

from integration.source.both_sources import check_same, open_builtin, open_native, outcome, read
from integration.types.export import Column, create_table
from integration.types.postgres_types import CASES, POSTGRES, UNMAPPABLE
from rivet_core.api import Query, ValueRefused

REFUSED = [(case.declared, value) for case in CASES for value in case.refused]


@pytest.fixture(scope="module")
def database(postgres):
    database = postgres.create_database()
    database.execute(*POSTGRES.setup)
    return database


@pytest.fixture(scope="module")
def every_type(database):
    height = max(len(case.values) + case.null for case in CASES)
    columns = []
    for case in CASES:
        values = [*([None] if case.null else []), *(value.given for value in case.values)]
        filler = None if case.null else values[-1]
        columns.append(Column(case.declared, values + [filler] * (height - len(values)), case.null))
    with database.connect() as connection:
        create_table(connection, POSTGRES, "every type", columns)
    return "every type"


def test_every_type_is_described_and_read_alike(database, every_type):
    native = read(open_native, database.url, every_type)
    builtin = read(open_builtin, database.url, every_type)
    assert native.schema == builtin.schema
    for name in native.column_names:
        assert repr(native[name].to_pylist()) == repr(builtin[name].to_pylist()), name


def test_every_type_as_text(database, every_type):
    columns = {case.declared: pa.string() for case in CASES if case.declared != "bytea"}
    native = read(open_native, database.url, every_type, columns=columns)
    builtin = read(open_builtin, database.url, every_type, columns=columns)
    for name in native.column_names:
        assert native[name].to_pylist() == builtin[name].to_pylist(), name


@pytest.mark.parametrize(("declared", "value"), REFUSED, ids=[f"{name}-{value}" for name, value in REFUSED])
def test_a_refused_value_is_refused_in_the_same_words(database, declared, value):
    with database.connect() as connection:
        table = f"refused {declared} {value!r}"[:60]
        create_table(connection, POSTGRES, table, [Column(declared, [None, value])])
    told = outcome(open_native, database.url, table)
    assert told == outcome(open_builtin, database.url, table)
    assert told[0] is ValueRefused


@pytest.mark.parametrize("case", UNMAPPABLE, ids=lambda case: case.declared)
def test_types_without_a_mapping(database, case):
    check_same(database.url, Query(f"SELECT NULL::{case.declared} AS x"))


@pytest.mark.parametrize(
    ("expression", "target"),
    [
        ("'12345678901234567890.5'::numeric", pa.decimal128(38, 9)),
        ("'-0.0000000001'::numeric", pa.decimal256(76, 38)),
        ("'1.50'::numeric", pa.decimal128(5, 1)),
        ("'1.55'::numeric", pa.decimal128(5, 1)),
        ("'99999.9'::numeric", pa.decimal128(5, 1)),
        ("'1e37'::numeric", pa.decimal128(38, 0)),
        ("'1e38'::numeric", pa.decimal128(38, 0)),
        ("'NaN'::numeric", pa.decimal128(38, 0)),
        ("'Infinity'::numeric", pa.decimal128(38, 0)),
        ("'1e131071'::numeric", pa.decimal256(76, 0)),
        ("'7'::numeric", pa.int64()),
        ("'7.5'::numeric", pa.int64()),
        ("'1.5'::numeric(4,2)", pa.decimal256(60, 5)),
        ("'1.5'::numeric(4,2)", pa.decimal128(3, 1)),
        ("'1.55'::numeric(4,2)", pa.decimal128(3, 1)),
        ("7::smallint", pa.int64()),
        ("7::integer", pa.float64()),
        ("true", pa.int32()),
        ("'12'::text", pa.int64()),
        ("'012'::text", pa.int64()),
        ("'{}'::varchar", pa.json_(pa.string())),
        ("'ab'::char(5)", pa.string()),
        ("'12'::char(5)", pa.int32()),
        ("'\\xff'::bytea", pa.string()),
        ("'\\x6162'::bytea", pa.string()),
        ("'\\x6162'::bytea", pa.binary(2)),
        ("date '2026-02-03'", pa.timestamp("us")),
        ("timestamp '2026-02-03 04:05:06'", pa.date32()),
        ("timestamp '2026-02-03 00:00:00'", pa.date32()),
        ("timestamp '2026-02-03 00:00:00.001'", pa.timestamp("ms")),
        ("interval '1 day'", pa.string()),
        ("time '01:02:03'", pa.duration("us")),
        ("'0e9ff0a0-1d0c-4b83-9e0e-3c2a7b1d9f00'::uuid", pa.binary(16)),
        ("array[1,null]", pa.list_(pa.int64())),
        ("array[array[1]]", pa.list_(pa.int32())),
        ("array[1.5, null]", pa.list_(pa.decimal128(5, 2))),
        ("'{{1,2},{NULL,4}}'::int[]", pa.list_(pa.list_(pa.int64()))),
        ("'{{{1.5}},{{2}}}'::numeric[]", pa.list_(pa.list_(pa.list_(pa.decimal128(9, 2))))),
        ("'{{1}}'::numeric[]", pa.list_(pa.list_(pa.decimal128(9, 2)))),
        ("'{1,2}'::int[]", pa.list_(pa.list_(pa.int32()))),
        ("'{{{1}}}'::int[]", pa.list_(pa.list_(pa.int32()))),
        ("'[0:0][1:1]={{1}}'::int[]", pa.list_(pa.list_(pa.int32()))),
        ("'{}'::int[]", pa.list_(pa.list_(pa.int32()))),
        ("'{{1}}'::int[]", pa.list_(pa.list_(pa.bool_()))),
        ("'{{1}}'::int[]", pa.list_(pa.list_(pa.date32()))),
    ],
)
def test_an_override_is_followed_alike(database, expression, target):
    check_same(database.url, Query(f"SELECT {expression} AS x UNION ALL SELECT NULL"), columns={"x": target})


@pytest.mark.parametrize("policy", ["string", "decimal(38,9)", "decimal(20,0)", "error"])
def test_a_policy_for_numerics_is_followed_alike(database, policy):
    columns = "i / 3.0 AS third, i * 1.5 AS half, ARRAY[i * 0.1] AS list, 2.0::numeric AS two"
    text = f"SELECT {columns} FROM generate_series(-2, 2) i"
    for query in (text, text.replace("3.0", "8.0").replace("1.5", "2.0")):
        check_same(database.url, Query(query), unbounded_numeric=policy)
