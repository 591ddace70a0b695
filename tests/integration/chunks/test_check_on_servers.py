"""What ``rivet check`` looks at on PostgreSQL and MariaDB: their indexes, and a few keys along them."""

from __future__ import annotations

import pytest

from integration.source.open_source import opened
from rivet_core.api import SourceError, TableName
from rivet_core.engine.looking.indexes import indexes_of
from rivet_core.engine.looking.pace import measure_pace
from rivet_core.engine.looking.skew import KeyLooks
from servers.mariadb import Mariadb
from servers.postgres import Postgres

TABLE = TableName("orders")
ROWS = 5000
# Every tenth row has the same customer; one day has half of all rows.
POSTGRES_ROWS = (
    "SELECT i, CASE WHEN i % 10 = 0 THEN 500 ELSE i END, date '2020-01-01' + CASE WHEN i % 2 = 0 THEN 730 ELSE i % 1460"
    " END, timestamp '2020-01-01 10:00' + i * interval '1 hour', md5(i::text)::uuid, 'code ' || i, 'note ' || i,"
    f" i * 1.5 FROM generate_series(1, {ROWS}) AS i"
)
MARIADB_ROWS = (
    "SELECT i, CASE WHEN i % 10 = 0 THEN 500 ELSE i END, DATE '2020-01-01' + INTERVAL CASE WHEN i % 2 = 0 THEN 730 "
    "ELSE i % 1460 END DAY, TIMESTAMP '2020-01-01 10:00:00' + INTERVAL i HOUR, "
    "CONCAT(LPAD(HEX(i), 8, '0'), '-aaaa-4bbb-8ccc-ffffffffffff'), CONCAT('code ', i), CONCAT('note ', i), i * 1.5 "
    f"FROM (SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_{ROWS}) AS s"
)
COLUMNS = (
    "id bigint PRIMARY KEY, customer int, day date, moment {moment}, uid uuid, code varchar(40) UNIQUE, "
    "note varchar(40), amount decimal(12,2)"
)


@pytest.fixture(scope="module")
def postgres_url(postgres: Postgres) -> str:
    database = postgres.create_database()
    database.execute(
        f"CREATE TABLE orders ({COLUMNS.format(moment='timestamp')})",
        "CREATE INDEX by_customer ON orders (customer, day)",
        "CREATE INDEX by_day ON orders (day)",
        "CREATE INDEX by_moment ON orders (moment)",
        "CREATE UNIQUE INDEX by_uid ON orders (uid)",
        "CREATE INDEX hashed ON orders USING hash (note)",
        "CREATE UNIQUE INDEX partly ON orders (amount) WHERE id > 10",
        "CREATE INDEX expressed ON orders (lower(note))",
        f"INSERT INTO orders {POSTGRES_ROWS}",
        "ALTER TABLE orders ADD COLUMN shape point",
        "CREATE VIEW recent AS SELECT * FROM orders",
    )
    return database.url


@pytest.fixture(scope="module")
def mariadb_url(mariadb: Mariadb) -> str:
    database = mariadb.create_database()
    database.execute(
        f"CREATE TABLE orders ({COLUMNS.format(moment='datetime')})",
        "CREATE INDEX by_customer ON orders (customer, day)",
        "CREATE INDEX by_day ON orders (day)",
        "CREATE INDEX by_moment ON orders (moment)",
        "CREATE UNIQUE INDEX by_uid ON orders (uid)",
        "CREATE FULLTEXT INDEX texts ON orders (note)",
        f"INSERT INTO orders {MARIADB_ROWS}",
        "CREATE VIEW recent AS SELECT * FROM orders",
    )
    return database.url


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


def test_indexes_are_found_by_the_columns_that_they_lead_with(url: str):
    with opened(url) as source:
        indexes = indexes_of(source, TABLE)
        assert indexes is not None
        for key in (["id"], ["customer"], ["customer", "day"], ["day"], ["moment"], ["uid"], ["code"]):
            assert indexes.leads_with(key), key
        for key in (["note"], ["amount"], ["day", "customer"], ["id", "customer"]):
            assert not indexes.leads_with(key), key
        assert [key for key in ("id", "customer", "uid", "code", "amount") if indexes.is_unique([key])] == [
            "id", "uid", "code",
        ]  # fmt: skip
        assert indexes.is_unique(["customer", "id"])
        assert indexes_of(source, TableName("recent")) is None


@pytest.mark.parametrize(("column", "largest"), [("customer", 501), ("day", ROWS // 2), ("moment", 1), ("id", 1)])
def test_keys_that_rows_share_are_found(url: str, column: str, largest: int):
    with opened(url) as source:
        skew = KeyLooks(source, TABLE, column).repeated_keys()
    assert skew is not None
    assert skew.looks > 2
    if column in ("moment", "id"):
        assert skew.largest == largest
    else:
        assert 1 <= skew.largest <= largest + 1


def test_keys_that_cannot_be_added_are_looked_at_from_both_ends(url: str):
    with opened(url) as source:
        skew = KeyLooks(source, TABLE, "code").repeated_keys()
    assert skew is not None
    assert (skew.looks, skew.largest) == (2, 1)


def test_a_type_without_a_smallest_value_is_one_clear_error(postgres_url: str):
    with opened(postgres_url) as source, pytest.raises(SourceError, match="cannot be looked at"):
        KeyLooks(source, TABLE, "shape").repeated_keys()


@pytest.mark.parametrize(("column", "days"), [("day", 365), ("day", 1), ("moment", 30)])
def test_periods_are_counted(url: str, column: str, days: int):
    with opened(url) as source:
        skew = KeyLooks(source, TABLE, column).periods(days)
        assert KeyLooks(source, TABLE, "id").periods(days) is None
    assert skew is not None
    if column == "moment":
        assert (skew.periods, skew.largest) == (7, 720)
    elif days == 365:
        assert skew.periods == 4
        assert skew.largest > ROWS // 2  # the day that has half of the rows is in one of them


def test_the_pace_is_that_of_the_first_rows(url: str):
    with opened(url) as source:
        pace = measure_pace(source, source.table_query("orders"))
    assert pace.complete
    assert pace.rows == ROWS
    assert pace.rows_per_second > 0
    assert pace.seconds(2 * ROWS) == pytest.approx(2 * ROWS / pace.rows_per_second)
