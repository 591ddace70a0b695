"""A MariaDB for all tests of the plugin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers.mariadb import Mariadb, mariadb_server
from servers.required import serve


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    yield from serve(mariadb_server())
