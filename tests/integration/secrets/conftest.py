"""Accounts whose passwords are canaries."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from integration.failures.conftest import forks, mariadb_database, postgres_database, workspace  # noqa: F401
from integration.secrets.canary import Canary
from servers.database import DatabaseServer
from servers.mariadb import Mariadb
from servers.postgres import Postgres


@pytest.fixture
def canary() -> Canary:
    return Canary()


@pytest.fixture(params=["postgres", "mariadb"])
def account(request: pytest.FixtureRequest, canary: Canary) -> DatabaseServer:
    """A database with the table ``orders``, and a user of its own whose password is the canary."""
    return new_account(request.getfixturevalue(request.param), canary)


def new_account(server: Postgres | Mariadb, canary: Canary) -> DatabaseServer:
    database = server.create_database()
    user = f"user_{secrets.token_hex(4)}"
    database.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)", "INSERT INTO orders VALUES (1, 'new')")
    if isinstance(database, Postgres):
        database.execute(
            f"CREATE ROLE {user} LOGIN PASSWORD '{canary.value}'",
            f"GRANT SELECT ON orders TO {user}",
            f"GRANT CREATE, USAGE ON SCHEMA public TO {user}",
        )
    else:
        database.execute(
            f"CREATE USER {user}@'%' IDENTIFIED BY '{canary.value}'",
            f"GRANT ALL ON {database.database}.* TO {user}@'%'",
        )
    return replace(database, user=user, password=canary.value)
