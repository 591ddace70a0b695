"""Tables of many relations: partitioned and inherited ones, read partition by partition, by pages, like one table."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from threading import Thread

import pyarrow as pa
import pytest

from integration.source.both_sources import check_same, open_builtin, open_native, outcome, read
from rivet_core.api import Query, SnapshotLost
from rivet_postgres import pages
from rivet_postgres.pages import TablePages

# Partitions with another order of columns, dropped columns, a schema of their own, and partitions of their own.
PARTITIONED = (
    "CREATE TABLE \"all\" (id integer NOT NULL, region text, note text DEFAULT 'n',"
    " twice integer GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY LIST (region)",
    "CREATE TABLE north PARTITION OF \"all\" FOR VALUES IN ('n')",
    "CREATE TABLE south (gone integer, note text, twice integer GENERATED ALWAYS AS (id * 2) STORED, region text,"
    " id integer NOT NULL, gone_too text)",
    "ALTER TABLE south DROP COLUMN gone, DROP COLUMN gone_too",
    "ALTER TABLE \"all\" ATTACH PARTITION south FOR VALUES IN ('s')",
    "CREATE SCHEMA other",
    'CREATE TABLE other."we%s""t" PARTITION OF "all" FOR VALUES IN (\'w\') PARTITION BY RANGE (id)',
    'CREATE TABLE other.west1 PARTITION OF other."we%s""t" FOR VALUES FROM (0) TO (500)',
    'CREATE TABLE other.west2 PARTITION OF other."we%s""t" FOR VALUES FROM (500) TO (100000)',
    'CREATE TABLE rest PARTITION OF "all" DEFAULT',
    "INSERT INTO \"all\" (id, region, note) SELECT i, (ARRAY['n', 's', 'w'])[1 + i % 3], repeat('x', i % 90)"
    " FROM generate_series(1, 3000) i",
    'ALTER TABLE "all" ADD COLUMN late integer DEFAULT 7',
)
INHERITED = (
    "CREATE TABLE parent (id integer, note text)",
    "CREATE TABLE child (extra integer) INHERITS (parent)",
    "CREATE TABLE another (id integer, more text)",
    "CREATE TABLE grandchild (own integer) INHERITS (child, another)",
    "INSERT INTO parent VALUES (1, 'parent')",
    "INSERT INTO child VALUES (2, 'child', 5)",
    "INSERT INTO grandchild VALUES (3, 'grandchild', 5, 'more', 6)",
)


@pytest.fixture(scope="module")
def database(postgres):
    database = postgres.create_database()
    database.execute(*PARTITIONED, *INHERITED)
    return database


@pytest.fixture
def few_pages(monkeypatch):
    monkeypatch.setattr(pages, "_FIRST_PAGES", 2)
    monkeypatch.setattr(pages, "_MAX_PAGES", 3)


def rows_of(table):
    return sorted(map(repr, table.to_pylist()))


def read_and_statements(url, name):
    """Read a table natively and return the statements, too; ``None`` where its rows are fetched from a cursor."""
    with closing(open_native(url)) as source, source.read(source.table_query(name), batch_bytes=10_000) as stream:
        statements = getattr(stream, "_statements", None)
        if statements is not None:
            statements = stream._statements = list(statements)
        return pa.Table.from_batches(stream, stream.schema), statements


@pytest.mark.usefixtures("few_pages")
@pytest.mark.parametrize(("name", "relations"), [("all", 5), ("parent", 3), ("child", 2)])
def test_every_relation_is_read_by_pages(database, name, relations):
    table, statements = read_and_statements(database.url, name)
    expected = read(open_builtin, database.url, name)
    assert table.schema == expected.schema
    assert rows_of(table) == rows_of(expected)
    assert len(statements) >= relations
    assert all("FROM ONLY " in statement and "ctid" in statement for statement in statements)


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("name", ["all", "parent"])
def test_a_split_gives_every_row_once(database, name, n):
    expected = rows_of(read(open_builtin, database.url, name))
    with closing(open_native(database.url)) as source:
        pieces = source.split(source.table_query(name), n)
    assert 2 <= len(pieces) <= n
    assert all(isinstance(piece, TablePages) for piece in pieces)
    natively = [read(open_native, database.url, piece) for piece in pieces]
    assert rows_of(pa.concat_tables(natively)) == expected
    # A reader that knows nothing of pages finds the same rows.
    for piece, found in zip(pieces, natively, strict=True):
        assert rows_of(read(open_builtin, database.url, Query(piece.text, table=piece.table))) == rows_of(found)


def test_the_estimate_is_that_of_all_relations(database):
    database.execute(
        "CREATE TABLE counted (id integer) PARTITION BY LIST (id)",
        "CREATE TABLE counted1 PARTITION OF counted FOR VALUES IN (1)",
        "CREATE TABLE counted2 PARTITION OF counted FOR VALUES IN (2)",
        "INSERT INTO counted SELECT 1 + i % 2 FROM generate_series(1, 50) i",
        "ANALYZE counted1",
    )
    with closing(open_native(database.url)) as source:
        query = source.table_query("counted")
        assert source.approximate_rows(query) is None
        database.execute("ANALYZE counted2")
        assert source.approximate_rows(query) == 50


def test_all_partitions_are_read_at_one_state(database):
    database.execute("CREATE TABLE p (id integer, state integer) PARTITION BY RANGE (id)")
    for part in range(4):
        low = part * 1000
        database.execute(f"CREATE TABLE p{part} PARTITION OF p FOR VALUES FROM ({low}) TO ({low + 1000})")
    database.execute("INSERT INTO p SELECT i, 0 FROM generate_series(0, 3999) i")
    with (
        closing(open_native(database.url)) as source,
        source.read(source.table_query("p"), batch_bytes=1000) as stream,
    ):
        batches = iter(stream)
        first = next(batches)
        database.execute(
            "UPDATE p SET state = 1",
            "UPDATE p SET id = id - 3000 WHERE id = 3500",
            "SET lock_timeout = '9s'",
            "CREATE TABLE p4 (id integer, state integer)",
            "ALTER TABLE p ATTACH PARTITION p4 FOR VALUES FROM (4000) TO (5000)",
            "INSERT INTO p VALUES (4500, 1)",
        )
        table = pa.Table.from_batches([first, *batches])
    assert sorted(table["id"].to_pylist()) == list(range(4000))
    assert set(table["state"].to_pylist()) == {0}


@pytest.fixture
def reader(database):
    """Another user, who may read what a test lets it."""
    database.execute("DROP OWNED BY reader; DROP ROLE reader" if role_exists(database) else "SELECT 1")
    database.execute("CREATE ROLE reader LOGIN PASSWORD 'p'", "GRANT USAGE ON SCHEMA public TO reader")
    return replace(database, user="reader", password="p")


def role_exists(database):
    with database.connect() as connection:
        return bool(connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reader'").fetchall())


def test_a_partition_that_the_user_may_not_read_alone_is_read_through_the_table(database, reader):
    database.execute('GRANT SELECT ON "all", north, south, rest TO reader')
    table, statements = read_and_statements(reader.url, "all")
    assert len(statements) == 1
    assert "ctid" not in statements[0]
    assert rows_of(table) == rows_of(read(open_builtin, database.url, "all"))
    with closing(open_native(reader.url)) as source:
        query = source.table_query("all")
        assert source.split(query, 4) == [query]


def test_policies_of_the_table_hold_for_its_partitions(database, reader):
    database.execute(
        "CREATE TABLE secret (id integer, who text) PARTITION BY LIST (id)",
        "CREATE TABLE secret1 PARTITION OF secret FOR VALUES IN (1, 2)",
        "INSERT INTO secret VALUES (1, 'reader'), (2, 'postgres')",
        "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON secret USING (who = current_user)",
        "GRANT SELECT ON secret, secret1 TO reader",
        "CREATE TABLE alone AS SELECT i AS id, CASE i % 2 WHEN 0 THEN 'reader' ELSE 'postgres' END AS who"
        " FROM generate_series(1, 9) i",
        "ALTER TABLE alone ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON alone USING (who = current_user)",
        "GRANT SELECT ON alone TO reader",
    )
    assert read(open_native, reader.url, "secret")["id"].to_pylist() == [1]
    assert sorted(read(open_native, database.url, "secret")["id"].to_pylist()) == [1, 2]
    assert sorted(read(open_native, reader.url, "alone")["id"].to_pylist()) == [2, 4, 6, 8]
    check_same(reader.url, "alone")


def test_foreign_tables_alone_and_as_partitions(postgres, database):
    far = postgres.create_database()
    far.execute("CREATE TABLE t AS SELECT i AS id, 'far ' || i AS note FROM generate_series(1, 50) i")
    escaped = far.password.replace("'", "''")
    database.execute(
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw"
        f" OPTIONS (host '{far.host}', port '{far.port}', dbname '{far.database}')",
        f"CREATE USER MAPPING FOR postgres SERVER far OPTIONS (user '{far.user}', password '{escaped}')",
        "CREATE FOREIGN TABLE abroad (id integer, note text) SERVER far OPTIONS (table_name 't')",
        "CREATE TABLE world (id integer, note text) PARTITION BY RANGE (id)",
        "CREATE FOREIGN TABLE farther PARTITION OF world FOR VALUES FROM (0) TO (100) SERVER far"
        " OPTIONS (table_name 't')",
        "CREATE TABLE home PARTITION OF world FOR VALUES FROM (100) TO (200)",
        "INSERT INTO home VALUES (100, 'home')",
    )
    table, statements = read_and_statements(database.url, "abroad")
    assert (table.num_rows, len(statements)) == (50, 1)
    table, statements = read_and_statements(database.url, "world")
    assert sorted(table["id"].to_pylist()) == [*range(1, 51), 100]
    assert [("ctid" in statement) for statement in statements] == [False, True]
    with closing(open_native(database.url)) as source:
        pieces = source.split(source.table_query("world"), 2)  # one: no snapshot covers another server
    assert [read(open_native, database.url, piece).num_rows for piece in pieces] == [51]
    check_same(database.url, "abroad")


def test_a_time_limit_on_statements_lets_partitions_be_copied_and_views_be_fetched(database, reader):
    database.execute(
        "CREATE TABLE limited (id integer) PARTITION BY LIST (id)",
        "CREATE TABLE limited1 PARTITION OF limited FOR VALUES IN (1)",
        "INSERT INTO limited VALUES (1)",
        "CREATE VIEW limited_view AS SELECT * FROM limited",
        "GRANT SELECT ON limited, limited1, limited_view TO reader",
        "ALTER ROLE reader SET statement_timeout = '60s'",
    )
    assert read_and_statements(reader.url, "limited")[1] is not None
    assert read_and_statements(reader.url, "limited_view")[1] is None


def test_a_table_of_a_file(database):
    database.execute(
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE numbers (n integer, note text) SERVER files"
        " OPTIONS (program 'printf \"1,a\\n2,\\n\"', format 'csv')",
    )
    assert outcome(open_native, database.url, "numbers")[1] == ["[1, 2]", "['a', None]"]
    check_same(database.url, "numbers")


def test_as_many_columns_as_a_table_takes(database):
    columns = ", ".join(f"c{number} smallint" for number in range(1600))
    values = ", ".join("NULL" if number % 3 else str(number) for number in range(1600))
    database.execute(f"CREATE TABLE broad ({columns})", f"INSERT INTO broad VALUES ({values})", "TABLE broad")
    check_same(database.url, "broad")
    table = read(open_native, database.url, "broad")
    assert list(table.to_pylist()[0].values()) == [None if number % 3 else number for number in range(1600)]
    with closing(open_native(database.url)) as source:
        assert len(source.split(source.table_query("broad"), 2)) == 1


PARTED = (
    "DROP TABLE IF EXISTS parted, more",
    "CREATE TABLE parted (id integer, v integer) PARTITION BY RANGE (id)",
    "CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (501)",
    "CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (501) TO (2000)",
    "INSERT INTO parted SELECT i, i FROM generate_series(1, 1000) i",
    "CREATE TABLE more (id integer, v integer)",
    "INSERT INTO more VALUES (3000, 1)",
)
ATTACH = "ALTER TABLE parted ATTACH PARTITION more FOR VALUES FROM (2000) TO (4000)"


@pytest.mark.parametrize(
    ("before", "between"),
    [(None, ATTACH), (ATTACH, "ALTER TABLE parted DETACH PARTITION more")],
)
def test_pieces_of_other_partitions_than_the_instant_has_are_not_read(database, before, between):
    database.execute(*PARTED, *filter(None, [before]))
    with closing(open_native(database.url)) as source:
        query = source.table_query("parted")
        pieces = source.split(query, 2)
        assert len(pieces) == 2
        database.execute(between)
        with source.snapshot(query, 2) as snapshot:
            for piece in pieces:
                with (
                    pytest.raises(SnapshotLost, match="parted"),
                    source.read(piece, batch_bytes=1000, snapshot=snapshot),
                ):
                    pass


@pytest.fixture
def rewritten(database):
    """A table of 1000 rows, which it has at every instant."""
    made = (
        "CREATE TABLE rewritten (id integer, v integer)",
        "INSERT INTO rewritten SELECT i, i FROM generate_series(1, 1000) i",
    )
    database.execute("DROP TABLE IF EXISTS rewritten", *made)
    return made


@pytest.mark.parametrize("read_by", [open_native, open_builtin])
@pytest.mark.parametrize("how", ["alter", "truncate", "replace", "partition"])
def test_rows_are_not_lost_to_whom_a_read_has_waited_for(database, rewritten, read_by, how):
    name = "parted" if how == "partition" else "rewritten"
    statements = {
        "alter": ["ALTER TABLE rewritten ALTER v TYPE bigint"],
        "truncate": ["TRUNCATE rewritten", rewritten[1]],
        "replace": ["DROP TABLE rewritten", *rewritten],
        "partition": ["TRUNCATE parted2", "INSERT INTO parted2 SELECT i, i FROM generate_series(501, 1000) i"],
    }
    if how == "partition":
        database.execute(*PARTED)
    found: list[int] = []

    def reading() -> None:
        with source.read(query, batch_bytes=10_000) as stream:
            found.append(sum(batch.num_rows for batch in stream))

    with closing(read_by(database.url)) as source, database.connect() as connection:
        query = source.table_query(name)
        with connection.transaction():
            for statement in statements[how]:
                connection.execute(statement)
            reader = Thread(target=reading)
            reader.start()
            wait_for_lock(database)
        reader.join(60)
    assert found == [1000]


def wait_for_lock(database):
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'relation' AND NOT granted"
    with database.connect() as connection:
        for _ in range(1000):
            if connection.execute(waiting).fetchall():
                return
            time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


def test_chunks_of_timescaledb_are_not_read_alone(postgres):
    database = postgres.create_database()
    database.execute(
        *INHERITED,
        "CREATE TABLE plain AS SELECT 1 AS id",
        "UPDATE pg_extension SET extname = 'timescaledb' WHERE extname = 'plpgsql'",
    )
    for name, by_pages in (("parent", False), ("grandchild", False), ("plain", True)):
        table, (statement, *_) = read_and_statements(database.url, name)
        assert ("FROM ONLY " in statement) == by_pages
        assert rows_of(table) == rows_of(read(open_builtin, database.url, name))
    with closing(open_native(database.url)) as source:
        assert len(source.split(source.table_query("parent"), 2)) == 1


def test_temporary_heirs_of_other_sessions_are_not_read(database):
    database.execute("CREATE TABLE forebear (id integer)", "INSERT INTO forebear VALUES (1)")
    with database.connect() as connection:
        connection.execute("CREATE TEMPORARY TABLE heir () INHERITS (forebear)")
        connection.execute("INSERT INTO heir VALUES (2)")
        check_same(database.url, "forebear")
        table, statements = read_and_statements(database.url, "forebear")
    assert table["id"].to_pylist() == [1]
    assert len(statements) == 1
