"""Faults between the plugin and the service: each one fires, and no object is lost, doubled or half.

Resumable uploads are tried on gcp-storage-emulator, which answers for their state as Google does; fake-gcs-server makes
an object of what has arrived when it is asked for the state.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator

import pytest
import stamina

from rivet_core.api import (
    BucketMissing,
    DestinationError,
    IfAbsent,
    IfVersion,
    IntegrityError,
    PermissionDenied,
    PreconditionFailed,
    Transient,
)
from rivet_gcs.destination import GcsDestination
from servers.gcs import GcsServer
from servers.http_proxy import HttpProxy
from servers.http_rules import (
    Action,
    Answer,
    BlackHole,
    CorruptUpload,
    Delay,
    Exchange,
    LoseAnswer,
    ResetAnswer,
    ResetUpload,
    TruncateAnswer,
)
from servers.process import free_port

PIECE = 256 * 1024
#: Three full pieces and a bit, so that there is a first, a middle and a last one; more than one request would hold.
PIECES = 3
DATA = bytes(range(256)) * (PIECES * 1024) + b"the end"


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """Let nobody wait between two tries."""
    with stamina.set_testing(True, attempts=5, cap=True):
        yield


@pytest.fixture
def proxy(emulator: GcsServer) -> Iterator[HttpProxy]:
    with HttpProxy(emulator.port) as proxy:
        yield proxy


@pytest.fixture
def store(emulator: GcsServer, proxy: HttpProxy, open_at: Callable[..., GcsDestination]) -> GcsDestination:
    destination = open_at(proxy.port, emulator.create_bucket(), part_size=PIECE)
    proxy.forget()
    return destination


def starts_session(exchange: Exchange) -> bool:
    return exchange.method == "POST" and exchange.query.get("uploadType") == "resumable"


def sends_piece(number: int) -> Callable[[Exchange], bool]:
    """Match the request that sends a piece, counted from 0; the last one is number ``PIECES``."""
    return lambda exchange: exchange.headers.get("content-range", "").startswith(f"bytes {number * PIECE}-")


def stores_at_once(exchange: Exchange) -> bool:
    return exchange.method == "POST" and exchange.query.get("uploadType") == "multipart"


def downloads(exchange: Exchange) -> bool:
    return exchange.query.get("alt") == "media"


def write(store: GcsDestination, data: bytes = DATA) -> None:
    with store.open_writer("part") as writer:
        writer.write(data)
        writer.commit()


def check_whole(store: GcsDestination) -> None:
    """Check that there is one object, and that it is what was written."""
    assert [(info.key, info.size_bytes) for info in store.list()] == [("part", len(DATA))]
    with store.open_reader("part") as reader:
        assert reader.read() == DATA


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        pytest.param(starts_session, LoseAnswer(), id="start of the session, answer lost"),
        pytest.param(starts_session, Answer(503, {"Retry-After": "0"}), id="start of the session, unavailable"),
        *(
            pytest.param(sends_piece(number), fault, id=f"{name}, {what}")
            for number, name in enumerate(["first piece", "second piece", "third piece", "last piece"])
            for fault, what in [
                (LoseAnswer(), "answer lost"),
                (ResetUpload(3), "reset in the upload"),
                (Answer(503, {"Retry-After": "0"}), "unavailable"),
                (Answer(429), "too fast"),
                (Delay(0.2), "slow"),
            ]
        ),
        pytest.param(sends_piece(PIECES), ResetAnswer(20), id="last piece, reset in the answer"),
        pytest.param(sends_piece(PIECES), TruncateAnswer(20), id="last piece, answer cut"),
    ],
)
def test_a_resumable_upload_survives(
    store: GcsDestination, proxy: HttpProxy, where: Callable[[Exchange], bool], fault: Action
) -> None:
    rule = proxy.on(where, fault)
    write(store)
    assert rule.fired == 1
    check_whole(store)


def test_what_is_confirmed_is_not_sent_again(store: GcsDestination, proxy: HttpProxy) -> None:
    rule = proxy.on(sends_piece(1), LoseAnswer())
    write(store)
    assert rule.fired == 1
    ranges = [exchange.headers["content-range"] for exchange in proxy.exchanges if exchange.method == "PUT"]
    begins = [value.split("-")[0] for value in ranges]
    assert begins == ["bytes 0", f"bytes {PIECE}", "bytes */*", f"bytes {2 * PIECE}", f"bytes {3 * PIECE}"]


@pytest.mark.parametrize("fault", [LoseAnswer(), ResetUpload(3), Answer(503), ResetAnswer(20), TruncateAnswer(20)])
@pytest.mark.parametrize("condition", [IfAbsent(), "current", None], ids=["if absent", "if version", "always"])
def test_an_upload_of_one_request_survives(
    fake_gcs: GcsServer, open_at: Callable[..., GcsDestination], fault: Action, condition: object
) -> None:
    with HttpProxy(fake_gcs.port) as proxy:  # here the server enforces the precondition
        store = open_at(proxy.port, fake_gcs.create_bucket())
        if condition == "current":
            condition = IfVersion(store.put("manifest.json", b"before").version)
        rule = proxy.on(stores_at_once, fault)
        info = store.put("manifest.json", b"x" * 1000, condition=condition)  # type: ignore[arg-type]  # see above
        assert rule.fired == 1
        assert list(store.list()) == [info]


@pytest.mark.parametrize("fault", [ResetAnswer(1000), TruncateAnswer(1000), Answer(503), LoseAnswer()])
def test_a_download_survives(store: GcsDestination, proxy: HttpProxy, fault: Action) -> None:
    write(store)
    rule = proxy.on(downloads, fault)
    check_whole(store)
    assert rule.fired == 1


def test_a_silent_service_is_given_up(
    emulator: GcsServer, proxy: HttpProxy, open_at: Callable[..., GcsDestination]
) -> None:
    store = open_at(proxy.port, emulator.create_bucket(), part_size=PIECE, timeout_seconds=0.3)
    rule = proxy.on(sends_piece(1), BlackHole())
    write(store)
    assert rule.fired == 1
    check_whole(store)
    silence = proxy.always(lambda _: True, BlackHole())
    with pytest.raises(Transient, match="does not answer in time"):
        store.head("part")
    assert silence.fired == 5  # the tries


@pytest.mark.parametrize("number", range(PIECES + 1))
def test_bytes_that_change_on_the_way_are_found(store: GcsDestination, proxy: HttpProxy, number: int) -> None:
    rule = proxy.on(sends_piece(number), CorruptUpload(5))
    with pytest.raises(IntegrityError, match="deleted again") as caught:
        write(store)
    assert caught.value.hint
    assert rule.fired == 1
    assert list(store.list()) == []


@pytest.mark.parametrize("after", [900, 1400], ids=["early", "late"])
def test_bytes_that_change_in_one_request_are_found(store: GcsDestination, proxy: HttpProxy, after: int) -> None:
    rule = proxy.on(stores_at_once, CorruptUpload(after))
    with pytest.raises(IntegrityError):
        store.put("manifest.json", b"x" * 2000)
    assert rule.fired == 1
    assert list(store.list()) == []


def test_the_checksum_is_declared(store: GcsDestination, proxy: HttpProxy) -> None:
    # No server for tests compares this header; Google's refuses the object before it is visible.
    write(store)
    sent = [exchange.headers.get("x-goog-hash") for exchange in proxy.exchanges if exchange.method == "PUT"]
    expected = store.head("part")
    assert expected is not None
    encoded = base64.b64encode(bytes.fromhex(expected.checksums["crc32c"])).decode()
    assert sent == [*[None] * PIECES, f"crc32c={encoded}"]


def test_without_checksums_none_is_declared_or_given(
    emulator: GcsServer, proxy: HttpProxy, open_at: Callable[..., GcsDestination]
) -> None:
    store = open_at(proxy.port, emulator.create_bucket(), part_size=PIECE, checksum="off")
    write(store)
    assert not any("x-goog-hash" in exchange.headers for exchange in proxy.exchanges)
    assert [dict(info.checksums) for info in store.list()] == [{}]


def test_a_required_checksum_that_is_missing_fails(store: GcsDestination) -> None:
    info = store.put("part", b"1")
    required = store._bucket
    required.config = required.config.model_copy(update={"checksum": "required"})
    without = type(info)(info.key, info.size_bytes, info.version)
    with pytest.raises(IntegrityError, match="gives no CRC32C"):
        required.prove(without, 1, 0)


@pytest.mark.parametrize("status", [404, 410])
def test_a_forgotten_session_is_a_lost_upload(store: GcsDestination, proxy: HttpProxy, status: int) -> None:
    rule = proxy.always(sends_piece(1), Answer(status))
    with pytest.raises(Transient, match="forgotten the upload") as caught:
        write(store)
    assert caught.value.hint
    assert rule.fired == 1  # a repetition would not bring it back
    assert list(store.list()) == []


def test_a_forgotten_session_whose_object_is_there_is_a_success(store: GcsDestination, proxy: HttpProxy) -> None:
    lost = proxy.on(sends_piece(PIECES), LoseAnswer())
    forgotten = proxy.always(lambda exchange: "*/" in exchange.headers.get("content-range", ""), Answer(410))
    write(store)
    assert (lost.fired, forgotten.fired) == (1, 1)
    check_whole(store)


def test_a_session_starts_with_its_precondition(store: GcsDestination, proxy: HttpProxy) -> None:
    write(store)
    (start,) = filter(starts_session, proxy.exchanges)
    assert start.query["ifGenerationMatch"] == "0"


@pytest.mark.parametrize("where", [starts_session, sends_piece(PIECES)], ids=["at the start", "at the end"])
def test_a_lost_race_leaves_the_winner(
    store: GcsDestination, proxy: HttpProxy, where: Callable[[Exchange], bool]
) -> None:
    winner = store.put("part", b"theirs")
    rule = proxy.always(where, Answer(412))
    with pytest.raises(PreconditionFailed):
        write(store)
    assert rule.fired == 1
    assert list(store.list()) == [winner]


def test_an_equal_object_of_another_writer_is_a_lost_race(store: GcsDestination, proxy: HttpProxy) -> None:
    write(store)
    rule = proxy.always(sends_piece(PIECES), Answer(412))
    with pytest.raises(PreconditionFailed):
        write(store)
    assert rule.fired == 1


def test_an_abort_cancels_the_session(store: GcsDestination, proxy: HttpProxy) -> None:
    with store.open_writer("part") as writer:
        writer.write(DATA)
    (cancelled,) = [exchange for exchange in proxy.exchanges if exchange.method == "DELETE"]
    assert cancelled.query["uploadType"] == "resumable"
    assert list(store.list()) == []


@pytest.mark.parametrize("step", ["copy", "delete"])
def test_a_lost_answer_to_a_change_is_settled(store: GcsDestination, proxy: HttpProxy, step: str) -> None:
    info = store.put("part", b"1")
    method = "POST" if step == "copy" else "DELETE"
    rule = proxy.on(lambda exchange: exchange.method == method, LoseAnswer())
    if step == "copy":
        assert store.copy(info, "target").size_bytes == 1
    else:
        store.delete("part", version=info.version)
    assert rule.fired == 1
    assert [found.key for found in store.list()] == (["part", "target"] if step == "copy" else [])


def test_a_failing_page_does_not_end_a_listing(store: GcsDestination, proxy: HttpProxy) -> None:
    store.put("part", b"1")
    rule = proxy.on(lambda exchange: exchange.path.endswith("/o"), Answer(503))
    assert [info.key for info in store.list()] == ["part"]
    assert rule.fired == 1


def test_memory_is_bounded_by_pieces(store: GcsDestination, proxy: HttpProxy) -> None:
    slow = proxy.always(lambda exchange: exchange.method == "PUT", Delay(0.05))
    most = written = 0
    with store.open_writer("part") as writer:
        for _ in range(8 * PIECE // 65536):
            written += writer.write(b"x" * 65536)
            confirmed = sum(exchange.body_bytes for exchange in list(proxy.exchanges) if exchange.status is not None)
            most = max(most, written - confirmed)
        writer.commit()
    assert slow.fired == 8
    assert PIECE < most <= store.buffer_bytes
    assert store.buffer_bytes == 3 * PIECE


def test_threads_fail_by_themselves(store: GcsDestination, proxy: HttpProxy) -> None:
    before = threading.active_count()
    rule = proxy.always(sends_piece(0), Answer(403))
    with pytest.raises(PermissionDenied):
        write(store)
    assert rule.fired == 1
    assert threading.active_count() == before


def test_nothing_is_asked_behind_our_back(store: GcsDestination, proxy: HttpProxy) -> None:
    store.put("part", b"1")
    assert store.head("missing") is None
    store.delete("missing")
    list(store.list())
    assert [exchange.method for exchange in proxy.exchanges] == ["POST", "GET", "DELETE", "GET"]


def error_body(reason: str, message: str) -> bytes:
    return b'{"error": {"message": "%s", "errors": [{"reason": "%s", "message": "%s"}]}}' % (
        message.encode(),
        reason.encode(),
        message.encode(),
    )


@pytest.mark.parametrize(
    ("answer", "error", "hint"),
    [
        pytest.param(
            Answer(403, {}, error_body("forbidden", "me@x does not have storage.objects.get access to it.")),
            PermissionDenied,
            "grant storage.objects.get on the bucket",
            id="the service names the permission",
        ),
        pytest.param(Answer(403), PermissionDenied, "grant storage.objects.create", id="the service names none"),
        pytest.param(
            Answer(403, {}, error_body("retentionPolicyNotMet", "Object is subject to a retention policy")),
            PermissionDenied,
            "retention policy",
            id="retention policy",
        ),
        pytest.param(
            Answer(400, {}, error_body("required", "Bucket is a requester pays bucket but no user project provided.")),
            PermissionDenied,
            "set user_project",
            id="requester pays",
        ),
        pytest.param(
            Answer(404, {}, error_body("notFound", "The specified bucket does not exist.")),
            BucketMissing,
            "create the bucket",
            id="no bucket",
        ),
        pytest.param(
            Answer(400, {}, error_body("invalid", "Provided CRC32C does not match calculated CRC32C")),
            IntegrityError,
            "run the export again",
            id="wrong checksum",
        ),
        pytest.param(
            Answer(401, {}, error_body("required", "Anonymous caller does not have storage.objects.create access.")),
            PermissionDenied,
            "replace allow_anonymous",
            id="nobody",
        ),
        pytest.param(Answer(403, {}, error_body("rateLimitExceeded", "slow down")), Transient, "", id="pace"),
        pytest.param(Answer(418, {}, b"<html>I am a teapot</html>"), DestinationError, "", id="anything"),
    ],
)
def test_refusals_say_what_to_do(
    store: GcsDestination, proxy: HttpProxy, answer: Answer, error: type[DestinationError], hint: str
) -> None:
    rule = proxy.always(lambda exchange: exchange.method != "GET", answer)
    with pytest.raises(error) as caught:
        store.put("part", b"1")
    assert type(caught.value) is error
    assert rule.fired
    assert hint in caught.value.hint
    assert "cannot write gs://" in caught.value.message


def test_a_bucket_may_be_called_bucket(store: GcsDestination, proxy: HttpProxy) -> None:
    message = "No such object: the-specified-bucket/exports/orders/part"
    rule = proxy.always(lambda exchange: exchange.method == "GET", Answer(404, {}, error_body("notFound", message)))
    assert store.head("part") is None
    assert rule.fired == 1


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:{port}", "http://no-such-host.invalid"])
def test_an_unreachable_service_is_named(open_at: Callable[..., GcsDestination], endpoint: str) -> None:
    endpoint = endpoint.format(port=free_port())
    store = open_at(0, "bucket", endpoint=endpoint)  # the port is in the endpoint
    with pytest.raises(Transient, match=endpoint) as caught:
        store.put("part", b"1")
    assert caught.value.hint
