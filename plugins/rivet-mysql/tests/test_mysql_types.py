"""Every type comes out of the native source as it comes out of the built-in one, which the type matrix proves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from integration.source.both_sources import check_same, open_as_text, open_builtin, open_native, outcome, read
from integration.types.cases import Engine
from integration.types.export import Column, create_table
from integration.types.mariadb_types import MARIADB
from integration.types.mysql_types import MYSQL
from rivet_core.api import Query, ValueRefused
from servers.mariadb import Mariadb

ENGINES = {"mariadb": MARIADB, "mysql": MYSQL}
BINARY = ("bit", "binary", "varbinary", "blob", "geometry", "point", "line", "polygon", "multi", "vector")
REFUSED = [(case.declared, value) for case in MARIADB.cases for value in case.refused]
#: A moment in a zone that is neither the server's nor the session's, and what it is in UTC.
ZONE, MOMENT, IN_UTC = "-03:30", "2026-10-31 23:59:30.5", datetime(2026, 11, 1, 3, 29, 30, 500_000, tzinfo=UTC)


@dataclass(frozen=True)
class Sample:
    """A database of one engine."""

    engine: Engine
    server: Mariadb

    @property
    def url(self) -> str:
        return self.server.url

    def create(self, table: str, columns: list[Column]) -> None:
        """Create a table, zero dates allowed."""
        with self.server.connect() as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET sql_mode = ''")
                for statement in self.engine.setup:
                    cursor.execute(statement)
            create_table(connection, self.engine, table, columns)


@pytest.fixture(scope="module", params=ENGINES)
def database(request):
    engine = ENGINES[request.param]
    sample = Sample(engine, request.getfixturevalue(request.param).create_database())
    height = max(len(case.values) + case.null for case in engine.cases)
    columns = []
    for case in engine.cases:
        values = [*([None] if case.null else []), *(value.given for value in case.values)]
        filler = None if case.null else values[-1]
        columns.append(Column(case.declared, values + [filler] * (height - len(values)), case.null))
    sample.create("every type", columns)
    return sample


@pytest.mark.parametrize("open_source", [open_native, open_as_text])
def test_every_type_is_described_and_read_alike(database, open_source):
    native = read(open_source, database.url, "every type")
    builtin = read(open_builtin, database.url, "every type")
    assert native.schema == builtin.schema
    for name in native.column_names:
        assert repr(native[name].to_pylist()) == repr(builtin[name].to_pylist()), name


def test_every_type_as_text(database):
    declared = [case.declared for case in database.engine.cases]
    columns = {name: pa.string() for name in declared if not any(word in name for word in BINARY)}
    native = read(open_native, database.url, "every type", columns=columns)
    builtin = read(open_builtin, database.url, "every type", columns=columns)
    for name in native.column_names:
        assert native[name].to_pylist() == builtin[name].to_pylist(), name


@pytest.mark.parametrize(("declared", "value"), REFUSED, ids=[f"{name}-{value}" for name, value in REFUSED])
def test_zero_and_partial_dates_follow_their_policy_alike(database, declared, value):
    table = f"{declared} {value!r}"[:60]
    database.create(table, [Column(declared, [None, value]), Column("int", [1, 2], null=False)])
    for policy in ("error", "null"):
        told = outcome(open_native, database.url, table, zero_dates=policy)
        for open_source in (open_as_text, open_builtin):
            assert told == outcome(open_source, database.url, table, zero_dates=policy)
        assert told[0] is ValueRefused if policy == "error" else told[1] == ["[None, None]", "[1, 2]"]


def test_every_width_of_bits(database):
    widths = range(1, 65)
    values = [[0, 1, 2**width - 1, None] for width in widths]
    database.create("bits", [Column(f"bit({width})", given) for width, given in zip(widths, values, strict=True)])
    for open_source in (open_native, open_as_text, open_builtin):
        table = read(open_source, database.url, "bits")
        numbers = read(open_source, database.url, "bits", columns=dict.fromkeys(table.column_names, pa.uint64()))
        for width, given in zip(widths, values, strict=True):
            size = (width + 7) // 8
            texts = [None if value is None else value.to_bytes(size) for value in given]
            assert table[f"bit({width})"].to_pylist() == texts
            assert numbers[f"bit({width})"].to_pylist() == given


def test_every_number_of_decimals_of_a_second(database):
    columns, expected = [], {}
    for digits in range(7):
        micros = 123_456 // 10 ** (6 - digits) * 10 ** (6 - digits)
        day, span = datetime(2026, 11, 23, 4, 5, 6, micros), -timedelta(hours=837, seconds=1, microseconds=micros)
        columns += [
            Column(f"datetime({digits})", [day, None]),
            Column(f"time({digits})", [span, None]),
            Column(f"timestamp({digits})", [None, day]),
        ]
        instant = day.replace(tzinfo=UTC) - timedelta(hours=5, minutes=45)  # given in the zone of the engine's setup
        expected |= {
            f"datetime({digits})": [day, None],
            f"time({digits})": [span, None],
            f"timestamp({digits})": [None, instant],
        }
    database.create("fractions", columns)
    for open_source in (open_native, open_as_text, open_builtin):
        table = read(open_source, database.url, "fractions")
        assert {name: table[name].to_pylist() for name in table.column_names} == expected


def test_an_instant_is_in_utc_whatever_the_zones(database):
    with database.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SET time_zone = '{ZONE}'")
        cursor.execute("CREATE TABLE instants (t timestamp(6) NULL)")
        cursor.execute("INSERT INTO instants VALUES (%s)", [MOMENT])
    for open_source in (open_native, open_builtin):
        for query in ("instants", Query("SELECT t FROM instants"), Query("SELECT MAX(t) AS t FROM instants")):
            assert read(open_source, database.url, query)["t"].to_pylist() == [IN_UTC]


@pytest.mark.parametrize("policy", ["number", "bool"])
def test_tinyint_of_one_digit_follows_its_policy(database, policy):
    database.server.execute(
        "DROP TABLE IF EXISTS flags",
        "CREATE TABLE flags (id int PRIMARY KEY, yes boolean, small tinyint, kept tinyint(1) NOT NULL)",
        "INSERT INTO flags VALUES (1, TRUE, 1, 1), (2, FALSE, 0, 0), (3, NULL, NULL, 1)",
    )
    expected = [True, False, None] if policy == "bool" else [1, 0, None]
    for open_source in (open_native, open_builtin):
        for query in ("flags", Query("SELECT yes, small, kept FROM flags ORDER BY id")):
            table = read(open_source, database.url, query, tinyint1=policy, columns={"kept": pa.int8()})
            assert [repr(value) for value in table["yes"].to_pylist()] == [repr(value) for value in expected]
            assert table.schema.field("small").type == table.schema.field("kept").type == pa.int8()
    database.server.execute("INSERT INTO flags VALUES (4, 2, 2, 2)")
    check_same(database.url, "flags", tinyint1=policy)
    told = outcome(open_native, database.url, "flags", tinyint1=policy)
    assert policy == "number" or (told[0] is ValueRefused and "'yes' (tinyint(1)), row 4 (id = 4)" in told[1])


def test_generated_and_invisible_columns_are_read(database):
    database.server.execute(
        "CREATE TABLE computed (id int PRIMARY KEY, `h``idden %` varchar(9) DEFAULT 'é' INVISIBLE,"
        " twice int AS (2 * id) STORED, thrice bigint AS (3 * id) VIRTUAL)",
        "INSERT INTO computed (id) VALUES (7)",
    )
    for open_source in (open_native, open_builtin):
        rows = read(open_source, database.url, "computed").to_pylist()
        assert rows == [{"id": 7, "h`idden %": "é", "twice": 14, "thrice": 21}]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS a, 1 + 1 AS b, IF(1, 2, 3) AS c, 'x' AS d, UUID() IS NULL AS e, 1 = 1 AS f",
        "SELECT * FROM (SELECT 1 AS a, (SELECT n FROM base LIMIT 1) AS b, CAST(1 AS UNSIGNED) AS c) AS t",
        "SELECT id, (SELECT small FROM base LIMIT 1) AS a, MAX(n) AS b FROM base GROUP BY id WITH ROLLUP",
        "WITH t AS (SELECT 1 AS one UNION ALL SELECT NULL) SELECT one FROM t",
        "SELECT a.id, b.n AS m, b.small FROM base AS a LEFT JOIN base AS b ON b.id = a.id + 1",
        "SELECT * FROM `seen`",
        "seen",
        "base",
    ],
)
def test_a_query_is_described_as_it_is_read_and_as_a_part_of_another(database, query):
    database.server.execute(
        "CREATE OR REPLACE VIEW seen AS SELECT 1 AS one, 2 AS two, 3.5 AS three",
        "CREATE TABLE IF NOT EXISTS base (id int PRIMARY KEY, n int NOT NULL, small tinyint, y year)",
        "REPLACE INTO base VALUES (1, 7, 1, 2026), (2, 8, NULL, NULL)",
    )
    table = "SELECT" not in query
    whole = read(open_native, database.url, query if table else Query(query))
    assert whole.equals(read(open_builtin, database.url, query if table else Query(query)))
    if not table:
        part = read(open_native, database.url, Query(f"SELECT * FROM ({query}) AS q LIMIT 1"))
        assert part.schema.equals(whole.schema)


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)  # no matter of the server's, and there are many
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
    database.server.execute(
        "CREATE TABLE `raw` (id int PRIMARY KEY, b varbinary(9))", "INSERT INTO `raw` VALUES (1, 'a'), (5, x'ff')"
    )
    check_same(database.url, "raw", columns={"b": pa.string()})
