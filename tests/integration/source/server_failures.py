"""What every database server must do when it refuses, is not there, or goes away in the middle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from integration.source.open_source import read
from rivet_core.api import Query, QueryError, SourceDenied, SourceUnavailable
from servers.database import DatabaseServer
from servers.proxy import Drop, FaultProxy, Reset


def check_denied_and_unreachable(database: DatabaseServer) -> None:
    """Try a user without grants, ``guest`` with the password ``c4nary-guest``, and what does not exist."""
    guest = replace(database, user="guest", password="c4nary-guest")
    with pytest.raises(SourceDenied, match="denies the access"):
        read(guest.url, Query("SELECT * FROM items"))
    with pytest.raises(SourceDenied, match="user or the password") as caught:
        read(replace(guest, password="c4nary-wrong").url, Query("SELECT 1 AS x"))
    assert "c4nary" not in str(caught.value)
    with pytest.raises(SourceUnavailable):
        read(database.through(1).url, Query("SELECT 1 AS x"))
    with pytest.raises(QueryError, match="no database of this name"):
        read(replace(database, database="nowhere").url, Query("SELECT 1 AS x"))


def check_lost_connection(database: DatabaseServer, fault: Drop | Reset) -> None:
    """Break the connection while the table ``items`` is read."""
    with FaultProxy(database.port) as proxy:
        proxy.inject(fault)
        with pytest.raises(SourceUnavailable):
            read(database.through(proxy.port).url, "items", batch_bytes=10_000)
        assert proxy.fired
