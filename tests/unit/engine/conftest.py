"""What the engine's tests work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivet_core.engine import tries
from rivet_local.destination import LocalDestination
from unit.engine.shop import Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)
    return Shop(tmp_path)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_FIRST_WAIT_SECONDS", 0.001)


@pytest.fixture
def store(tmp_path: Path) -> LocalDestination:
    """A destination of its own."""
    return LocalDestination(tmp_path / "store")
