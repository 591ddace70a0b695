"""Each action of the HTTP proxy does to real clients and servers what its name says, and is counted."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient
from botocore.exceptions import ClientError, HTTPClientError

from servers.azurite import Azurite, bearer_token
from servers.certificate import new_certificate
from servers.http_proxy import HttpProxy
from servers.http_rules import (
    Action,
    Answer,
    BlackHole,
    CorruptAnswer,
    CorruptUpload,
    Delay,
    Exchange,
    LoseAnswer,
    ResetAnswer,
    ResetUpload,
    Rewrite,
    TruncateAnswer,
)
from servers.process import HOST, free_port
from servers.seaweedfs import SeaweedFS

BODY = bytes(range(256)) * 2000
PIECE = bytes(1024 * 1024)
BACKLOG_BYTES = 32 * len(PIECE)  # what the sockets' buffers may take in


class Store(BaseHTTPRequestHandler):
    """Keeps what is PUT; some paths answer in other framings."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    received: list[tuple[str, str, dict[str, str]]]
    go_on: threading.Event

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the tests break connections
            self.close_connection = True

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.received.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pieces(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            left = int(self.headers["Content-Length"])
            while left:
                piece = self.rfile.read(min(left, len(PIECE)))
                if not piece:
                    raise ConnectionError("the client went away")
                left -= len(piece)
                yield piece

    def do_PUT(self) -> None:
        if self.path == "/refused":
            self._answer(403, b"no")
            for _ in self._pieces():
                pass
            return None
        if self.path == "/late":
            self.go_on.wait(30)
        if self.path == "/counted":
            return self._answer(200, str(sum(map(len, self._pieces()))).encode())
        self.objects[self.path] = b"".join(self._pieces())
        return self._answer(201, b"stored")

    def do_GET(self) -> None:
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            self.wfile.write(b"5\r\nabcde\r\n3;note=1\r\nfgh\r\n0\r\nX-Sum: 8\r\n\r\n")
        elif self.path == "/until-close":
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        elif self.path == "/unchanged":
            self.send_response(304)
            self.send_header("Content-Length", "5")
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.send_header("Content-Length", str(1024 * len(PIECE)))
            self.end_headers()
            for _ in range(1024):
                self.wfile.write(PIECE)
                self.objects["/endless"] = self.objects.get("/endless", b"") + b"."
        else:
            body = self.objects.get(self.path.partition("?")[0])
            self._answer(404) if body is None else self._answer(200, body)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.objects[self.path])))
        self.end_headers()

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self.send_response(204)
        self.end_headers()


class Server(ThreadingHTTPServer):
    """A server on a thread of its own with what it was sent."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.received: list[tuple[str, str, dict[str, str]]] = []
        self.go_on = threading.Event()
        facts = {"objects": self.objects, "received": self.received, "go_on": self.go_on}
        super().__init__((HOST, 0), type("Handler", (Store,), facts))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.go_on.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: Server) -> Iterator[HttpProxy]:
    with HttpProxy(server.server_port) as line:
        yield line


@contextmanager
def connected(proxy: HttpProxy, timeout: float = 20) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(HOST, proxy.port, timeout=timeout)) as connection:
        yield connection


def ask(
    proxy: HttpProxy, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    with connected(proxy) as connection:
        connection.request(method, path, body, headers or {})
        with connection.getresponse() as answer:
            return answer.status, answer.read()


def uploads(exchange: Exchange) -> bool:
    return exchange.method == "PUT"


def downloads(exchange: Exchange) -> bool:
    return exchange.method == "GET"


def receive_all(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(65536):
        received += data
    return received


def test_without_a_rule_requests_and_answers_pass_and_are_recorded(server: Server, proxy: HttpProxy) -> None:
    with connected(proxy) as connection:
        connection.request("PUT", "/a%20b?partNumber=1&empty=", BODY, {"X-One": "1"})
        with connection.getresponse() as answer:
            assert (answer.status, answer.read()) == (201, b"stored")
        connection.request("GET", "/a%20b?partNumber=1&empty=")
        with connection.getresponse() as answer:
            assert answer.status == 404
            answer.read()
    put, get = proxy.exchanges
    assert (put.method, put.path, put.query) == ("PUT", "/a%20b", {"partNumber": "1", "empty": ""})
    assert (put.headers["x-one"], put.body_bytes, put.status) == ("1", len(BODY), 201)
    assert (get.method, get.body_bytes, get.status) == ("GET", 0, 404)
    assert server.objects == {"/a%20b?partNumber=1&empty=": BODY}
    assert server.received[0][2]["host"] == f"{HOST}:{proxy.port}"


def test_one_connection_serves_many_requests_of_all_framings(server: Server, proxy: HttpProxy) -> None:
    with connected(proxy) as connection:

        def answered(method: str, path: str, **body: object) -> tuple[int, bytes]:
            connection.request(method, path, **body)  # type: ignore[arg-type]
            with connection.getresponse() as answer:
                return answer.status, answer.read()

        assert answered("PUT", "/a", body=iter([BODY, BODY]), encode_chunked=True) == (201, b"stored")
        first = connection.sock
        assert answered("GET", "/a") == (200, BODY * 2)
        assert answered("HEAD", "/a") == (200, b"")
        assert answered("GET", "/unchanged") == (304, b"")
        assert answered("GET", "/chunked") == (200, b"abcdefgh")
        assert answered("DELETE", "/a") == (204, b"")
        assert answered("PUT", "/empty", body=b"") == (201, b"stored")
        assert connection.sock is first
        assert answered("GET", "/until-close") == (200, BODY)
    assert [exchange.status for exchange in proxy.exchanges] == [201, 200, 200, 304, 200, 204, 201, 200]
    assert proxy.exchanges[0].body_bytes == 2 * len(BODY)


def test_pipelined_requests_are_answered_in_order(server: Server, proxy: HttpProxy) -> None:
    server.objects.update({"/1": b"one", "/2": b"two"})
    with socket.create_connection((HOST, proxy.port), timeout=20) as client:
        client.sendall(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = receive_all(client)
    assert received.index(b"one") < received.index(b"two") < received.index(b"404 Not Found")


def test_several_clients_are_served_at_once(server: Server, proxy: HttpProxy) -> None:
    def put(number: int) -> int:
        return ask(proxy, "PUT", f"/{number}", BODY)[0]

    with ThreadPoolExecutor(8) as pool:
        late = pool.submit(ask, proxy, "PUT", "/late", BODY)
        assert list(pool.map(put, range(20))) == [201] * 20
        assert not late.done()
        server.go_on.set()
        assert late.result()[0] == 201


def test_a_large_body_streams_through(server: Server, proxy: HttpProxy) -> None:
    with connected(proxy) as connection:
        connection.request("PUT", "/counted", (PIECE for _ in range(128)), {"Content-Length": str(128 * len(PIECE))})
        with connection.getresponse() as answer:
            assert answer.read() == str(128 * len(PIECE)).encode()
    assert proxy.exchanges[0].body_bytes == 128 * len(PIECE)


def test_an_upload_waits_for_a_server_that_does_not_read(server: Server, proxy: HttpProxy) -> None:
    sent = 0
    with socket.create_connection((HOST, proxy.port), timeout=1) as client:
        client.sendall(f"PUT /late HTTP/1.1\r\nContent-Length: {1024 * len(PIECE)}\r\n\r\n".encode())
        with suppress(TimeoutError):
            while sent < 1024 * len(PIECE):
                sent += client.send(PIECE)
    server.go_on.set()
    assert 0 < sent < BACKLOG_BYTES


def test_an_answer_waits_for_a_client_that_does_not_read(server: Server, proxy: HttpProxy) -> None:
    with socket.create_connection((HOST, proxy.port), timeout=5) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\n\r\n")
        assert client.recv(8) == b"HTTP/1.1"
        time.sleep(1)
        assert len(server.objects["/endless"]) * len(PIECE) < BACKLOG_BYTES


def test_an_early_answer_reaches_a_client_that_still_sends(proxy: HttpProxy) -> None:
    with connected(proxy) as connection:
        connection.request("PUT", "/refused", PIECE * 8)
        with connection.getresponse() as answer:
            assert (answer.status, answer.headers["Connection"], answer.read()) == (403, "close", b"no")


def test_the_server_decides_whether_a_waiting_client_sends_its_body(server: Server, proxy: HttpProxy) -> None:
    head = b"PUT /a HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection((HOST, proxy.port), timeout=20) as client:
        client.sendall(head)
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert client.recv(65536).startswith(b"HTTP/1.1 201")
    assert server.objects == {"/a": b"body"}
    with socket.create_connection((HOST, proxy.port), timeout=20) as client:
        rule = proxy.on(uploads, Answer(503))
        client.sendall(head)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert b"Connection: close" in answer
    assert rule.fired == 1
    assert [exchange.body_bytes for exchange in proxy.exchanges] == [4, 0]


def test_an_answer_comes_as_often_as_asked_for_and_the_server_hears_nothing(server: Server, proxy: HttpProxy) -> None:
    rule = proxy.on(uploads, Answer(503, {"Retry-After": "7"}, b"slow down"), times=2)
    with connected(proxy) as connection:
        for status, body, retry_after in [(503, b"slow down", "7")] * 2 + [(201, b"stored", None)]:
            connection.request("PUT", "/a", BODY)
            with connection.getresponse() as answer:
                assert (answer.status, answer.read(), answer.headers["Retry-After"]) == (status, body, retry_after)
    assert rule.fired == 2
    assert len(server.received) == 1
    assert [exchange.status for exchange in proxy.exchanges] == [503, 503, 201]
    proxy.on(lambda exchange: exchange.method == "HEAD", Answer(404, body=b"never sent"))
    assert ask(proxy, "HEAD", "/a") == (404, b"")


def test_of_several_rules_the_first_that_matches_applies(proxy: HttpProxy) -> None:
    first = proxy.on(lambda exchange: exchange.query.get("partNumber") == "2", Answer(503))
    rest = proxy.always(uploads, Answer(403))
    assert [ask(proxy, "PUT", f"/a?partNumber={part}")[0] for part in (1, 2, 2)] == [403, 503, 403]
    assert (first.fired, rest.fired) == (1, 2)
    proxy.forget()
    assert ask(proxy, "PUT", "/a", b"")[0] == 201


def test_a_rule_fires_no_oftener_than_asked_for_with_many_clients(proxy: HttpProxy) -> None:
    rule = proxy.on(uploads, Delay(0.2), times=2)
    faults = proxy.on(uploads, Answer(500), times=2)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda number: ask(proxy, "PUT", f"/{number}", b"")[0], range(8))
    assert sorted(answers) == [201] * 6 + [500] * 2
    assert (rule.fired, faults.fired) == (2, 2)


@pytest.mark.parametrize("headers", [{}, {"Expect": "100-continue"}], ids=["at once", "waiting"])
def test_a_lost_answer_is_to_a_request_that_was_done(server: Server, proxy: HttpProxy, headers: dict[str, str]) -> None:
    rule = proxy.on(uploads, LoseAnswer())
    with pytest.raises(ConnectionResetError):
        ask(proxy, "PUT", "/a", BODY, headers)
    assert rule.fired == 1
    assert server.objects == {"/a": BODY}
    assert proxy.exchanges[0].status == 201
    assert ask(proxy, "PUT", "/a", BODY)[0] == 201


@pytest.mark.parametrize("after", [0, 1, 100_000, len(BODY) - 1])
def test_a_reset_upload_is_not_stored(server: Server, proxy: HttpProxy, after: int) -> None:
    rule = proxy.on(uploads, ResetUpload(after))
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask(proxy, "PUT", "/a", BODY)
    assert rule.fired == 1
    assert server.objects == {}
    assert proxy.exchanges[0].body_bytes == after
    assert ask(proxy, "PUT", "/a", BODY)[0] == 201


def test_a_fault_beyond_the_end_of_a_body_leaves_it_to_a_longer_one(server: Server, proxy: HttpProxy) -> None:
    rule = proxy.on(uploads, ResetUpload(10))
    assert ask(proxy, "PUT", "/short", b"0123456789")[0] == 201
    assert rule.fired == 0
    with pytest.raises(ConnectionResetError):
        ask(proxy, "PUT", "/long", b"0123456789+")
    assert rule.fired == 1
    assert list(server.objects) == ["/short"]


@pytest.mark.parametrize("path", ["/a", "/until-close"])
@pytest.mark.parametrize("after", [0, 1, 100_000, len(BODY) - 1])
def test_a_reset_answer_ends_within_the_body(server: Server, proxy: HttpProxy, path: str, after: int) -> None:
    server.objects["/a"] = BODY
    rule = proxy.on(downloads, ResetAnswer(after))
    with pytest.raises(ConnectionResetError):
        ask(proxy, "GET", path)
    assert rule.fired == 1
    assert ask(proxy, "GET", path) == (200, BODY)


@pytest.mark.parametrize("after", [0, 1, 100_000, len(BODY) - 1])
def test_a_truncated_answer_ends_as_if_it_were_complete(server: Server, proxy: HttpProxy, after: int) -> None:
    server.objects["/a"] = BODY
    rule = proxy.on(downloads, TruncateAnswer(after))
    with pytest.raises(http.client.IncompleteRead) as error:
        ask(proxy, "GET", "/a")
    assert error.value.partial == BODY[:after]
    assert rule.fired == 1


def test_a_truncated_answer_without_a_length_looks_complete(proxy: HttpProxy) -> None:
    rule = proxy.on(downloads, TruncateAnswer(1000))
    assert ask(proxy, "GET", "/until-close") == (200, BODY[:1000])
    assert rule.fired == 1


def test_a_truncated_chunked_answer_is_incomplete(proxy: HttpProxy) -> None:
    rule = proxy.on(downloads, TruncateAnswer(6))
    with pytest.raises(http.client.IncompleteRead):
        ask(proxy, "GET", "/chunked")
    assert rule.fired == 1


def test_a_black_hole_answers_nothing_and_does_not_ask_the_server(server: Server, proxy: HttpProxy) -> None:
    rule = proxy.on(uploads, BlackHole())
    with connected(proxy, timeout=0.5) as connection:
        connection.request("PUT", "/a", BODY)
        with pytest.raises(TimeoutError):
            connection.getresponse()
    assert rule.fired == 1
    assert server.received == []


def test_a_delay_only_delays(proxy: HttpProxy) -> None:
    rule = proxy.on(uploads, Delay(0.3))
    started = time.monotonic()
    assert ask(proxy, "PUT", "/a", BODY)[0] == 201
    assert time.monotonic() - started >= 0.3
    assert rule.fired == 1


@pytest.mark.parametrize("spot", [0, 65536, 100_000, len(BODY) - 1])
def test_corruption_flips_one_bit(server: Server, proxy: HttpProxy, spot: int) -> None:
    flipped = BODY[:spot] + bytes([BODY[spot] ^ 1]) + BODY[spot + 1 :]
    rules = [proxy.on(uploads, CorruptUpload(spot)), proxy.on(downloads, CorruptAnswer(spot))]
    assert ask(proxy, "PUT", "/a", BODY)[0] == 201
    assert server.objects == {"/a": flipped}
    server.objects["/a"] = BODY
    assert ask(proxy, "GET", "/a") == (200, flipped)
    assert ask(proxy, "GET", "/a") == (200, BODY)
    assert [rule.fired for rule in rules] == [1, 1]


def test_rewritten_headers_are_what_the_server_gets(server: Server, proxy: HttpProxy) -> None:
    rule = proxy.on(uploads, Rewrite(lambda headers: {**headers, "x-one": "2"}))
    assert ask(proxy, "PUT", "/a", BODY, {"X-One": "1"})[0] == 201
    assert server.received[0][2]["x-one"] == "2"
    assert proxy.exchanges[0].headers["x-one"] == "1"
    assert rule.fired == 1


def test_requests_that_are_not_allowed_do_not_reach_the_server(server: Server, proxy: HttpProxy) -> None:
    proxy.always(uploads, Delay(0))
    refused = proxy.require(lambda exchange: exchange.headers.get("authorization") == "Bearer right")
    assert ask(proxy, "PUT", "/a", BODY) == (401, b"")
    assert ask(proxy, "PUT", "/a", BODY, {"Authorization": "Bearer wrong"}) == (401, b"")
    assert server.received == []
    assert ask(proxy, "PUT", "/a", BODY, {"Authorization": "Bearer right"})[0] == 201
    assert refused.fired == 2


def test_without_a_server_the_connection_ends(server: Server) -> None:
    with HttpProxy(free_port()) as proxy, pytest.raises(ConnectionError):
        ask(proxy, "GET", "/a")
    assert [exchange.status for exchange in proxy.exchanges] == [None]


@pytest.mark.parametrize(
    ("matches", "action"),
    [
        pytest.param(lambda exchange: exchange.query["missing"] == "1", Delay(0), id="match"),
        pytest.param(uploads, Rewrite(lambda headers: {"host": headers["missing"]}), id="action"),
    ],
)
def test_a_mistake_in_a_rule_fails_the_test(
    server: Server, matches: Callable[[Exchange], bool], action: Action
) -> None:
    proxy = HttpProxy(server.server_port)
    proxy.on(matches, action)
    with pytest.raises(KeyError, match="missing"), proxy, suppress(ConnectionError):
        ask(proxy, "PUT", "/a", BODY)


def test_signatures_of_s3_hold_through_the_proxy(seaweedfs: SeaweedFS) -> None:
    bucket = seaweedfs.create_bucket()
    with HttpProxy(seaweedfs.port) as proxy, closing(seaweedfs.through(proxy.port).client()) as client:
        client.put_object(Bucket=bucket, Key="a/object", Body=PIECE * 9)
        with client.get_object(Bucket=bucket, Key="a/object")["Body"] as body:
            assert body.read() == PIECE * 9
    assert [(exchange.method, exchange.status) for exchange in proxy.exchanges] == [("PUT", 200), ("GET", 200)]
    assert proxy.exchanges[0].headers["expect"] == "100-continue"
    assert proxy.exchanges[0].body_bytes == 9 * len(PIECE)


def test_an_object_whose_answer_was_lost_is_there(seaweedfs: SeaweedFS) -> None:
    bucket = seaweedfs.create_bucket()
    with HttpProxy(seaweedfs.port) as proxy, closing(seaweedfs.through(proxy.port).client()) as client:
        rule = proxy.on(uploads, LoseAnswer())
        with pytest.raises(HTTPClientError):
            client.put_object(Bucket=bucket, Key="a/object", Body=BODY)
        assert rule.fired == 1
        assert client.head_object(Bucket=bucket, Key="a/object")["ContentLength"] == len(BODY)


def test_an_object_corrupted_on_its_way_is_refused(seaweedfs: SeaweedFS) -> None:
    bucket = seaweedfs.create_bucket()
    with HttpProxy(seaweedfs.port) as proxy, closing(seaweedfs.through(proxy.port).client()) as client:
        rule = proxy.on(uploads, CorruptUpload(1000))
        with pytest.raises(ClientError, match=r"BadDigest|InvalidDigest"):
            client.put_object(Bucket=bucket, Key="a/object", Body=BODY, ChecksumAlgorithm="CRC32")
        assert rule.fired == 1


def test_tls_on_both_sides(azurite_with_tokens: Azurite, tmp_path: Path) -> None:
    class Credential:
        def get_token(self, *scopes: str, **options: object) -> AccessToken:
            return AccessToken(bearer_token(), int(time.time()) + 3600)

    assert azurite_with_tokens.certificate is not None
    container = azurite_with_tokens.create_container()
    own = new_certificate(tmp_path)
    with HttpProxy(
        azurite_with_tokens.port, tls=own.server_side(), server_tls=azurite_with_tokens.certificate.client_side()
    ) as proxy:
        lost = proxy.on(uploads, LoseAnswer())
        with (
            BlobServiceClient(
                azurite_with_tokens.through(proxy.port).endpoint,
                Credential(),
                connection_verify=str(own.certificate),
                retry_total=0,
            ) as service,
            service.get_blob_client(container, "a/object") as blob,
        ):
            with pytest.raises(AzureError):
                blob.upload_blob(BODY)
            assert lost.fired == 1
            assert blob.download_blob().readall() == BODY
    assert [(exchange.method, exchange.status) for exchange in proxy.exchanges] == [("PUT", 201), ("GET", 206)]
