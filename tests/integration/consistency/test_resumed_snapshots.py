"""A snapshot cannot be taken up again: its run starts anew, or says that it mixes two instants."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from integration.consistency.bank import ACCOUNTS, Bank
from integration.consistency.test_snapshot_runs import kill_views
from rivet_core.api import QueryError
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource

READ = SqlalchemySource.read
CHUNKS = ACCOUNTS // 100


@pytest.fixture
def died(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """A bank whose snapshot run has failed after three chunks, and whose accounts have changed since."""
    bank.configure("chunk_size: 100", "consistency: snapshot")
    with monkeypatch.context() as patch:
        reads = itertools.count(1)

        def read(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
            if next(reads) > 3:
                raise QueryError("the database refuses")
            return READ(self, *args, **kwargs)

        patch.setattr(SqlalchemySource, "read", read)
        assert bank.run().error is not None
    bank.server.execute("UPDATE accounts SET amount = amount + 1")
    return bank


def decisions(result: Any) -> dict[str, int]:
    names = [item["decision"] for item in result.decisions]
    return {name: names.count(name) for name in sorted(set(names))}


def test_a_resume_reads_everything_anew(died: Bank) -> None:
    result = died.run(resume=True, validate=True)
    assert result.error is None, result.error
    assert result.resumes
    assert decisions(result) == {}
    assert died.exported() == died.accounts()
    assert died.manifest()["source"]["consistency"] == "snapshot"
    assert len(result.quarantined) == 3


def test_a_mixed_resume_keeps_what_is_finished_and_says_so(died: Bank) -> None:
    planned = died.run(resume=True, mixed=True, dry_run=True)
    result = died.run(resume=True, mixed=True, validate=True)
    assert result.error is None, result.error
    assert decisions(planned) == decisions(result) == {"skip": 3, "write": CHUNKS - 3}
    assert died.manifest()["source"]["consistency"] == "mixed"
    now = died.accounts()
    old = [number for number, amount in died.exported().items() if amount == now[number] - 1]
    assert len(old) == 300
    assert len(died.exported()) == ACCOUNTS


def test_a_mixed_resume_whose_view_dies_keeps_what_was_finished_before(
    died: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = kill_views(died, monkeypatch, times=1)
    result = died.run(resume=True, mixed=True, validate=True)
    assert result.error is None, result.error
    assert len(reads) == 3 + CHUNKS - 3
    assert (result.rows, result.parts) == (ACCOUNTS, CHUNKS)
    assert died.manifest()["source"]["consistency"] == "mixed"
    now = died.accounts()
    assert sum(amount == now[number] - 2 for number, amount in died.exported().items()) == 300
    assert sum(amount == now[number] for number, amount in died.exported().items()) == ACCOUNTS - 300


def test_another_consistency_is_another_export(died: Bank) -> None:
    died.configure("chunk_size: 100", "consistency: per_chunk")
    result = died.run(resume=True)
    assert result.error is not None
    assert result.error.exit_code == 2
    assert "consistency (was snapshot, is per_chunk)" in result.error.message
