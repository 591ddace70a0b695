"""All chunks of a snapshot run show one instant, whatever is written meanwhile; nothing of it stays on the server."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration.consistency.bank import ACCOUNTS, AMOUNT, MONEY, Bank
from rivet_core.api import StorageFull, Transient
from rivet_core.builtin.sqlalchemy import mysql_snapshot
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.engine import tries
from rivet_local.objects import LocalWriter
from servers.proxy import FaultProxy, Latency

SNAPSHOT = ("chunk_size: 100", "parallel: 4", "consistency: snapshot")


def write_before_every_read(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From the first planning query on, change every account, take one away and add one, again and again."""
    written: list[int] = []
    one_at_a_time = threading.Lock()  # workers that write at once would wait for each other's rows in a circle

    def writing(method: Any) -> Any:
        def changed(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
            with one_at_a_time:
                number = len(written) + 1
                written.append(number)
                bank.server.execute(
                    "UPDATE accounts SET amount = amount + 1",
                    f"DELETE FROM accounts WHERE id = {number * 7000}",
                    f"INSERT INTO accounts VALUES ({number * 9000 + 1}, 5, 'new'), ({number - 10_000}, 5, 'low')",
                )
            return method(self, *args, **kwargs)

        return changed

    monkeypatch.setattr(SqlalchemySource, "fetch", writing(SqlalchemySource.fetch))
    monkeypatch.setattr(SqlalchemySource, "read", writing(SqlalchemySource.read))
    return written


@pytest.mark.parametrize("parallel", [1, 4])
def test_the_dataset_is_the_table_as_it_was_when_the_run_began(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    bank.configure("chunk_size: 100", f"parallel: {parallel}", "consistency: snapshot")
    before = bank.accounts()
    written = write_before_every_read(bank, monkeypatch)
    result = bank.run(validate=True)
    assert result.error is None, result.error
    assert len(written) > ACCOUNTS / 100
    assert bank.exported() == before != bank.accounts()
    source = bank.manifest()["source"]
    assert source["consistency"] == "snapshot"
    assert (source["extraction"]["cursor_low"], source["extraction"]["cursor_high"]) == ("1000", str(1000 * ACCOUNTS))
    assert bank.sessions() == 0


def test_writers_at_work_are_seen_at_one_instant(bank: Bank) -> None:
    bank.configure(*SNAPSHOT)
    with bank.open_for_business():
        for _ in range(3):
            while (commits := bank.commits) == 0:
                time.sleep(0.01)
            result = bank.run(validate=True)
            assert result.error is None, result.error
            assert bank.commits > commits + 10, "nobody wrote"
            exported = bank.exported()
            assert (len(exported), sum(exported.values())) == (ACCOUNTS, MONEY)
    assert sum(bank.accounts().values()) == MONEY
    assert bank.sessions() == 0


def test_a_chunk_that_is_read_again_shows_the_same_instant(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    bank.configure("chunk_size: 1000", "parallel: 2", "consistency: snapshot", "format: csv", "compression: none")
    bank.server.execute("UPDATE accounts SET note = repeat('y', 200)")
    lost: list[object] = []
    write = LocalWriter.write

    def lose(self: LocalWriter, data: Any) -> Any:
        if len(lost) < 3:
            lost.append(self)
            raise Transient("the connection was reset")
        return write(self, data)

    monkeypatch.setattr(LocalWriter, "write", lose)
    written = write_before_every_read(bank, monkeypatch)
    result = bank.run(validate=True)
    assert result.error is None, result.error
    assert len(lost) == 3
    assert len(written) >= 5
    assert len(result.warnings) == 3
    exported = (bank.out / bank.manifest()["parts"][0]["path"]).read_text().splitlines()
    assert len(exported) == 1001
    assert all(f",{AMOUNT}," in line for line in exported[1:])
    assert bank.sessions() == 0


def test_nothing_stays_on_the_server_after_a_failure(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LocalWriter) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(LocalWriter, "commit", fail)
    bank.configure(*SNAPSHOT)
    result = bank.run()
    assert result.error is not None
    assert result.error.code == "R410"
    assert bank.sessions() == 0
    bank.server.execute("UPDATE accounts SET amount = 0", "DROP TABLE accounts")


def test_nothing_stays_on_the_server_after_an_interrupt(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: LocalWriter) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalWriter, "commit", interrupt)
    bank.configure("chunk_size: 100", "parallel: 1", "consistency: snapshot")
    assert bank.run().status == "interrupted"
    assert bank.sessions() == 0
    bank.server.execute("DROP TABLE accounts")


def kill_views(bank: Bank, monkeypatch: pytest.MonkeyPatch, *, times: int) -> list[object]:
    """End all sessions at the third read of each start, so often, and let all rows change; return the reads."""
    read = SqlalchemySource.read
    reads: list[object] = []

    def killing(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
        reads.append(args)
        if len(reads) % 3 == 0 and len(reads) <= 3 * times:
            kill_sessions(bank)
            bank.server.execute("UPDATE accounts SET amount = amount + 1")
        return read(self, *args, **kwargs)

    monkeypatch.setattr(SqlalchemySource, "read", killing)
    monkeypatch.setattr(tries, "_FIRST_WAIT_SECONDS", 0.01)
    bank.configure("chunk_size: 100", "parallel: 1", "consistency: snapshot")
    return reads


def test_all_chunks_are_read_again_under_a_new_view_where_the_view_dies(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = kill_views(bank, monkeypatch, times=1)
    result = bank.run(validate=True)
    assert result.error is None, result.error
    assert len(reads) == 3 + 20
    assert bank.exported() == bank.accounts()
    assert (result.rows, result.parts) == (ACCOUNTS, 20)
    assert set(bank.exported().values()) == {AMOUNT + 1}
    assert bank.manifest()["source"]["consistency"] == "snapshot"
    assert len(result.warnings) == 1
    assert "all rows are read again" in result.warnings[0]
    assert len(list(bank.out.glob("_quarantine/*/part-*"))) == 2
    assert bank.sessions() == 0


def test_a_run_whose_view_dies_again_and_again_fails(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = kill_views(bank, monkeypatch, times=tries.STARTS)
    result = bank.run()
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("R309", 1)
    assert "snapshot" in result.error.message
    assert len(reads) == 3 * tries.STARTS
    assert not (bank.out / "_SUCCESS").exists()
    assert bank.sessions() == 0


def kill_sessions(bank: Bank) -> None:
    """End every session of Rivet's on the server, as an administrator does."""
    if bank.server.driver.startswith("postgresql"):
        bank.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'rivet' AND datname = current_database()"
        )
        return
    with bank.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_the_lock_goes_whatever_ends_the_moment(
    mariadb_bank: Bank, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    execute = mysql_snapshot._execute
    locked: list[int] = []

    def fail(connection: Any, statement: str) -> None:
        if statement.startswith("START TRANSACTION"):
            locked.append(mariadb_bank.sessions())
            raise error
        execute(connection, statement)

    monkeypatch.setattr(mysql_snapshot, "_execute", fail)
    mariadb_bank.configure(*SNAPSHOT)
    result = mariadb_bank.run()
    assert result.status == ("interrupted" if error is KeyboardInterrupt else "failed")
    assert locked
    assert mariadb_bank.sessions() == 0
    mariadb_bank.server.execute("SET lock_wait_timeout = 1", "UPDATE accounts SET amount = 0")


def test_a_lock_that_cannot_be_had_is_given_up_and_lets_writers_go_on(
    mariadb_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_snapshot, "_LOCK_SECONDS", 1)
    mariadb_bank.configure(*SNAPSHOT)
    with mariadb_bank.server.connect() as holder, holder.cursor() as cursor:
        cursor.execute("CREATE TABLE busy (id int)")
        cursor.execute("LOCK TABLES busy WRITE")
        result = mariadb_bank.run()
        assert result.error is not None
        assert (result.error.code, result.error.exit_code) == ("R302", 1)
        assert "could not be had in 1 s" in result.error.message
        assert "parallel: 1" in result.error.hint
        mariadb_bank.server.execute("SET lock_wait_timeout = 5", "INSERT INTO accounts VALUES (7, 7, 'goes on')")
    assert mariadb_bank.sessions() == 0


def test_rows_cannot_vanish_from_the_view(postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRUNCATE does not keep rows for those who still see them; it has to wait."""
    fetch = SqlalchemySource.fetch
    refused: list[str] = []

    def truncating(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
        with postgres_bank.server.connect() as connection:
            connection.execute("SET lock_timeout = 100")
            try:
                connection.execute("TRUNCATE accounts")
            except Exception as error:  # noqa: BLE001
                refused.append(type(error).__name__)
        return fetch(self, *args, **kwargs)

    monkeypatch.setattr(SqlalchemySource, "fetch", truncating)
    postgres_bank.configure(*SNAPSHOT)
    assert postgres_bank.run().rows == ACCOUNTS
    assert set(refused) == {"LockNotAvailable"}
    postgres_bank.server.execute("TRUNCATE accounts")


def test_several_workers_need_the_grant_for_the_lock(mariadb_bank: Bank) -> None:
    server = mariadb_bank.server
    user = f"reader_{server.database[-6:]}"
    server.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'q4Zr9tWe'", f"GRANT SELECT ON *.* TO {user}@'%'")
    url = replace(server, user=user, password="q4Zr9tWe").url
    mariadb_bank.configure(*SNAPSHOT, url=url)
    result = mariadb_bank.run()
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("R303", 2)
    assert "RELOAD" in result.error.hint
    assert "per_chunk" in result.error.hint
    mariadb_bank.configure("chunk_size: 100", "parallel: 1", "consistency: snapshot", url=url)
    assert mariadb_bank.run().rows == ACCOUNTS
    server.execute(f"GRANT RELOAD ON *.* TO {user}@'%'")
    mariadb_bank.configure(*SNAPSHOT, url=url)
    assert mariadb_bank.run().rows == ACCOUNTS


@pytest.mark.parametrize("view", ["accounts", "seen"])
def test_tables_without_versions_are_refused(mariadb_bank: Bank, view: str) -> None:
    server = mariadb_bank.server
    server.execute("CREATE VIEW seen AS SELECT * FROM accounts", "CREATE TABLE account (id int) ENGINE = MyISAM")
    mariadb_bank.configure(*SNAPSHOT, "chunk_column: id")
    assert mariadb_bank.run().rows == ACCOUNTS
    server.execute("ALTER TABLE accounts ENGINE = Aria")
    path = mariadb_bank.directory / "rivet.yaml"
    path.write_text(path.read_text().replace("table: accounts", f"table: {view}"))
    result = mariadb_bank.run()
    assert result.error is not None
    assert "accounts (Aria)" in result.error.message
    assert result.error.exit_code == 2


def test_foreign_tables_are_refused(postgres_bank: Bank) -> None:
    postgres_bank.server.execute(
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE outside (id bigint) SERVER files OPTIONS (filename '/dev/null')",
        "CREATE VIEW seen AS SELECT id FROM accounts UNION ALL SELECT id FROM outside",
    )
    postgres_bank.configure(*SNAPSHOT, "chunk_column: id")
    path = postgres_bank.directory / "rivet.yaml"
    path.write_text(path.read_text().replace("table: accounts", "table: seen"))
    result = postgres_bank.run()
    assert result.error is not None
    assert result.error.message.endswith("foreign tables: outside")


def test_a_database_without_such_a_view_is_refused_with_the_reason(tmp_path: Any) -> None:
    from unit.engine.shop import Shop

    shop = Shop(tmp_path)
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    export = "name: orders, table: orders, mode: chunked, destination: {type: local, path: out}"
    shop.configure(f"{{{export}, consistency: snapshot}}")
    result = shop.run()
    assert result.error is not None
    assert (result.error.exit_code, "sqlite has no view" in result.error.message) == (2, True)
    assert "per_chunk" in result.error.hint
    assert shop.parts() == []


def test_a_signal_in_the_middle_leaves_nothing_on_the_server(bank: Bank) -> None:
    with FaultProxy(bank.server.port) as proxy:
        proxy.inject(Latency(0.1))
        bank.configure(
            "chunk_size: 20", "parallel: 3", "consistency: snapshot", url=bank.server.through(proxy.port).url
        )
        program = str(Path(sys.executable).with_name("rivet"))
        with subprocess.Popen(
            [program, "run"], cwd=bank.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            deadline = time.monotonic() + 60
            while not list(bank.out.glob("part-*")) or bank.sessions() < 2:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert "R901" in shown
    deadline = time.monotonic() + 10
    while bank.sessions() and time.monotonic() < deadline:
        time.sleep(0.05)  # the server needs a moment to notice
    assert bank.sessions() == 0
    bank.server.execute("DROP TABLE accounts")
