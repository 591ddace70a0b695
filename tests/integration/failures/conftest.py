"""Directories to run ``rivet`` in: empty ones, and ones whose prefix has a published dataset."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.failures.command import Workspace, sqlite_table
from integration.failures.forked import ForkServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres

#: The rows of the dataset that is published already.
OLD_ROWS = [{"id": 1, "note": "old"}, {"id": 2, "note": "older"}]


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("forks")) as server:
        yield server


@pytest.fixture(scope="session")
def published_template(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("published"), forks)
    sqlite_table(
        workspace.directory / "shop.db",
        "CREATE TABLE orders (id INTEGER NOT NULL, note TEXT)",
        "INSERT INTO orders VALUES (1, 'old'), (2, 'older')",
    )
    workspace.configure({"type": "sqlite", "database": "shop.db"}, {"table": "orders"})
    workspace.rivet("run").succeeded()
    assert workspace.rows() == OLD_ROWS
    return workspace.directory


@pytest.fixture
def workspace(tmp_path: Path, forks: ForkServer) -> Iterator[Workspace]:
    """An empty directory."""
    workspace = Workspace(tmp_path, forks)
    yield workspace
    workspace.kill_programs()


@pytest.fixture
def published(published_template: Path, tmp_path: Path, forks: ForkServer) -> Iterator[Workspace]:
    """A directory with a SQLite database ``shop.db`` and a dataset of it in ``out``."""
    directory = tmp_path / "workspace"
    shutil.copytree(published_template, directory)
    workspace = Workspace(directory, forks)
    yield workspace
    workspace.kill_programs()


@pytest.fixture(scope="session")
def postgres_database(postgres: Postgres) -> Postgres:
    """A database with the tables ``orders`` and ``nothing``, which has no columns."""
    database = postgres.create_database()
    database.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, note text)",
        "INSERT INTO orders VALUES (1, 'new')",
        "CREATE TABLE nothing ()",
    )
    return database


@pytest.fixture(scope="session")
def mariadb_database(mariadb: Mariadb) -> Mariadb:
    """A database with the table ``orders``."""
    database = mariadb.create_database()
    database.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)", "INSERT INTO orders VALUES (1, 'new')")
    return database


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def engine_source(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The section ``source`` of one engine after the other; each database has a table ``orders``."""
    if request.param == "sqlite":
        path = tmp_path / "engine.db"
        sqlite_table(
            path, "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)", "INSERT INTO orders VALUES (1, 'new')"
        )
        return {"type": "sqlite", "database": str(path)}
    server = request.getfixturevalue(f"{request.param}_database")
    return {"type": request.param, "url": server.url}
