"""A full export reads a large table by several connections that see one instant, and is still one dataset."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest

from integration.consistency.bank import ACCOUNTS, MONEY, Bank
from rivet_core.api import StorageFull
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
