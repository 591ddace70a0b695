"""A listener on loopback with an event loop in a thread of its own, for what stands between a client and a server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import Self

from servers.process import HOST

BUFFER_BYTES = 256 * 1024
TLS_CLOSE_SECONDS = 0.5  # how long to wait for the other side's farewell, which many do not send


class Listener(ABC):
    """Serves each connection in a task of its own, until the block ends; a context manager.

    Args:
        tls: shown to clients; ``None`` is plain TCP.

    Attributes:
        port: where clients connect, on loopback.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._mistakes: list[Exception] = []

    @abstractmethod
    async def serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Serve one connection, which is closed afterwards.

        An ``OSError``, an ``EOFError`` or a cancellation ends it quietly; any other exception is raised where the block
        ends.
        """

    def __enter__(self) -> Self:
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
        if self._mistakes and exc is None:
            raise self._mistakes[0]

    async def _listen(self) -> None:
        closing = {"ssl_shutdown_timeout": TLS_CLOSE_SECONDS} if self._tls else {}
        self._listener = await asyncio.start_server(self._accept, HOST, 0, limit=BUFFER_BYTES, ssl=self._tls, **closing)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    async def _accept(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self.serve(client_in, client_out)
        except (OSError, EOFError, asyncio.CancelledError):  # either side went away, or the listener ends
            pass
        except Exception as mistake:  # noqa: BLE001 - a test must learn of it, whatever it is
            self._mistakes.append(mistake)
        finally:
            await close(client_out)
            self._connections.discard(task)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close at once with RST instead of FIN; bytes on their way may be lost with it, as they are on a real line."""
    linger_off = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_off)
    writer.transport.abort()


async def close(writer: asyncio.StreamWriter) -> None:
    """Close in good order."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
