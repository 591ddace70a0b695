"""An HTTP proxy on loopback that answers, breaks or changes chosen requests on purpose, and records all of them."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from servers.http_messages import (
    PIECE_BYTES,
    Head,
    answer_has_body,
    ends_with_connection,
    keeps_open,
    mark,
    read_body,
    read_head,
)
from servers.http_rules import (
    NO_RULE,
    Action,
    Answer,
    AnswerFault,
    BlackHole,
    Delay,
    Exchange,
    LoseAnswer,
    ResetAnswer,
    ResetUpload,
    Rewrite,
    Rule,
    TruncateAnswer,
    UploadFault,
)
from servers.listener import Listener, close, reset
from servers.process import HOST

LINGER_SECONDS = 5


class HttpProxy(Listener):
    """Stands between HTTP/1.1 clients and a server; a context manager.

    Bodies stream through and are never held. The server gets a connection for each request; the client's stays open as
    long as both sides want.

    Args:
        server_port: the server's, on loopback.
        tls: shown to clients; ``None`` is plain HTTP.
        server_tls: how to ask a server that speaks HTTPS; ``None`` is plain HTTP.

    Attributes:
        exchanges: every request so far, in the order of arrival.
    """

    def __init__(
        self, server_port: int, *, tls: ssl.SSLContext | None = None, server_tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(tls)
        self.exchanges: list[Exchange] = []
        self._server_port = server_port
        self._server_tls = server_tls
        self._rules: list[Rule] = []

    def on(self, matches: Callable[[Exchange], bool], action: Action, *, times: float = 1) -> Rule:
        """Let ``action`` happen to the next ``times`` requests that match; of several rules the first one counts."""
        rule = Rule(matches, action, times)
        self._rules.append(rule)
        return rule

    def always(self, matches: Callable[[Exchange], bool], action: Action) -> Rule:
        """Let ``action`` happen to every request that matches."""
        return self.on(matches, action, times=math.inf)

    def require(self, allows: Callable[[Exchange], bool], refusal: Answer | None = None) -> Rule:
        """Answer ``refusal``, by default 401, to requests that ``allows`` is false for, before other rules apply."""
        rule = Rule(lambda exchange: not allows(exchange), refusal or Answer(401), math.inf)
        self._rules.insert(0, rule)
        return rule

    def forget(self) -> None:
        """Drop all rules and the exchanges so far."""
        self._rules = []
        self.exchanges = []

    async def serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Handle the requests of one connection, one after another."""
        while await self._handle(client_in, client_out):
            pass

    async def _handle(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> bool:
        """Handle one request and return whether the connection stays open."""
        head = await read_head(client_in)
        method, target, _ = head.start.split(" ")
        exchange = Exchange(method, target, head.headers)
        self.exchanges.append(exchange)
        rule = next((rule for rule in tuple(self._rules) if rule.applies(exchange)), NO_RULE)
        conversation = _Conversation(client_in, client_out, head, exchange, rule)
        match rule.action:
            case Answer() as answer:
                rule.fire()
                return await conversation.answer(answer)
            case BlackHole():
                rule.fire()
                return await conversation.swallow()
            case Rewrite(change):
                rule.fire()
                head = head.with_headers(change(head.headers))
            case Delay(seconds):
                rule.fire()
                await asyncio.sleep(seconds)
        server_in, server_out = await asyncio.open_connection(HOST, self._server_port, ssl=self._server_tls)
        try:
            return await conversation.ask(head, server_in, server_out)
        finally:
            await close(server_out)


class _Conversation:
    """One exchange with a client; every method that ends it returns whether the connection stays open."""

    def __init__(
        self,
        client_in: asyncio.StreamReader,
        client_out: asyncio.StreamWriter,
        head: Head,
        exchange: Exchange,
        rule: Rule,
    ) -> None:
        self._client_in = client_in
        self._client_out = client_out
        self._head = head
        self._exchange = exchange
        self._rule = rule

    async def answer(self, answer: Answer) -> bool:
        """Answer in the server's place. A client that waits for ``100 Continue`` is not asked for its body."""
        waits = "100-continue" in self._head.headers.get("expect", "").lower()
        if not waits:
            async for piece in read_body(self._client_in, self._head):
                self._exchange.body_bytes += len(piece.data) if piece.payload else 0
        self._exchange.status = answer.status
        fields = {"Content-Length": str(len(answer.body)), **answer.headers}
        head = Head(f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}", tuple(fields.items()))
        self._client_out.write((head.closing() if waits else head).encode())
        if answer_has_body(self._exchange.method, answer.status):
            self._client_out.write(answer.body)
        await self._client_out.drain()
        if waits:  # it may send its body all the same, and would lose the answer to a reset if nobody read that
            with suppress(TimeoutError):
                await asyncio.wait_for(self._discard(), LINGER_SECONDS)
        return not waits and keeps_open(self._head)

    async def swallow(self) -> bool:
        """Take in whatever comes until the client gives up."""
        await self._discard()
        return False

    async def ask(self, head: Head, server_in: asyncio.StreamReader, server_out: asyncio.StreamWriter) -> bool:
        """Pass the request under ``head`` to the server and the server's answer to the client, at the same time."""
        upload = asyncio.create_task(self._upload(head, server_out))
        try:
            keep = await self._relay(server_in, upload)
            if not upload.done():  # as above: this is an early answer
                await asyncio.wait({upload}, timeout=LINGER_SECONDS)
            return keep
        finally:
            upload.cancel()
            await asyncio.wait({upload})
            if not upload.cancelled() and (error := upload.exception()) is not None:
                raise error

    async def _upload(self, head: Head, server_out: asyncio.StreamWriter) -> None:
        action = self._rule.action
        spot = action.after_bytes if isinstance(action, UploadFault) else None
        try:
            server_reads = await _write(server_out, head.encode())
            async for piece, struck in mark(read_body(self._client_in, self._head), spot):
                passed = piece
                if struck and self._rule.fire():
                    if isinstance(action, ResetUpload):
                        reset(self._client_out)
                        raise ConnectionResetError
                    passed = piece.flipped()
                self._exchange.body_bytes += len(piece.data) if piece.payload else 0
                server_reads = server_reads and await _write(server_out, passed.data)
        except (OSError, EOFError):  # the server must learn that the rest will not come
            reset(server_out)
            raise

    async def _relay(self, server_in: asyncio.StreamReader, upload: asyncio.Task[None]) -> bool:
        head = await read_head(server_in)
        while head.status < HTTPStatus.OK:
            self._client_out.write(head.encode())
            head = await read_head(server_in)
        self._exchange.status = head.status
        early = not upload.done()
        has_body = answer_has_body(self._exchange.method, head.status)
        lost = isinstance(self._rule.action, LoseAnswer) and self._rule.fire()
        if not lost:
            self._client_out.write((head.closing() if early else head).encode())
        if has_body:
            await self._relay_body(server_in, head, lost=lost)
        if lost:
            reset(self._client_out)
            return False
        await self._client_out.drain()
        ends = has_body and ends_with_connection(head)
        return keeps_open(self._head) and keeps_open(head) and not early and not ends

    async def _relay_body(self, server_in: asyncio.StreamReader, head: Head, *, lost: bool) -> None:
        action = self._rule.action
        spot = action.after_bytes if isinstance(action, AnswerFault) else None
        async for piece, struck in mark(read_body(server_in, head), spot):
            passed = piece
            if struck and self._rule.fire():
                if isinstance(action, ResetAnswer):
                    reset(self._client_out)
                    raise ConnectionResetError
                if isinstance(action, TruncateAnswer):
                    raise EOFError
                passed = piece.flipped()
            if not lost:
                self._client_out.write(passed.data)
                await self._client_out.drain()

    async def _discard(self) -> None:
        while await self._client_in.read(PIECE_BYTES):
            pass


async def _write(writer: asyncio.StreamWriter, data: bytes) -> bool:
    """Write ``data`` and return whether the other side still takes it."""
    try:
        writer.write(data)
        await writer.drain()
    except OSError:
        return False
    return True
