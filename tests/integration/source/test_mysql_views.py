"""Views of MariaDB and MySQL: one instant whatever the server's defaults are, and whatever becomes of the tables."""

from __future__ import annotations

import threading

import pytest

from integration.source.open_source import opened
from rivet_core.api import Query, SourceUnavailable

ROWS = [1, 2, 3, 4]
PARTITIONED = (
    "CREATE TABLE items (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)"
    " (PARTITION low VALUES LESS THAN (3), PARTITION high VALUES LESS THAN (10))"
)


@pytest.fixture(params=["mariadb", "mysql"])
def database(request):
    database = request.getfixturevalue(request.param).create_database()
    database.execute(
        "CREATE TABLE items (id int PRIMARY KEY, v int)", "INSERT INTO items VALUES (1,1),(2,2),(3,3),(4,4)"
    )
    return database


def rows(source, query, snapshot=None):
    with source.read(query, batch_bytes=1_000_000, snapshot=snapshot) as stream:
        return [row for batch in stream for row in batch.column(0).to_pylist()]


@pytest.mark.parametrize("level", ["READ UNCOMMITTED", "SERIALIZABLE"])
def test_a_read_shows_what_is_committed_and_waits_for_nobody(database, level):
    database.execute(f"SET GLOBAL TRANSACTION ISOLATION LEVEL {level}")
    try:
        with database.connect() as writer, writer.cursor() as cursor, opened(database.url) as source:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
            cursor.execute("BEGIN")
            cursor.execute("UPDATE items SET id = 100 WHERE id = 1")
            cursor.execute("DELETE FROM items WHERE id = 4")
            source._backend.read_timeout = 5
            query = source.table_query("items")
            assert rows(source, query) == ROWS
            with source.read(query, batch_bytes=1_000_000):
                cursor.execute("UPDATE items SET v = 0 WHERE id = 2")
            cursor.execute("ROLLBACK")
    finally:
        database.execute("SET GLOBAL TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def change(database, *statements):
    """Change a table in another thread, as far as that does not have to wait."""
    thread = threading.Thread(target=database.execute, args=statements)
    thread.start()
    thread.join(0.5)
    return thread


@pytest.mark.parametrize("workers", [1, 2])
def test_a_table_that_takes_the_name_waits(database, workers):
    # So do tools that change tables without locking them: they fill another one and swap the names.
    database.execute("CREATE TABLE filling LIKE items", "INSERT INTO filling SELECT * FROM items WHERE id < 2")
    with opened(database.url) as source:
        query = source.table_query("items")
        with source.snapshot(query, workers) as snapshot:
            changing = change(
                database,
                "INSERT INTO filling SELECT * FROM items WHERE id >= 2",
                "RENAME TABLE items TO old, filling TO items",
            )
            assert rows(source, query, snapshot) == ROWS
        changing.join(10)
        assert not changing.is_alive()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("statement", ["DROP PARTITION low", "EXCHANGE PARTITION low WITH TABLE other"])
def test_partitions_stay(database, statement, workers):
    database.execute(
        "CREATE TABLE other LIKE items",
        "INSERT INTO other VALUES (0, 0)",
        "RENAME TABLE items TO plain",
        PARTITIONED,
        "INSERT INTO items SELECT * FROM plain",
    )
    with opened(database.url) as source:
        query = source.table_query("items")
        with source.snapshot(query, workers) as snapshot:
            changing = change(database, f"ALTER TABLE items {statement}")
            assert rows(source, query, snapshot) == ROWS
        changing.join(10)
        assert not changing.is_alive()


@pytest.mark.parametrize("statement", ["TRUNCATE TABLE items", "ALTER TABLE items ADD COLUMN w int"])
def test_no_connection_waits_for_a_change_that_waits_for_another_one(database, statement):
    with opened(database.url) as source:
        source._backend.read_timeout = 5
        query = source.table_query("items")
        with source.snapshot(query, 2) as snapshot:
            with snapshot.lend():
                assert rows(source, query, snapshot) == ROWS
            changing = change(database, statement)
            snapshot._free.reverse()
            assert rows(source, query, snapshot) == ROWS
            snapshot._free.reverse()
            assert rows(source, query, snapshot) == ROWS
        changing.join(10)
        assert not changing.is_alive()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_view_begins_at_once(database, workers):
    with opened(database.url) as source:
        query = Query(
            "SELECT a.id, b.v FROM items a JOIN items b ON a.id = b.id WHERE a.id < ${most} -- all", {"most": 9}
        )
        with source.snapshot(query, workers) as snapshot:
            database.execute("INSERT INTO items VALUES (5, 5)", "DELETE FROM items WHERE id = 1")
            assert rows(source, query, snapshot) == ROWS


def test_a_view_of_a_table_that_is_altered_meanwhile_begins_afterwards(database):
    with database.connect() as reader, reader.cursor() as cursor, opened(database.url) as source:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM items")
        changing = change(database, "ALTER TABLE items ADD COLUMN w int, ALGORITHM=COPY")
        query = source.table_query("items")
        threading.Timer(1, reader.rollback).start()
        with source.snapshot(query, 1) as snapshot:
            assert rows(source, query, snapshot) == ROWS
        changing.join(10)


def test_a_table_that_nobody_gets_is_not_waited_for_with_the_lock(database, monkeypatch):
    monkeypatch.setattr("rivet_core.builtin.sqlalchemy.mysql_snapshot._LOCK_SECONDS", 1)
    monkeypatch.setattr("rivet_core.builtin.sqlalchemy.mysql_snapshot._BRIEF_WAIT", "SET SESSION lock_wait_timeout = 1")
    database.execute("CREATE TABLE elsewhere (id int)")
    with database.connect() as reader, reader.cursor() as cursor, opened(database.url) as source:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM items")
        changing = change(database, "ALTER TABLE items ADD COLUMN w int, ALGORITHM=COPY")
        with pytest.raises(SourceUnavailable), source.snapshot(source.table_query("items"), 2):
            pass
        database.execute("INSERT INTO elsewhere VALUES (1)")
        cursor.execute("ROLLBACK")
        changing.join(10)
