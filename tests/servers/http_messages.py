"""Reads HTTP/1.1 messages (RFC 9112) from a stream without holding their bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

PIECE_BYTES = 65536


@dataclass(frozen=True)
class Head:
    """The start line and the headers of a request or of an answer; ``fields`` keeps their order and spelling."""

    start: str
    fields: tuple[tuple[str, str], ...]

    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name, repeated ones joined by commas."""
        joined: dict[str, str] = {}
        for name, value in self.fields:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return joined

    @property
    def status(self) -> int:
        """The status code of an answer."""
        return int(self.start.split(" ", 2)[1])

    def with_headers(self, headers: Mapping[str, str]) -> Head:
        """Return the head with these headers instead of its own."""
        return Head(self.start, tuple(headers.items()))

    def closing(self) -> Head:
        """Return the head with the announcement that the connection ends after this message."""
        others = tuple((name, value) for name, value in self.fields if name.lower() != "connection")
        return Head(self.start, (*others, ("Connection", "close")))

    def encode(self) -> bytes:
        """Return the bytes of the head, its empty line included."""
        lines = [self.start, *(f"{name}: {value}" for name, value in self.fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(frozen=True)
class Piece:
    """A piece of a body as it goes over the line: payload, or the framing of a chunked body around it."""

    data: bytes
    payload: bool = True

    def flipped(self) -> Piece:
        """Return the piece with a bit of its first byte flipped."""
        return Piece(bytes([self.data[0] ^ 1]) + self.data[1:], self.payload)


async def read_head(source: asyncio.StreamReader) -> Head:
    """Read the head of the next message.

    Raises:
        EOFError: the connection ended before or within it.
    """
    raw = await source.readuntil(b"\r\n\r\n")
    start, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return Head(start, tuple((name, value.strip()) for name, _, value in fields))


def answer_has_body(method: str, status: int) -> bool:
    """Whether an answer with this status to a request with this method has a body, whatever its headers say."""
    return method != "HEAD" and status >= 200 and status not in (204, 304)


def keeps_open(head: Head) -> bool:
    """Whether the sender of a message wants to keep its connection open."""
    return "HTTP/1.1" in head.start and "close" not in head.headers.get("connection", "").lower()


def ends_with_connection(answer: Head) -> bool:
    """Whether only the end of the connection ends the body of an answer that has one."""
    return not answer.headers.keys() & {"transfer-encoding", "content-length"}


async def read_body(source: asyncio.StreamReader, head: Head) -> AsyncIterator[Piece]:
    """Yield the pieces of the body of a request, or of an answer that has one.

    Raises:
        EOFError: the connection ended within it.
    """
    headers = head.headers
    if headers.get("transfer-encoding", "").lower().endswith("chunked"):
        async for piece in _read_chunks(source):
            yield piece
    elif "content-length" in headers:
        async for data in _read_bytes(source, int(headers["content-length"])):
            yield Piece(data)
    elif head.start.startswith("HTTP/"):
        while data := await source.read(PIECE_BYTES):
            yield Piece(data)


async def mark(pieces: AsyncIterator[Piece], spot: int | None) -> AsyncIterator[tuple[Piece, bool]]:
    """Yield ``pieces`` with the one that begins with payload byte ``spot`` (from 0) marked; ``None`` marks none."""
    passed = 0
    async for piece in pieces:
        cut = -1 if spot is None or not piece.payload else spot - passed
        if 0 <= cut < len(piece.data):
            if cut:
                yield Piece(piece.data[:cut]), False
            yield Piece(piece.data[cut:]), True
        else:
            yield piece, False
        passed += len(piece.data) if piece.payload else 0


async def _read_chunks(source: asyncio.StreamReader) -> AsyncIterator[Piece]:
    while True:
        line = await source.readuntil(b"\r\n")
        yield Piece(line, payload=False)
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        async for data in _read_bytes(source, size):
            yield Piece(data)
        yield Piece(await source.readexactly(2), payload=False)
    trailer = b""
    while trailer != b"\r\n":
        trailer = await source.readuntil(b"\r\n")
        yield Piece(trailer, payload=False)


async def _read_bytes(source: asyncio.StreamReader, count: int) -> AsyncIterator[bytes]:
    while count:
        data = await source.read(min(count, PIECE_BYTES))
        if not data:
            raise EOFError
        count -= len(data)
        yield data
