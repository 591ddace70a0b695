"""PostgreSQL through the built-in source: consistent, streamed, cancelled when left, and honest about errors."""

from __future__ import annotations

import signal
import time
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from integration.source.open_source import opened, read
from integration.source.server_failures import check_denied_and_unreachable, check_lost_connection
from rivet_core.api import (
    ConfigError,
    Query,
    QueryError,
    ReadOptions,
    SourceError,
    SourceUnavailable,
    TypeMappingError,
    ValueRefused,
)
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import ResultColumn
from rivet_core.builtin.sqlalchemy.postgres_rows import FetchedRows
from servers.proxy import Drop, Reset


@pytest.fixture(scope="module")
def database(postgres):
    database = postgres.create_database()
    database.execute(
        "CREATE TABLE items (id integer PRIMARY KEY, amount numeric(12,2) NOT NULL, note text, body bytea)",
        "INSERT INTO items SELECT i, i / 100.0, 'note ' || i, decode(md5(i::text), 'hex')"
        " FROM generate_series(1, 50000) i",
        'CREATE TABLE "odd ""name" ("say ""hi"" 🦔" integer, "a%b:c" text)',
        """INSERT INTO "odd ""name" VALUES (1, '50% :x ${y}')""",
        "ANALYZE items",
    )
    return database


def sessions(database, text):
    """Count the statements that the server runs for us and that contain ``text``."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'rivet' AND state <> 'idle' AND query LIKE %s",
            (f"%{text}%",),
        )
        return cursor.fetchone()[0]


def test_a_table_in_bounded_batches(database):
    with opened(database.url) as source:
        query = source.table_query("public.items")
        assert source.approximate_rows(query) == 50_000
        with source.read(query, batch_bytes=100_000) as stream:
            assert stream.schema == source.describe(query).arrow()
            batches = list(stream)
    assert max(batch.nbytes for batch in batches) <= 100_000
    table = pa.Table.from_batches(batches)
    assert sorted(table["id"].to_pylist()) == list(range(1, 50_001))
    assert table.schema.field("amount") == pa.field("amount", pa.decimal128(12, 2), nullable=False)


def test_strange_names_and_text_that_looks_like_binds(database):
    assert read(database.url, 'odd "name').to_pylist() == [{'say "hi" 🦔': 1, "a%b:c": "50% :x ${y}"}]
    text = """SELECT id::bigint % 7 AS "%s", $q$ ${a} %(b)s $q$ AS q, E'it\\'s ${c}' AS e -- ${d}
              FROM items WHERE id = ${id} AND note LIKE 'note%' /* /* ; */ */ ; -- end"""
    row = {"%s": 5, "q": " ${a} %(b)s ", "e": "it's ${c}"}
    assert read(database.url, Query(text, {"id": "5"})).to_pylist() == [row]
    assert read(database.url, Query("SELECT '%' AS p, 7 % 4 AS m")).to_pylist() == [{"p": "%", "m": 3}]


def test_the_session_is_utc_and_reads_only(database):
    table = read(database.url, Query("SELECT current_setting('TimeZone') AS zone, now() AS at"))
    assert table["zone"].to_pylist() == ["UTC"]
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")
    database.execute("CREATE FUNCTION wipe() RETURNS integer LANGUAGE sql AS 'DELETE FROM items; SELECT 1'")
    with pytest.raises(QueryError, match="only reads"):
        read(database.url, Query("SELECT wipe() AS w"))


def test_settings_of_the_role_do_not_change_the_values(database):
    database.execute(
        f"ALTER DATABASE {database.database} SET datestyle = 'SQL, DMY'",
        f"ALTER DATABASE {database.database} SET intervalstyle = 'iso_8601'",
        f"ALTER DATABASE {database.database} SET bytea_output = 'escape'",
        f"ALTER DATABASE {database.database} SET extra_float_digits = -15",
    )
    text = "SELECT date '2026-02-03' AS d, interval '1 day 2 hours' AS i, '\\x5c00'::bytea AS b, 0.1::float8 AS f"
    row = read(database.url, Query(text)).to_pylist()[0]
    assert (str(row["d"]), row["i"], row["b"], row["f"]) == ("2026-02-03", "1 day 02:00:00", b"\\\x00", 0.1)


def test_expressions_without_precision_name_every_column(database):
    text = Query("SELECT amount * 2 AS double, sum(amount) OVER () AS total, ARRAY[1.5] AS list FROM items")
    with pytest.raises(TypeMappingError) as caught, opened(database.url) as source:
        source.describe(text)
    assert "  double: string\n  total: string\n  list: string" in caught.value.hint
    table = read(database.url, text, unbounded_numeric="decimal(38,9)")
    assert table.schema.types == [pa.decimal128(38, 9), pa.decimal128(38, 9), pa.list_(pa.decimal128(38, 9))]
    override = read(database.url, Query("SELECT 1.50 * 1 AS x"), columns={"x": pa.decimal128(5, 2)})
    assert override["x"].to_pylist() == [Decimal("1.50")]


def test_an_override_that_would_lose_something_is_refused(database):
    with pytest.raises(ConfigError, match=r"'amount' is numeric\(12,2\) .* cannot become float64"):
        read(database.url, "items", columns={"amount": pa.float64()})


def test_a_refused_value_names_column_and_key(database):
    database.execute(
        "CREATE TABLE late (k text PRIMARY KEY, at timestamp)", "INSERT INTO late VALUES ('q', 'infinity')"
    )
    with pytest.raises(ValueRefused, match=r"'at' \(timestamp without time zone\), row 1 \(k = q\)") as caught:
        read(database.url, "late")
    assert "infinity" not in caught.value.message
    assert read(database.url, "late", columns={"at": pa.string()})["at"].to_pylist() == ["infinity"]


def test_a_value_above_the_limit(database):
    text = Query("SELECT i, repeat('é', 100 * i) AS big FROM generate_series(1, 50) i")
    with pytest.raises(ValueRefused, match="column 'big', row 11: the value has 2200 bytes"):
        read(database.url, text, max_value_bytes=2100)
    short = Query("SELECT CAST(repeat('x', 51) AS varchar(200)) AS short")
    with pytest.raises(ValueRefused, match="column 'short', row 1: the value has 51 bytes"):
        read(database.url, short, max_value_bytes=50)


def test_large_values_come_in_small_batches(database):
    text = Query(
        "SELECT i, repeat('x', CASE WHEN i < 500 THEN 1 ELSE 3000000 END) AS big FROM generate_series(1, 510) i"
    )
    with opened(database.url) as source, source.read(text, batch_bytes=1_000_000) as stream:
        sizes = [(batch.num_rows, batch.nbytes) for batch in stream]
    assert sum(rows for rows, _ in sizes) == 510
    assert all(rows == 1 for rows, size in sizes if size > 1_000_000)


@pytest.mark.parametrize(
    ("other", "type_", "most"), [("amount", pa.decimal128(12, 2), 16), ("note", pa.string(), 4)], ids=["narrow", "wide"]
)
def test_libpq_holds_few_rows_and_fewest_where_values_may_be_large(database, other, type_, most):
    if not psycopg.capabilities.has_stream_chunked():
        most = 1
    columns = [ResultColumn("id", "integer", pa.int32()), ResultColumn(other, "", type_)]
    with database.connect() as connection, connection.transaction(), connection.cursor("few") as cursor:
        cursor.execute(f"SELECT id, {other} FROM items")
        lists = list(FetchedRows(psycopg, connection, "few", columns, ReadOptions()).lists(Clock()))
    assert [row[0] for rows in lists for row in rows] == list(range(1, 50_001))
    assert max(map(len, lists)) == most


def test_numbers_keep_every_bit_by_the_drivers_values_and_by_text(database):
    types = {"small": "int2", "middle": "int4", "large": "int8", "oid": "oid", "double": "float8", "truth": "bool"}
    values = """
        ('-32768', '-2147483648', '-9223372036854775808', '0', 'NaN', 't'),
        ('32767', '2147483647', '9223372036854775807', '4294967295', '-Infinity', 'f'),
        ('0', '0', '0', '7', '5e-324', NULL), (NULL, NULL, NULL, NULL, '0.1', 't'), ('1', '1', '1', '1', NULL, 't'),
        ('1', '1', '1', '1', '1.7976931348623157e308', 't')"""
    casts = ", ".join(f"CAST({name} AS {type_}) AS {name}" for name, type_ in types.items())
    query = Query(f"SELECT {casts} FROM (VALUES {values}) AS t ({', '.join(types)})")
    plain = read(database.url, query)
    assert plain.schema.types == [pa.int16(), pa.int32(), pa.int64(), pa.uint32(), pa.float64(), pa.bool_()]
    assert plain["small"].to_pylist() == [-32768, 32767, 0, None, 1, 1]
    assert plain["large"].to_pylist() == [-(2**63), 2**63 - 1, 0, None, 1, 1]
    assert plain["oid"].to_pylist() == [0, 2**32 - 1, 7, None, 1, 1]
    assert str(plain["double"].to_pylist()) == "[nan, -inf, 5e-324, 0.1, None, 1.7976931348623157e+308]"
    assert plain["truth"].to_pylist() == [True, False, None, True, True, True]
    wider = {"small": pa.int64(), "middle": pa.int64(), "large": pa.decimal128(19, 0), "truth": pa.int8()}
    by_text = read(database.url, query, columns={**wider, "oid": pa.string(), "double": pa.string()})
    for name in ("small", "middle", "large"):
        assert by_text[name].cast(plain[name].type) == plain[name]
    assert by_text["oid"].to_pylist() == ["0", "4294967295", "7", None, "1", "1"]
    assert by_text["double"].to_pylist() == ["NaN", "-Infinity", "5e-324", "0.1", None, "1.7976931348623157e+308"]
    assert by_text["truth"].to_pylist() == [1, 0, None, 1, 1, 1]


def test_an_interrupt_cancels_the_statement_on_the_server(database):
    def interrupt(signum, frame):
        raise KeyboardInterrupt

    slow = Query("SELECT pg_sleep(60)::text AS s")
    before = signal.signal(signal.SIGALRM, interrupt)
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(KeyboardInterrupt):
            read(database.url, slow)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 50
    deadline = time.monotonic() + 10
    while sessions(database, "rivet_read") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sessions(database, "rivet_read") == 0


def test_leaving_a_large_result_does_not_drain_it(database):
    # In the list of columns, where the server computes the numbers one by one; in FROM it would store them all first.
    endless = Query("SELECT generate_series(1, 100000000) AS i, repeat('x', 1000) AS s")
    started = time.monotonic()
    with opened(database.url) as source, source.read(endless, batch_bytes=100_000) as stream:
        assert next(iter(stream)).num_rows > 0
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("SELECT * FROM missing", QueryError, 'relation "missing" does not exist'),
        ("SELECT nope FROM items", QueryError, 'column "nope" does not exist'),
        ("SELECT 1,\n FROM FROM items", QueryError, "syntax error in line 2"),
        ("SELECT 'c4nary'::integer AS x", QueryError, "fails on a value"),
        ("SELECT 1 AS a, 2 AS a", QueryError, "more than one column named 'a'"),
        ("SELECT FROM items", QueryError, "no columns"),
        ("INSERT INTO items VALUES (0, 0)", QueryError, "syntax error"),
        ("SELECT 1; DROP TABLE items", QueryError, "more than one statement"),
    ],
)
def test_bad_queries_are_one_clear_error(database, text, error, message):
    with pytest.raises(error, match=message) as caught:
        read(database.url, Query(text))
    assert "c4nary" not in str(caught.value)


def test_a_query_that_fails_half_way(database):
    text = Query("SELECT i, 1 / (30000 - i) AS x FROM generate_series(1, 50000) i")
    with opened(database.url) as source, source.read(text, batch_bytes=10_000) as stream:
        batches = iter(stream)
        assert next(batches).num_rows > 0
        with pytest.raises(QueryError, match="fails on a value"):
            list(batches)


def test_a_statement_timeout_bounds_single_fetches(database):
    url = database.url + "?options=-c%20statement_timeout%3D1000"
    text = Query("SELECT i, repeat('x', 100) AS s FROM generate_series(1, 40000) i")
    with opened(url) as source, source.read(text, batch_bytes=100_000) as stream:
        rows = 0
        for batch in stream:
            rows += batch.num_rows
            time.sleep(0.01)  # the whole takes longer than the time-out
    assert rows == 40_000
    with pytest.raises(SourceError, match="cancelled"):
        read(url, Query("SELECT pg_sleep(5)::text AS s"))


def test_denied_and_unreachable(database):
    database.execute("CREATE ROLE guest LOGIN PASSWORD 'c4nary-guest'")
    check_denied_and_unreachable(database)


@pytest.mark.parametrize("fault", [Drop(after_bytes=300_000), Reset(after_bytes=300_000)])
def test_a_lost_connection_is_an_error_and_never_a_short_result(database, fault):
    check_lost_connection(database, fault)


def test_a_server_without_tls_is_refused_where_tls_is_required(database):
    with pytest.raises(SourceUnavailable, match="TLS"):
        read(database.url + "?sslmode=require", Query("SELECT 1 AS x"))


def test_similar_tables_are_named(database):
    with opened(database.url) as source, pytest.raises(QueryError, match=r"no table or view public\.item") as caught:
        source.table_query("public.item")
    assert "public.items" in caught.value.hint


def test_doctor_reports_the_server(database):
    with opened(database.url) as source:
        checks = {check.name: check for check in source.check()}
    assert {check.status for check in checks.values()} == {"ok"}
    assert "PostgreSQL" in checks["source server"].message
    with opened(database.through(1).url) as source:
        assert [check.status for check in source.check()] == ["failed"]


def test_metadata_queries_share_the_engine(database):
    with opened(database.url) as source, source.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*), max(id) FROM items").one() == (50_000, 50_000)


def backend_of(source, *, text="SELECT pg_backend_pid() AS pid", snapshot=None):
    """Return the server's process that a read was served by."""
    with source.read(Query(text), batch_bytes=1000, snapshot=snapshot) as stream:
        return pa.Table.from_batches(stream, stream.schema)["pid"][0].as_py()


def wait_until_gone(database, pid):
    with database.connect() as connection, connection.cursor() as cursor:
        deadline = time.monotonic() + 60
        while cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_reads_one_after_the_other_share_a_connection_and_nothing_else(database):
    with opened(database.url) as source:
        first = backend_of(source, text="SELECT pg_backend_pid() AS pid, set_config('rivet.trace', 'left', false)")
        text = "SELECT pg_backend_pid() AS pid WHERE coalesce(current_setting('rivet.trace', true), '') = ''"
        assert backend_of(source, text=text) == first
        with source.snapshot(Query("SELECT 1 AS one"), 1) as view:
            assert backend_of(source, snapshot=view) == first
        isolation = "SELECT pg_backend_pid() AS pid, current_setting('transaction_isolation') AS isolation"
        assert backend_of(source, text=isolation) == first
    wait_until_gone(database, first)


def test_a_connection_is_not_used_again_after_an_error_or_when_it_was_left_early(database):
    with opened(database.url, columns={"n": pa.int16()}) as source:
        query = Query("SELECT pg_backend_pid() AS pid, i AS n FROM generate_series(1, 100000) i")
        batches = []
        with source.read(query, batch_bytes=1000) as stream, pytest.raises(ValueRefused):
            batches.extend(stream)
        wait_until_gone(database, batches[0]["pid"][0].as_py())
        with source.read(query, batch_bytes=1000) as stream:
            second = next(iter(stream))["pid"][0].as_py()
        wait_until_gone(database, second)


def test_a_connection_that_the_server_ends_between_two_reads_is_replaced(database):
    with opened(database.url) as source:
        first = backend_of(source)
        database.execute(f"SELECT pg_terminate_backend({first})")
        wait_until_gone(database, first)
        assert backend_of(source) != first
