"""Fixtures for every test: real database servers, started when a test first asks for one, and the original Rivet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from servers.mariadb import Mariadb, mariadb_server
from servers.postgres import Postgres, postgres_server
from servers.process import ServerMissing

Server = TypeVar("Server")


def _missing(what: str) -> NoReturn:
    """Fail where servers are required (``CI=true`` or ``RIVET_REQUIRE_SERVERS=1``), skip on a user's machine."""
    if os.environ.get("CI") == "true" or os.environ.get("RIVET_REQUIRE_SERVERS") == "1":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def _serve(server: AbstractContextManager[Server]) -> Iterator[Server]:
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except ServerMissing as missing:
            _missing(str(missing))
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL cluster; under pytest-xdist one for each worker."""
    yield from _serve(postgres_server())


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    """A private MariaDB server; under pytest-xdist one for each worker."""
    yield from _serve(mariadb_server())


@pytest.fixture(scope="session")
def original_rivet() -> Path:
    """The original Rivet's program, which our prefixes must satisfy and whose prefixes we must understand."""
    default = Path(__file__).parent.parent / ".venvs/original/bin/rivet"
    program = Path(os.environ.get("RIVET_ORIGINAL", default))
    if not program.is_file():
        _missing(f"the original Rivet is not installed at {program}: run make test, or set RIVET_ORIGINAL")
    return program
