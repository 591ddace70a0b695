"""An HTTPS proxy, as companies have them: a client opens a tunnel through it by CONNECT."""

from __future__ import annotations

import asyncio
import ssl

from servers.listener import Listener, close
from servers.process import HOST


class ConnectProxy(Listener):
    """An HTTPS proxy that leads every tunnel to one port on loopback, whatever host was meant."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.hosts: list[str] = []
        self._target = port

    async def serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Open the tunnel, then pass on bytes both ways."""
        head = await client_in.readuntil(b"\r\n\r\n")
        self.hosts.append(head.split(b" ")[1].decode())
        client_out.write(b"HTTP/1.1 200 OK\r\n\r\n")
        server_in, server_out = await asyncio.open_connection(HOST, self._target)
        try:
            await asyncio.gather(_pump(client_in, server_out), _pump(server_in, client_out))
        finally:
            await close(server_out)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
