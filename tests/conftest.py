"""Fixtures for every test: real database servers, started when a test first asks for one, and the original Rivet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.mariadb import Mariadb, mariadb_server
from servers.mysql import Mysql, mysql_server
from servers.postgres import Postgres, postgres_server
from servers.required import missing, serve


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted: ``record_property("counts", …)``."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "counts":
                terminalreporter.write_line(str(value))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL cluster; under pytest-xdist one for each worker."""
    yield from serve(postgres_server())


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    """A private MariaDB server; under pytest-xdist one for each worker."""
    yield from serve(mariadb_server())


@pytest.fixture(scope="session")
def mysql() -> Iterator[Mysql]:
    """A private MySQL server; no suite of Debian but sid has it, so its tests are skipped where it cannot be had."""
    yield from serve(mysql_server(), optional=True)


@pytest.fixture(scope="session")
def original_rivet() -> Path:
    """The original Rivet's program, which our prefixes must satisfy and whose prefixes we must understand."""
    default = Path(__file__).parent.parent / ".venvs/original/bin/rivet"
    program = Path(os.environ.get("RIVET_ORIGINAL", default))
    if not program.is_file():
        missing(f"the original Rivet is not installed at {program}: run make test, or set RIVET_ORIGINAL")
    return program
