"""A MariaDB and a MySQL for all tests of the plugin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers.mariadb import Mariadb, mariadb_server
from servers.mysql import Mysql, mysql_server
from servers.required import serve


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    yield from serve(mariadb_server())


@pytest.fixture(scope="session")
def mysql() -> Iterator[Mysql]:
    yield from serve(mysql_server(), optional=True)


@pytest.fixture(scope="session", params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> Mariadb | Mysql:
    """Each of both."""
    running: Mariadb | Mysql = request.getfixturevalue(request.param)
    return running
