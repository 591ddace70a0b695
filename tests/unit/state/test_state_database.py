"""How a state file is opened, and that whatever is wrong with it is one clear error that shows no password."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from rivet_core.api import Secret, StateError
from rivet_core.state import RunStart, StateStore, database, open_state, tables

START = RunStart("orders_1", "orders", "full", "file:///exports/orders/", datetime(2026, 11, 22, tzinfo=UTC))
URL = "sqlite:///state.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A state database with one run."""
    with open_state(URL, tmp_path) as store:
        record(store)
    return tmp_path / "state.db"


def record(store: StateStore) -> None:
    with store.acquire("orders") as lease:
        store.start_run(lease, START)


def refusal(url: Secret | str, base_dir: Path) -> StateError:
    with pytest.raises(StateError) as caught:
        open_state(url, base_dir)
    assert caught.value.hint
    return caught.value


def test_a_relative_file_starts_at_the_given_directory_and_uses_wal(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_commit_survives_a_power_failure_and_references_are_checked(file: Path) -> None:
    seen: set[tuple[int, int]] = set()

    def look(connection: sqlite3.Connection, record: object) -> None:
        values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "foreign_keys")]
        seen.add((values[0], values[1]))

    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "checkin", look)
    try:
        with open_state(URL, file.parent) as store:
            store.runs()
    finally:
        sqlalchemy.event.remove(sqlalchemy.pool.Pool, "checkin", look)
    assert seen == {(2, 1)}  # 2 is FULL


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("name,amount\n" * 1000)
    assert f"{tmp_path / 'state.db'} is damaged or no database" in refusal(URL, tmp_path).message
    assert (tmp_path / "state.db").read_text() == "name,amount\n" * 1000


def test_a_damaged_database(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff" * (size - 100))
    assert "is damaged" in refusal(URL, file.parent).message


def test_a_missing_directory(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal("sqlite:///missing/state.db", tmp_path).message


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal("sqlite:///.", tmp_path).message


def test_a_read_only_database_is_read_and_not_written(file: Path) -> None:
    with open_state(f"sqlite:///file:{file}?mode=ro&uri=true", file.parent) as store:
        assert [run.run_id for run in store.runs()] == ["orders_1"]
        with pytest.raises(StateError, match="is read-only") as caught:
            store.acquire("orders")
    assert "writable" in caught.value.hint


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_state_in_memory_keeps_nothing_apart(url: str, tmp_path: Path) -> None:
    assert "must be a file" in refusal(url, tmp_path).message


def test_a_url_that_is_none_shows_no_password(tmp_path: Path) -> None:
    error = refusal("postgres//user:correct-horse@host/db", tmp_path)
    assert "cannot be read" in error.message
    assert "correct-horse" not in repr(error) + error.hint


def test_an_engine_without_support(tmp_path: Path) -> None:
    assert "oracle" in refusal("oracle://user:correct-horse@host/db", tmp_path).message


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("postgresql://u:correct-horse@h/db", "psycopg", "rivet-core[postgres]"),
        ("mysql://u:correct-horse@h/db", "pymysql", "rivet-core[mysql]"),
    ],
)
def test_a_missing_driver_names_the_extra(
    url: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    error = refusal(Secret(url), tmp_path)
    assert "not installed" in error.message
    assert extra in error.hint


def test_an_unknown_driver(tmp_path: Path) -> None:
    assert "postgresql+nothing" in refusal("postgresql+nothing://u@h/db", tmp_path).message


def test_a_database_of_a_newer_release_is_refused_untouched(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE rivet_schema SET version = 99")
        connection.commit()
    error = refusal(URL, file.parent)
    assert "has schema 99" in error.message
    assert "upgrade" in error.hint


def test_a_database_of_an_older_release_is_migrated_step_by_step_and_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def add_column(version: int) -> Any:
        def migrate(connection: sqlalchemy.Connection) -> None:
            steps.append(version)
            connection.execute(sqlalchemy.text(f"ALTER TABLE rivet_run ADD COLUMN added_{version} INTEGER"))

        return migrate

    now = tables.SCHEMA_VERSION
    monkeypatch.setattr(tables, "SCHEMA_VERSION", now + 2)
    monkeypatch.setattr(database, "MIGRATIONS", {version: add_column(version) for version in (now + 1, now + 2)})
    for _ in range(2):
        with open_state(URL, file.parent) as store:
            assert [run.run_id for run in store.runs()] == ["orders_1"]
    assert steps == [now + 1, now + 2]


def test_a_failed_migration_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: sqlalchemy.Connection) -> None:
        connection.execute(sqlalchemy.text("DROP TABLE rivet_part"))
        connection.execute(sqlalchemy.text("SELECT * FROM missing"))

    following = tables.SCHEMA_VERSION + 1
    monkeypatch.setattr(tables, "SCHEMA_VERSION", following)
    monkeypatch.setattr(database, "MIGRATIONS", {following: fail})
    assert "lacks tables" in refusal(URL, file.parent).message
    monkeypatch.undo()
    with open_state(URL, file.parent) as store:
        assert store.parts("orders_1") == []


def test_a_database_that_another_program_locks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 0.2)
    with closing(sqlite3.connect(file)) as other, open_state(URL, file.parent) as store:
        other.execute("BEGIN IMMEDIATE")
        assert store.newest_run("orders") is not None  # readers do not wait for writers
        with pytest.raises(StateError, match="is locked") as caught:
            store.acquire("orders")
    assert "close the program" in caught.value.hint


def test_a_database_whose_tables_were_dropped(file: Path) -> None:
    with open_state(URL, file.parent) as store:
        with closing(sqlite3.connect(file)) as other:
            other.execute("DROP TABLE rivet_event")
        with pytest.raises(StateError, match="lacks tables"):
            store.events("orders_1")


def test_a_full_disk(tmp_path: Path) -> None:
    def no_room(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA max_page_count = 5")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", no_room)
    try:
        assert "has no room left" in refusal(URL, tmp_path).message
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", no_room)
    with open_state(URL, tmp_path) as store:
        record(store)
