"""A private PostgreSQL cluster for the tests of this folder, most of which need the native decoder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from servers.postgres import Postgres, postgres_server
from servers.required import serve

# Where tests may leave nothing out, those that miss the decoder fail.
LEFT_OUT = find_spec("rivet_postgres._decoder") is None and os.environ.get("CI") != "true"
collect_ignore = (
    [
        "test_postgres_conformance.py",
        "test_postgres_copying.py",
        "test_postgres_corpus.py",
        "test_postgres_decoder.py",
        "test_postgres_messages.py",
        "test_postgres_pieces.py",
        "test_postgres_relations.py",
        "test_postgres_silence.py",
        "test_postgres_source.py",
        "test_postgres_types.py",
        "test_postgres_values.py",
    ]
    if LEFT_OUT
    else []
)


def pytest_report_header() -> str:
    return "rivet-postgres: the native decoder is not built, its tests are left out" if LEFT_OUT else ""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    yield from serve(postgres_server())


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small tables be read in several pieces, too."""
    from rivet_postgres import pages

    monkeypatch.setattr(pages, "_MIN_PIECE_PAGES", 1)
