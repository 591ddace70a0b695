"""A full export reads a large table by several connections that see one instant, and is still one dataset."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow.parquet
import pytest

from integration.consistency.bank import ACCOUNTS, MONEY, Bank
from rivet_core.api import StorageFull
from rivet_core.engine import tries
from rivet_core.engine.writing.recording import StateJournal
from rivet_core.plugins import discover
from rivet_local.objects import LocalWriter
from rivet_postgres import pages, source
from servers.postgres import Postgres


class PostgresBank(Bank):
    """A bank whose accounts are exported as a whole, natively."""

    def __init__(self, server: Postgres, directory: Path) -> None:
        super().__init__(server, directory)
        self.registry = discover({"RIVET_PLUGINS": "local,postgres"})

    def configure_full(self, *fields: str) -> None:
        self.configure(*fields)
        path = self.directory / "rivet.yaml"
        path.write_text(path.read_text().replace("mode: chunked", "mode: full"))

    def end_transaction(self, snapshot: str) -> None:
        """End the session that has exported a snapshot; its identifier begins with the transaction's own."""
        backend, transaction, _ = (int(number, 16) for number in snapshot.split("-"))
        with self.server.connect() as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE virtualxid = %s AND granted",
                (f"{backend}/{transaction}",),
            ).fetchall()
        assert ended == [(True,)]

    def connections(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Return the queries that are read from now on."""
        read: list[str] = []
        original = source.NativeSource.read

        def recorded(self, query, **options):
            read.append(query.text)
            return original(self, query, **options)

        monkeypatch.setattr(source.NativeSource, "read", recorded)
        return read


@pytest.fixture
def bank(postgres: Postgres, tmp_path: Path) -> PostgresBank:
    return PostgresBank(postgres, tmp_path)


def test_two_connections_read_a_large_table_by_default(bank, monkeypatch):
    bank.configure_full()
    read = bank.connections(monkeypatch)
    result = bank.run(validate=True)
    assert result.error is None, result.error
    assert (len(read), result.parts) == (2, 2)
    manifest = bank.manifest()
    assert manifest["source"]["consistency"] == "snapshot"
    assert manifest["source"]["extraction"]["strategy"] == "full"
    assert [part.get("range") for part in manifest["parts"]] == [None, None]
    assert bank.exported() == bank.accounts()
    keys = [
        key
        for part in manifest["parts"]
        for key in pyarrow.parquet.read_table(bank.out / part["path"])["id"].to_pylist()
    ]
    assert keys == sorted(keys)  # as the table has them
    assert bank.sessions() == 0


@pytest.mark.parametrize(("parallel", "parts"), [(1, 1), (3, 3)])
def test_as_many_connections_as_the_export_says(bank, monkeypatch, parallel, parts):
    bank.configure_full(f"parallel: {parallel}")
    read = bank.connections(monkeypatch)
    assert bank.run().rows == ACCOUNTS
    assert len(read) == len(bank.manifest()["parts"]) == parts


def test_a_small_table_is_one_part(bank, monkeypatch):
    monkeypatch.setattr(pages, "_MIN_PIECE_PAGES", 1000)
    bank.configure_full("parallel: 4")
    assert bank.run().rows == ACCOUNTS
    assert len(bank.manifest()["parts"]) == 1


def test_an_empty_table_and_a_query_are_one_part(bank):
    bank.configure_full()
    path = bank.directory / "rivet.yaml"
    text = path.read_text()
    path.write_text(text.replace("table: accounts", "query: SELECT * FROM accounts WHERE id > 0"))
    assert bank.run().rows == ACCOUNTS
    assert len(bank.manifest()["parts"]) == 1
    bank.server.execute("TRUNCATE accounts")
    path.write_text(text)
    assert bank.run().rows == 0
    assert len(bank.manifest()["parts"]) == 1


def test_all_pieces_show_one_instant_while_writers_are_at_work(bank):
    bank.configure_full("parallel: 3")
    with bank.open_for_business():
        for _ in range(3):
            result = bank.run()
            assert result.error is None, result.error
            exported = bank.exported()
            assert (len(exported), sum(exported.values())) == (ACCOUNTS, MONEY)
    assert bank.commits > 0
    assert bank.sessions() == 0


def lose_the_instant(bank, monkeypatch: pytest.MonkeyPatch, *, times: int) -> list[object]:
    """End the transaction that holds the instant, so often: when one piece has been read and another has not begun.

    Returns:
        The snapshots that were read, one for each read.
    """
    read, finished = source.NativeSource.read, StateJournal.finished
    seen: list[object] = []
    one_is_read = threading.Event()
    counting = threading.Lock()

    def losing(self, query, *, snapshot=None, **options):
        with counting:
            seen.append(snapshot)
            last = len(seen) % 2 == 0
        if last and len(seen) <= 2 * times:
            assert one_is_read.wait(60)
            one_is_read.clear()
            bank.end_transaction(snapshot.identifier)
            bank.server.execute("UPDATE accounts SET amount = amount + 1 WHERE id % 2000 = 0")
        return read(self, query, snapshot=snapshot, **options)

    def noted(self, chunk, attempt):
        finished(self, chunk, attempt)
        one_is_read.set()

    monkeypatch.setattr(source.NativeSource, "read", losing)
    monkeypatch.setattr(StateJournal, "finished", noted)
    monkeypatch.setattr(tries, "_FIRST_WAIT_SECONDS", 0.01)
    return seen


def test_all_pieces_are_read_again_where_their_instant_is_lost(bank, monkeypatch):
    before = bank.accounts()
    bank.configure_full("quality: {row_count_max: 2000, unique_columns: [id]}")
    seen = lose_the_instant(bank, monkeypatch, times=1)
    result = bank.run(validate=True, reconcile=True)
    assert result.error is None, result.error
    assert [snapshot is seen[0] for snapshot in seen] == [True, True, False, False]
    assert seen[2] is seen[3]
    assert bank.exported() == bank.accounts() != before
    assert (result.rows, result.parts, result.new_rows) == (ACCOUNTS, 2, ACCOUNTS)
    assert bank.manifest()["source"]["consistency"] == "snapshot"
    (warning,) = result.warnings
    assert "all rows are read again" in warning
    listed = {part["path"] for part in bank.manifest()["parts"]}
    assert {path.name for path in bank.out.glob("part-*")} == listed
    (lost,) = bank.out.glob(f"_quarantine/{result.run_id}/part-*")
    assert lost.name not in listed
    assert bank.sessions() == 0


def test_a_table_that_inherits_since_the_pieces_were_cut_is_read_too(bank, monkeypatch):
    bank.configure_full()
    split = source.NativeSource.split

    def late(self, query, n):
        pieces = split(self, query, n)
        if not made:
            made.append(query)
            bank.server.execute("CREATE TABLE more () INHERITS (accounts)", "INSERT INTO more VALUES (-1, 5)")
        return pieces

    made: list[object] = []
    monkeypatch.setattr(source.NativeSource, "split", late)
    monkeypatch.setattr(tries, "_FIRST_WAIT_SECONDS", 0.01)
    result = bank.run(validate=True, reconcile=True)
    assert result.error is None, result.error
    assert (result.rows, result.new_rows) == (ACCOUNTS + 1, ACCOUNTS + 1)
    assert bank.exported()[-1] == 5
    (warning,) = result.warnings
    assert "all rows are read again" in warning


def test_a_run_whose_instant_is_lost_again_and_again_fails(bank, monkeypatch):
    bank.configure_full()
    seen = lose_the_instant(bank, monkeypatch, times=tries.STARTS)
    result = bank.run()
    assert result.error is not None
    assert (result.error.code, len(seen)) == ("R309", 2 * tries.STARTS)
    assert len(result.warnings) == tries.STARTS - 1
    assert not (bank.out / "_SUCCESS").exists()
    monkeypatch.undo()
    result = bank.run(resume=True)
    assert result.error is None, result.error
    assert bank.exported() == bank.accounts()
    assert bank.sessions() == 0


def test_a_crash_after_starting_over_leaves_nothing_of_the_lost_instant_to_resume(bank, monkeypatch):
    bank.configure_full()
    with monkeypatch.context() as failing:
        lose_the_instant(bank, failing, times=1)
        fail_commits(failing, after=3)  # one part of the lost instant and both of the next; then the manifest
        assert bank.run().error.code == "R410"
    before = bank.accounts()
    bank.server.execute("UPDATE accounts SET amount = amount + 1")
    result = bank.run(resume=True, validate=True)
    assert result.error is None, result.error
    assert result.rows == ACCOUNTS
    assert bank.exported() == before


def fail_commits(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    commit, done = LocalWriter.commit, []

    def failing(self):
        if len(done) >= after:
            raise StorageFull("the disk is full")
        done.append(self)
        return commit(self)

    monkeypatch.setattr(LocalWriter, "commit", failing)


def test_a_resume_keeps_all_pieces_or_none(bank, monkeypatch):
    """Half of the pieces are of an instant that is gone."""
    bank.configure_full()
    with monkeypatch.context() as failing:
        fail_commits(failing, after=1)
        assert bank.run().error.code == "R410"
    bank.server.execute("UPDATE accounts SET amount = amount + 1")
    read = bank.connections(monkeypatch)
    result = bank.run(resume=True)
    assert result.error is None, result.error
    assert len(read) == 2
    assert bank.exported() == bank.accounts()
    assert bank.manifest()["source"]["consistency"] == "snapshot"


def test_a_resume_after_the_last_piece_reads_nothing(bank, monkeypatch):
    bank.configure_full()
    before = bank.accounts()
    with monkeypatch.context() as failing:
        fail_commits(failing, after=2)  # the manifest is the third object
        assert bank.run().error is not None
    bank.server.execute("UPDATE accounts SET amount = amount + 1")
    read = bank.connections(monkeypatch)
    result = bank.run(resume=True)
    assert result.error is None, result.error
    assert read == []
    assert bank.exported() == before
