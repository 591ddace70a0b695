"""Each fault of the proxy does to a real client what its name says, and is counted."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import psycopg
import pytest

from servers.postgres import Postgres
from servers.proxy import BlackHole, Drop, Fault, FaultProxy, Latency, Reset

MANY_BYTES = "SELECT repeat('x', 2000000)"


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[FaultProxy]:
    with FaultProxy(postgres.port) as line:
        yield line


def test_without_a_fault_every_byte_arrives(postgres: Postgres, proxy: FaultProxy) -> None:
    with postgres.through(proxy.port).connect() as connection:
        row = connection.execute(MANY_BYTES).fetchone()
    assert row == ("x" * 2_000_000,)
    assert proxy.fired == 0


def test_latency_delays_answers(postgres: Postgres, proxy: FaultProxy) -> None:
    with postgres.through(proxy.port).connect() as connection:
        proxy.inject(Latency(0.3))
        started = time.monotonic()
        connection.execute("SELECT 1")
        assert time.monotonic() - started >= 0.3
        proxy.inject(None)
    assert proxy.fired >= 1


@pytest.mark.parametrize("fault", [Reset(100_000), Drop(100_000), Reset(), Drop()], ids=repr)
def test_a_connection_broken_in_an_answer_fails_and_the_next_one_works(
    postgres: Postgres, proxy: FaultProxy, fault: Fault
) -> None:
    server = postgres.through(proxy.port)
    connection = server.connect()
    proxy.inject(fault)
    with pytest.raises(psycopg.OperationalError):
        connection.execute(MANY_BYTES)
    connection.close()
    assert proxy.fired == 1
    proxy.inject(None)
    assert server.answers()


def test_a_black_hole_keeps_the_connection_and_answers_nothing(proxy: FaultProxy) -> None:
    proxy.inject(BlackHole())
    ssl_request = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.5) as client:
        client.sendall(ssl_request)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert proxy.fired == 1


def test_a_black_hole_in_an_answer_stops_it_there(postgres: Postgres, proxy: FaultProxy) -> None:
    proxy.inject(BlackHole(after_bytes=1))
    ssl_request = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as client:
        client.sendall(ssl_request)
        assert client.recv(1) == b"N"
        client.settimeout(0.5)
        client.sendall(ssl_request)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert proxy.fired == 1
