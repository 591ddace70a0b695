"""Published prefixes to damage: exported once, copied for every test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import crash.conftest
from integration.corruption.published import Published, publish

Publish = Callable[..., Published]

memory_disk = crash.conftest.memory_disk


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Published]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RIVET_STATE_URL", raising=False)
        return {suffix: publish(tmp_path_factory.mktemp(suffix), suffix) for suffix in ("parquet", "csv")}


@pytest.fixture
def published(templates: dict[str, Published], memory_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Return a function that gives a published prefix of its own to the test."""
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)

    def copy(suffix: str = "parquet") -> Published:
        shutil.copytree(templates[suffix].directory, memory_disk / "shop")
        return Published(memory_disk / "shop")

    return copy
