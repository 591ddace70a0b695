"""A TCP proxy on loopback that breaks connections on purpose."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

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


class FaultProxy:
    """Stands between a client and a server; a context manager.

    The fault in force is that of ``inject`` and applies to open connections as well as to new ones; byte counts start
    anew with each connection. A test asserts ``fired`` afterwards, so that it cannot pass because nothing went wrong.

    Attributes:
        port: where clients connect, on loopback.
        fired: how often a fault took effect.
    """

    def __init__(self, server_port: int, server_host: str = HOST) -> None:
        self.port = 0
        self.fired = 0
        self._server = (server_host, server_port)
        self._fault: Fault | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def inject(self, fault: Fault | None) -> None:
        """Put ``fault`` in force in place of the last one; ``None`` repairs the line."""
        self._fault = fault

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server_out: asyncio.StreamWriter | None = None
        try:
            server_in, server_out = await asyncio.open_connection(*self._server)
            questions = asyncio.create_task(self._pass_questions(client_in, server_out))
            try:
                await self._pass_answers(server_in, client_out)
            finally:
                questions.cancel()
        except (OSError, asyncio.CancelledError):  # either side went away, or the proxy ends
            pass
        finally:
            for writer in (client_out, server_out):
                if writer is not None:
                    await _close(writer)
            self._connections.discard(task)

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
                        _reset(sink)
                    return
            sink.write(data)
            await sink.drain()
            passed += len(data)

    async def _swallow(self) -> None:
        self.fired += 1
        await asyncio.Event().wait()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once with RST instead of FIN; bytes on their way may be lost with it, as they are on a real line."""
    linger_off = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_off)
    writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
