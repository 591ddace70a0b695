"""A TCP proxy on loopback that breaks connections on purpose."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from servers.listener import Listener, close, reset
from servers.process import HOST

CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Latency:
    """Delay every chunk of an answer by so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """Reset the connection (RST) after so many bytes of answers."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Drop:
    """Close the connection in good order (FIN) after so many bytes of answers."""

    after_bytes: int = 0


@dataclass(frozen=True)
class BlackHole:
    """Pass so many bytes of answers, then nothing in either direction, while the connection stays open."""

    after_bytes: int = 0


Fault = Latency | Reset | Drop | BlackHole


class FaultProxy(Listener):
    """Stands between a client and a server; a context manager.

    The fault in force is that of ``inject`` and applies to open connections as well as to new ones; byte counts start
    anew with each connection. A test asserts ``fired`` afterwards, so that it cannot pass because nothing went wrong.

    Attributes:
        fired: how often a fault took effect.
    """

    def __init__(self, server_port: int, server_host: str = HOST) -> None:
        super().__init__()
        self.fired = 0
        self._server = (server_host, server_port)
        self._fault: Fault | None = None

    def inject(self, fault: Fault | None) -> None:
        """Put ``fault`` in force in place of the last one; ``None`` repairs the line."""
        self._fault = fault

    async def serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Pass bytes in both directions until either side ends."""
        server_in, server_out = await asyncio.open_connection(*self._server)
        questions = asyncio.create_task(self._pass_questions(client_in, server_out))
        try:
            await self._pass_answers(server_in, client_out)
        finally:
            questions.cancel()
            await close(server_out)

    async def _pass_questions(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                if isinstance(self._fault, BlackHole) and self._fault.after_bytes == 0:
                    await self._swallow()
                sink.write(data)
                await sink.drain()
            sink.write_eof()
        except OSError:  # the client was killed: the server must learn of it
            sink.close()

    async def _pass_answers(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await source.read(CHUNK_BYTES):
            fault = self._fault
            if isinstance(fault, Latency):
                self.fired += 1
                await asyncio.sleep(fault.seconds)
            elif fault is not None:
                allowed = max(0, fault.after_bytes - passed)
                if len(data) >= allowed:
                    sink.write(data[:allowed])
                    await sink.drain()
                    if isinstance(fault, BlackHole):
                        await self._swallow()
                    self.fired += 1
                    if isinstance(fault, Reset):
                        reset(sink)
                    return
            sink.write(data)
            await sink.drain()
            passed += len(data)

    async def _swallow(self) -> None:
        self.fired += 1
        await asyncio.Event().wait()
