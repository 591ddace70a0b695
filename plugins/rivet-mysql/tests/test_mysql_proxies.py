"""A proxy in front of the server that knows no prepared statements: queries are read by the text protocol."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from integration.source.both_sources import open_builtin, open_native, read
from rivet_core.api import Query, SourceError
from servers.listener import Listener, close
from servers.mariadb import Mariadb
from servers.process import HOST

PREPARE, EXECUTE = 0x16, 0x17
#: Values whose forms are not their texts.
QUERY = Query("SELECT seq, seq / 7 AS part, seq * 1e-3 AS thousandth FROM seq_1_to_5000")


class Refusing(Listener):
    """Passes everything on but one command of a client's, which it answers itself; a context manager.

    Attributes:
        refused: how often it has.
    """

    def __init__(self, server_port: int, command: int, answer: bytes) -> None:
        super().__init__()
        self.refused = 0
        self._port = server_port
        self._command = command
        self._answer = len(answer).to_bytes(3, "little") + b"\x01" + answer

    async def serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Pass packets of the client's, and whatever the server sends."""
        server_in, server_out = await asyncio.open_connection(HOST, self._port)
        answers = asyncio.create_task(self._pass_answers(server_in, client_out))
        try:
            while True:
                header = await client_in.readexactly(4)
                payload = await client_in.readexactly(int.from_bytes(header[:3], "little"))
                if header[3] == 0 and payload[0] == self._command:
                    self.refused += 1
                    client_out.write(self._answer)
                else:
                    server_out.write(header + payload)
        except asyncio.IncompleteReadError:
            server_out.write_eof()
            await answers
        finally:
            answers.cancel()
            await close(server_out)

    async def _pass_answers(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()


def error(number: int) -> bytes:
    """Return the payload of an error packet."""
    return b"\xff" + number.to_bytes(2, "little") + b"#HY000no"


@pytest.mark.parametrize(
    ("command", "number"), [(PREPARE, 1047), (PREPARE, 1105), (PREPARE, 1295), (EXECUTE, 1243), (EXECUTE, 1615)]
)
def test_a_query_that_a_proxy_does_not_prepare_or_execute_is_read_as_text(
    mariadb: Mariadb, command: int, number: int
) -> None:
    with Refusing(mariadb.port, command, error(number)) as proxy:
        table = read(open_native, mariadb.through(proxy.port).url, QUERY)
        assert proxy.refused == 1
    assert table.num_rows == 5000
    assert table == read(open_builtin, mariadb.url, QUERY)


def test_an_error_of_the_query_itself_is_not_tried_again(mariadb: Mariadb) -> None:
    with Refusing(mariadb.port, PREPARE, error(1317)) as proxy:
        with pytest.raises(SourceError, match="somebody has ended the statement"):
            read(open_native, mariadb.through(proxy.port).url, QUERY)
        assert proxy.refused == 1


@pytest.mark.parametrize("answer", [b"\0\1", b"\1" + bytes(11), b"\0" * 8])
def test_an_answer_that_is_none_is_one_clear_error(mariadb: Mariadb, answer: bytes) -> None:
    with Refusing(mariadb.port, PREPARE, answer) as proxy, pytest.raises(SourceError, match="error 2027"):
        read(open_native, mariadb.through(proxy.port).url, QUERY)
