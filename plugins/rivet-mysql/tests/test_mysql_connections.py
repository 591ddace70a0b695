"""Every way to get in that a server here offers, and every way in which a result can end too early."""

from __future__ import annotations

import getpass
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pymysql
import pytest
import sqlalchemy

from integration.source.both_sources import open_builtin, open_native, read
from rivet_core.api import DriverMissing, Query, RivetError, SourceContext, SourceDenied, SourceError
from rivet_mysql.config import MysqlConfig
from rivet_mysql.source import NativeSource, open_source
from servers.mariadb import Mariadb
from servers.mysql import Mysql

PASSWORD = "pä ss:/@%"
ONE = Query("SELECT 'é' AS x")


@contextmanager
def opened(url: str, **fields: object) -> Iterator[NativeSource]:
    """Open a source with further fields of its configuration."""
    with closing(open_source(MysqlConfig(url=url, **fields), SourceContext(Path("/")))) as source:
        assert isinstance(source, NativeSource)
        yield source


def whole(url: str, query: Query = ONE, **fields: object) -> list[dict[str, object]]:
    """Return the rows of a query."""
    with opened(url, **fields) as source, source.read(query, batch_bytes=1000) as stream:
        return [row for batch in stream for row in batch.to_pylist()]


def of_user(server: Mariadb, user: str, password: str = PASSWORD) -> str:
    """Return the URL for another user."""
    url = sqlalchemy.make_url(server.url).set(username=user, password=password)
    return url.render_as_string(hide_password=False)


def new_user(server: Mariadb, name: str, how: str) -> str:
    """Create a user that is identified in some way, and return the URL for it."""
    server.execute(
        f"DROP USER IF EXISTS {name}@'%'", f"CREATE USER {name}@'%' {how}", f"GRANT SELECT ON *.* TO {name}@'%'"
    )
    return of_user(server, name)


def need_plugin(server: Mariadb, name: str, install: str) -> None:
    """Load a plugin that the server has not loaded yet."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM information_schema.plugins WHERE plugin_name = %s", [name])
        if not cursor.fetchall():
            cursor.execute(install)


@pytest.mark.parametrize("plugin", ["caching_sha2_password", "sha256_password"])
@pytest.mark.parametrize("encrypted", [True, False])
def test_mysql_authenticates_by_sha2_encrypted_or_not(mysql: Mysql, plugin: str, encrypted: bool) -> None:
    url = new_user(mysql, "sha", f"IDENTIFIED WITH {plugin} BY '{PASSWORD}'")
    tls = {"mode": "verify-full", "ca_file": str(mysql.ca_file)} if encrypted else {"mode": "disable"}
    for _ in range(2):  # the second time it is in the server's cache
        assert whole(url, tls=tls) == [{"x": "é"}]
    with pytest.raises(SourceDenied):
        whole(of_user(mysql, "sha", "wrong"), tls=tls)
    with opened(url, tls=tls) as source:
        checks = {check.name: check for check in source.check()}
    assert ("off" in checks["source encryption"].message) is not encrypted


def test_mariadb_authenticates_by_its_native_password_and_by_ed25519(mariadb: Mariadb) -> None:
    need_plugin(mariadb, "ed25519", "INSTALL SONAME 'auth_ed25519'")
    for plugin in ("mysql_native_password", "ed25519"):
        url = new_user(mariadb, "other", f"IDENTIFIED VIA {plugin} USING PASSWORD('{PASSWORD}')")
        assert whole(url) == [{"x": "é"}]
        with pytest.raises(SourceDenied):
            whole(of_user(mariadb, "other", "wrong"))


def test_a_package_that_is_missing_to_authenticate_is_named(
    mariadb: Mariadb, mysql: Mysql, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_plugin(mariadb, "ed25519", "INSTALL SONAME 'auth_ed25519'")
    url = new_user(mariadb, "other", f"IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}')")
    monkeypatch.setattr(pymysql._auth, "_nacl_bindings", None)
    monkeypatch.setitem(sys.modules, "nacl", None)
    with pytest.raises(DriverMissing) as missing:
        whole(url)
    assert "pymysql[ed25519]" in missing.value.hint
    url = new_user(mysql, "new_here", f"IDENTIFIED BY '{PASSWORD}'")  # who is not in the server's cache
    monkeypatch.setattr(pymysql._auth, "_have_cryptography", False)
    with pytest.raises(DriverMissing) as missing:
        whole(url, tls={"mode": "disable"})
    assert "pymysql[rsa]" in missing.value.hint


def test_a_unix_socket_is_read_too(server: Mariadb) -> None:
    if isinstance(server, Mysql):
        need_plugin(server, "auth_socket", "INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'")
    way = "WITH auth_socket" if isinstance(server, Mysql) else "VIA unix_socket"
    me = getpass.getuser()
    server.execute(
        f"DROP USER IF EXISTS `{me}`@localhost",
        f"CREATE USER `{me}`@localhost IDENTIFIED {way}",
        f"GRANT SELECT ON *.* TO `{me}`@localhost",
    )
    try:
        assert whole(f"mysql+pymysql://{me}@/test?unix_socket={server.socket}") == [{"x": "é"}]
    finally:
        server.execute(f"DROP USER `{me}`@localhost")


@pytest.fixture(scope="module")
def numbers(server: Mariadb) -> Mariadb:
    """A database with the numbers from 1 to 20000, and a text beside each."""
    database = server.create_database()
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    database.execute(
        "CREATE TABLE digits (d int)",
        f"INSERT INTO digits {digits}",
        "CREATE TABLE numbers (n int PRIMARY KEY, s varchar(99))",
        "INSERT INTO numbers SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d, REPEAT('x', 99)"
        " FROM digits a, digits b, digits c, digits e, digits f WHERE f.d < 2",
    )
    return database


def test_the_server_is_named_and_every_check_is_well(numbers: Mariadb) -> None:
    with opened(numbers.url) as source:
        checks = {check.name: check for check in source.check()}
    assert {check.status for check in checks.values()} == {"ok"}
    name = "MySQL" if isinstance(numbers, Mysql) else "MariaDB"
    assert any(name in check.message for check in checks.values())


def test_a_value_of_more_than_a_packet(numbers: Mariadb) -> None:
    text = Query("SELECT n, REPEAT(n, IF(n = 2, 20000000, 9)) AS big FROM numbers WHERE n < 4 ORDER BY n")
    for open_source_ in (open_native, open_builtin):
        table = read(open_source_, numbers.url, text, max_value_bytes=30_000_000)
        assert table["big"].to_pylist() == ["1" * 9, "2" * 20_000_000, "3" * 9]


#: Stops at a row in the middle, where rows before it have been sent.
STALLS = "SELECT {hint} n, IF(n = 15000, SLEEP(600), 0) AS stalled, s FROM numbers ORDER BY n"


def failed(url: str, text: str, first: threading.Event | None = None) -> RivetError:
    """Read until an error comes, and return it.

    Args:
        first: set when the first rows are there.
    """
    with opened(url) as source, source.read(Query(text), batch_bytes=10_000) as stream:
        rows = 0
        try:
            for batch in stream:
                rows += batch.num_rows
                if first is not None:
                    first.set()
        except RivetError as error:
            assert rows < 20_000
            return error
    pytest.fail("the result has come to its end")


def test_a_killed_query_is_an_error_in_the_middle_of_its_result(numbers: Mariadb) -> None:
    begun = threading.Event()
    killed = threading.Event()

    def kill() -> None:
        begun.wait(60)
        with numbers.connect() as connection, connection.cursor() as cursor:
            while not killed.is_set():
                cursor.execute(
                    "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE '%stalled%'"
                    " AND id <> CONNECTION_ID()"
                )
                for (number,) in cursor.fetchall():
                    cursor.execute(f"KILL QUERY {number:d}")
                killed.wait(0.2)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        error = failed(numbers.url, STALLS.format(hint=""), begun)
    finally:
        begun.set()
        killed.set()
        killer.join()
    assert isinstance(error, SourceError)
    assert "somebody has ended the statement" in error.message


def test_the_servers_time_limit_is_an_error_in_the_middle_of_a_result(numbers: Mariadb) -> None:
    if isinstance(numbers, Mysql):
        error = failed(numbers.url, STALLS.format(hint="/*+ MAX_EXECUTION_TIME(1500) */"))
    else:
        url = new_user(numbers, "hasty", f"IDENTIFIED BY '{PASSWORD}' WITH MAX_STATEMENT_TIME 1.5")
        error = failed(url, STALLS.format(hint=""))
    assert "time limit" in error.message
