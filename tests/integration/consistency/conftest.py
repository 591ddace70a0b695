"""A bank on each database server."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.consistency.bank import Bank


@pytest.fixture(params=["postgres", "mariadb"])
def bank(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    return Bank(request.getfixturevalue(request.param), tmp_path)


@pytest.fixture
def postgres_bank(postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    return Bank(postgres, tmp_path)


@pytest.fixture
def mariadb_bank(mariadb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    return Bank(mariadb, tmp_path)
