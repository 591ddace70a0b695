"""Rows are read past libpq, or by it, and libpq knows afterwards what it has to: errors, notices, the transaction."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg.pq import TransactionStatus

from rivet_core.api import Query, SourceContext
from rivet_postgres import copying
from rivet_postgres._decoder import Decoder
from rivet_postgres.config import PostgresConfig
from rivet_postgres.copying import Copier
from rivet_postgres.fields import Field, Kind
from rivet_postgres.libpq import is_plain
from rivet_postgres.source import open_source
from servers.certificate import new_certificate
from servers.postgres import Postgres, postgres_server
from servers.process import unprivileged_user
from servers.proxy import Drop, FaultProxy, Reset
from servers.required import serve

WAYS = ["past libpq", "through libpq"]
ROWS = "SELECT i, repeat('x', 1000) FROM generate_series(1, 5000) AS i"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let everything be read in one of the two ways, and in no other."""
    other = "_through_libpq" if request.param == "past libpq" else "_past_libpq"
    if request.param == "through libpq":
        monkeypatch.setattr(copying, "is_plain", lambda pgconn: False)
    monkeypatch.delattr(Copier, other)
    return str(request.param)


@pytest.fixture
def connection(postgres: Postgres, way: str) -> Iterator[psycopg.Connection[Any]]:
    with postgres.connect() as connection:
        yield connection


def copied(connection: psycopg.Connection[Any], query: str, *, batch_bytes: int = 100_000) -> list[tuple[int, bytes]]:
    """Return the rows of a query of an integer and a text."""
    decoder = Decoder([Field(Kind.WORD32), Field(Kind.BYTES)], batch_bytes)
    copier = Copier(connection, read_timeout=10)
    batches = list(copier.batches(f"COPY ({query}) TO STDOUT (FORMAT binary)", decoder))
    batches += filter(None, [decoder.finish()])
    found: list[tuple[int, bytes]] = []
    for rows in batches:
        first, second = rows.columns
        numbers = pa.Array.from_buffers(pa.int32(), rows.count, [first.validity, first.data])
        texts = pa.Array.from_buffers(pa.binary(), rows.count, [second.validity, second.offsets, second.data])
        found += zip(numbers.to_pylist(), texts.to_pylist(), strict=True)
    return found


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_rows_come_and_the_connection_is_ready_for_more(connection, count):
    for _ in range(2):
        rows = copied(connection, f"SELECT i, repeat('x', i % 700) FROM generate_series(1, {count}) AS i")
        assert rows == [(i, b"x" * (i % 700)) for i in range(1, count + 1)]
        assert connection.info.transaction_status == TransactionStatus.IDLE
        assert connection.execute("SELECT 7").fetchone() == (7,)


def test_an_error_between_the_rows_is_the_servers_own(connection):
    with pytest.raises(psycopg.errors.DivisionByZero):
        copied(connection, "SELECT 1 / (5000 - i), repeat('x', 1000) FROM generate_series(1, 9999) AS i")
    assert copied(connection, "SELECT 1, 'a'") == [(1, b"a")]


def test_an_error_before_the_rows_ends_the_transaction(connection):
    connection.autocommit = False
    assert copied(connection, "SELECT 1, 'a'") == [(1, b"a")]
    assert connection.info.transaction_status == TransactionStatus.IDLE  # no one has begun one
    connection.execute("SELECT 1")
    with pytest.raises(psycopg.errors.UndefinedTable):
        copied(connection, "SELECT 1, 'a' FROM nowhere")
    assert connection.info.transaction_status == TransactionStatus.INERROR
    connection.rollback()
    connection.execute("SELECT 1")
    assert copied(connection, "SELECT 1, 'a'") == [(1, b"a")]
    assert connection.info.transaction_status == TransactionStatus.INTRANS


@pytest.mark.parametrize(("count", "size"), [(3, 10), (3000, 100), (2, 500_000)])
def test_notices_between_the_rows_are_heard_in_order(connection, count, size):
    heard: list[str] = []
    connection.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
    connection.execute(
        "CREATE OR REPLACE FUNCTION tell(i int, size int) RETURNS text LANGUAGE plpgsql AS "
        "$$BEGIN RAISE NOTICE '% %', i, repeat('n', size); RETURN 'told'; END$$"
    )
    rows = copied(connection, f"SELECT i, tell(i, {size}) FROM generate_series(1, {count}) AS i")
    assert rows == [(i, b"told") for i in range(1, count + 1)]
    assert heard == [f"{i} {'n' * size}" for i in range(1, count + 1)]


def test_settings_and_notifications_are_known(connection):
    heard: list[str] = []
    connection.add_notify_handler(lambda notify: heard.append(notify.payload))
    connection.execute("LISTEN news")
    asked = "SELECT length(set_config('application_name', 'moved', false)), pg_notify('news', 'hello')::text"
    assert copied(connection, asked) == [(5, b"")]
    assert connection.info.parameter_status("application_name") == "moved"
    connection.execute("SELECT 1")  # psycopg asks libpq for notifications when it runs a statement
    assert heard == ["hello"]


def test_a_row_larger_than_any_buffer(connection):
    size = 100_000_000
    ((number, text),) = copied(connection, f"SELECT 1, 'a' || repeat('x', {size}) || 'z'")
    assert number == 1
    assert len(text) == size + 2
    assert text[:2] + text[-2:] == b"axxz"
    assert text.count(b"x") == size


def test_a_statement_that_no_socket_takes_at_once(connection, monkeypatch):
    monkeypatch.undo()
    monkeypatch.delattr(Copier, "_past_libpq")
    text = "naïve " * 100_000
    assert copied(connection, f"SELECT 1, '{text}'") == [(1, text.encode())]


@pytest.mark.parametrize("fault", [Drop, Reset])
@pytest.mark.parametrize("passed", [1200, 200_000, 2_000_000, 4_000_001])
def test_a_line_that_is_cut_is_an_error(postgres, way, fault, passed):
    with FaultProxy(postgres.port) as proxy, postgres.through(proxy.port).connect() as connection:
        proxy.inject(fault(passed))
        with pytest.raises(psycopg.OperationalError):
            copied(connection, ROWS)
        assert proxy.fired
        assert connection.info.transaction_status == TransactionStatus.UNKNOWN


def begun(connection: psycopg.Connection[Any], query: str) -> Iterator[Any]:
    """Return the batches of a query of an integer and a text, of which one has come."""
    decoder = Decoder([Field(Kind.WORD32), Field(Kind.BYTES)], 10_000)
    batches = Copier(connection, read_timeout=10).batches(f"COPY ({query}) TO STDOUT (FORMAT binary)", decoder)
    next(batches)
    return batches


def test_a_session_that_is_ended_says_why(connection, postgres):
    # Little enough that the server is not held up in sending it, for then it could not say anything.
    text = "CASE WHEN i > 200 THEN pg_sleep(60)::text ELSE repeat('x', 1000) END"
    batches = begun(connection, f"SELECT i, {text} FROM generate_series(1, 300) AS i")
    postgres.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")
    with pytest.raises(psycopg.errors.AdminShutdown):
        list(batches)


def test_a_read_is_cancelled_over_a_connection_of_its_own(connection):
    batches = begun(connection, "SELECT generate_series(1, 100000000), repeat('x', 1000)")
    assert connection.info.transaction_status == TransactionStatus.ACTIVE
    connection.cancel_safe(timeout=10)
    with pytest.raises(psycopg.errors.QueryCanceled):
        list(batches)
    assert connection.execute("SELECT 7").fetchone() == (7,)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A cluster with TLS."""
    for server in serve(postgres_server()):
        made = new_certificate(tmp_path_factory.mktemp("tls"), "localhost")
        with server.connect() as connection:
            ((directory,),) = connection.execute("SHOW data_directory").fetchall()
        for name, path in (("server.crt", made.certificate), ("server.key", made.key)):
            target = Path(shutil.copy(path, Path(directory) / name))
            target.chmod(0o600)
            if owner := unprivileged_user("postgres"):
                shutil.chown(target, owner)
        server.execute("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
        yield server


def test_over_tls_libpq_reads_the_rows(encrypted, monkeypatch):
    monkeypatch.delattr(Copier, "_past_libpq")
    config = PostgresConfig(url=f"{encrypted.url}?sslmode=require")
    with closing(open_source(config, SourceContext(Path("/")))) as source:
        for count in (3, 100_000):
            query = Query(f"SELECT i, i::text AS t FROM generate_series(1, {count}) AS i")
            with source.read(query, batch_bytes=100_000) as stream:
                table = pa.Table.from_batches(stream, stream.schema)
            assert table["i"].to_pylist() == list(range(1, count + 1))
            assert table["t"].to_pylist() == [str(i) for i in range(1, count + 1)]


def test_what_is_encrypted_is_not_plain(encrypted, postgres):
    with (
        postgres.connect() as plain,
        psycopg.connect(encrypted.url.replace("+psycopg", "") + "?sslmode=require") as tls,
    ):
        assert is_plain(plain.pgconn)
        assert not is_plain(tls.pgconn)
