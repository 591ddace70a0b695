"""Random rows of every type are the same three ways: native, built-in, and as psycopg's own Python values."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.source.both_sources import open_builtin, open_native, read
from integration.types.cases import float32

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
MICROS = st.integers(0, 86_399_999_999).map(lambda micros: (dt.datetime.min + dt.timedelta(microseconds=micros)).time())
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
MOMENTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
#: A strategy for each column type, of what psycopg takes and gives back.
COLUMNS: dict[str, st.SearchStrategy[object]] = {
    "boolean": st.booleans(),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(width=32, allow_nan=False),
    "double precision": st.floats(allow_nan=False),
    "numeric(12,2)": st.decimals(-(10**10) + 1, 10**10 - 1, places=2),
    "numeric(38,20)": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda units: Decimal(f"{units}e-20")),
    "numeric(76,30)": st.integers(-(10**76) + 1, 10**76 - 1).map(lambda units: Decimal(f"{units}e-30")),
    "numeric(6,8)": st.integers(-(10**6) + 1, 10**6 - 1).map(lambda units: Decimal(f"{units}e-8")),
    "numeric(5,-3)": st.integers(-(10**5) + 1, 10**5 - 1).map(lambda units: Decimal(units * 1000)),
    "text": TEXT,
    "varchar(40)": TEXT,
    "bytea": st.binary(max_size=60),
    "date": st.dates(),
    "time": MICROS,
    "timestamp": MOMENTS,
    "timestamptz": MOMENTS.map(lambda moment: moment.replace(tzinfo=dt.UTC)),
    "uuid": st.uuids(),
    "json": JSON,
    "jsonb": JSON,
    "integer[]": st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=5),
    "text[]": st.lists(st.none() | TEXT, max_size=4),
    "numeric(9,3)[]": st.lists(st.none() | st.decimals(-999_999, 999_999, places=3), max_size=4),
    "timestamptz[]": st.lists(st.none() | MOMENTS.map(lambda moment: moment.replace(tzinfo=dt.UTC)), max_size=3),
    "bytea[]": st.lists(st.none() | st.binary(max_size=9), max_size=3),
    "uuid[]": st.lists(st.none() | st.uuids(), max_size=3),
}
NAMES = list(COLUMNS)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


MOODS = st.sampled_from(["sad", "ok", 'hap"py 😀'])
INT32 = st.integers(-(2**31), 2**31 - 1)
RANGES = st.tuples(INT32, INT32).map(lambda bounds: "[{},{})".format(*sorted(bounds)))
INTERVALS = st.tuples(st.integers(-9999, 9999), st.integers(-9999, 9999), st.integers(-(10**14), 10**14)).map(
    lambda parts: "{} months {} days {} microseconds".format(*parts)
)
#: A strategy for each type that is exported as its text, or as a list of texts, of what PostgreSQL takes.
TEXTS: dict[str, st.SearchStrategy[object]] = {
    "mood": MOODS,
    "citext": TEXT,
    "interval": INTERVALS,
    "time with time zone": st.tuples(MICROS, st.integers(-15, 15)).map(lambda parts: f"{parts[0]}{parts[1]:+03d}:30"),
    "money": st.integers(-(2**63), 2**63 - 1).map(lambda cents: str(Decimal(cents).scaleb(-2))),
    "inet": st.ip_addresses().map(str),
    "macaddr": st.binary(min_size=6, max_size=6).map(bytes.hex),
    "bit(5)": st.text("01", min_size=5, max_size=5),
    "bit varying(9)": st.text("01", max_size=9),
    "int4range": RANGES,
    "int4multirange": st.lists(RANGES, max_size=3).map(lambda ranges: f"{{{','.join(ranges)}}}"),
    "point": st.tuples(FINITE, FINITE).map(str),
    "pg_lsn": st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda at: "{:X}/{:X}".format(*at)),
    "pair": st.tuples(INT32, TEXT).map(lambda pair: f"({pair[0]},{quoted(pair[1])})"),
    "hstore": st.dictionaries(TEXT, st.none() | TEXT, max_size=3).map(
        lambda pairs: ",".join(
            f"{quoted(key)}=>{'NULL' if value is None else quoted(value)}" for key, value in pairs.items()
        )
    ),
    "tiny": st.integers(-9, 9).map(str),
    "mood[]": st.lists(st.none() | MOODS, max_size=4),
    "citext[]": st.lists(st.none() | TEXT, max_size=3),
    "int4range[]": st.lists(st.none() | RANGES, max_size=3),
    "tiny[]": st.lists(st.none() | st.integers(-9, 9).map(str), max_size=3),
}


@pytest.fixture(scope="module")
def database(postgres):
    database = postgres.create_database()
    columns = ", ".join(f'"{name}" {name}' for name in NAMES)
    database.execute(f"CREATE TABLE t ({columns})")
    return database


def given_to(name: str, value: object) -> object:
    return json.dumps(value) if name.startswith("json") and value is not None else value


def comparable(value: object) -> object:
    if isinstance(value, Decimal):
        return value.normalize()
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else (value, math.copysign(1, value))
    return [comparable(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(*(st.none() | COLUMNS[name] for name in NAMES)), min_size=1, max_size=15))
def test_every_value_is_the_same_three_ways(database, rows):
    with database.connect() as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute("TRUNCATE t")
        marks = ", ".join(["%s"] * len(NAMES))
        for row in rows:
            values = [given_to(name, value) for name, value in zip(NAMES, row, strict=True)]
            connection.execute(f"INSERT INTO t VALUES ({marks})", values)
        own = connection.execute("SELECT * FROM t").fetchall()
    native, builtin = (read(opener, database.url, "t", batch_bytes=2000) for opener in (open_native, open_builtin))
    assert native.schema == builtin.schema
    for index, name in enumerate(NAMES):
        found = native[name].to_pylist()
        assert repr(found) == repr(builtin[name].to_pylist()), name
        if name.startswith("json"):
            found = [None if item is None else json.loads(item) for item in found]
        expected = [row[index] for row in own]
        if name == "real":  # which psycopg reads as the nearest double
            expected = [None if item is None else float32(item) for item in expected]
        assert [comparable(item) for item in found] == [comparable(item) for item in expected], name


@pytest.fixture(scope="module")
def texts(postgres):
    database = postgres.create_database()
    columns = ", ".join(f'"{name}" {name}' for name in TEXTS)
    database.execute(
        """CREATE TYPE mood AS ENUM ('sad', 'ok', 'hap"py 😀')""",
        "CREATE TYPE pair AS (a integer, b text)",
        "CREATE DOMAIN small AS smallint",
        "CREATE DOMAIN tiny AS small CHECK (VALUE BETWEEN -9 AND 9)",
        "CREATE EXTENSION citext",
        "CREATE EXTENSION hstore",
        f"CREATE TABLE t ({columns})",
    )
    return database


def as_text(value: object) -> object:
    return [as_text(item) for item in value] if isinstance(value, list) else None if value is None else str(value)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(*(st.none() | strategy for strategy in TEXTS.values())), min_size=1, max_size=15))
def test_every_text_is_the_same_three_ways(texts, rows):
    with texts.connect() as connection:
        connection.execute("SET extra_float_digits = 3; TRUNCATE t")
        marks = ", ".join(["%s"] * len(TEXTS))
        for row in rows:
            connection.execute(f"INSERT INTO t VALUES ({marks})", row)
        # What the type's output function writes: a cast may write something else.
        text_of = """CASE WHEN num_nulls("{0}") = 0 THEN format('%s', "{0}") END"""
        casts = ", ".join(f'"{name}"::text[]' if name.endswith("[]") else text_of.format(name) for name in TEXTS)
        own = connection.execute(f"SELECT {casts} FROM t").fetchall()
    native, builtin = (read(opener, texts.url, "t", batch_bytes=2000) for opener in (open_native, open_builtin))
    assert native.schema == builtin.schema
    for index, name in enumerate(TEXTS):
        found = native[name].to_pylist()
        assert found == builtin[name].to_pylist(), name
        assert as_text(found) == [row[index] for row in own], name
