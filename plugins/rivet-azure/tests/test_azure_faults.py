"""What happens between the plugin and the service: lost and damaged requests and answers, other writers, silence."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from rivet_azure.destination import AzureDestination
from rivet_core.api import (
    BucketMissing,
    DestinationError,
    IfAbsent,
    IfVersion,
    IntegrityError,
    NotFound,
    ObjectInfo,
    PermissionDenied,
    PreconditionFailed,
    StorageFull,
    Transient,
)
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

pytestmark = pytest.mark.usefixtures("impatient")

Open = Callable[..., AzureDestination]
Matches = Callable[[Exchange], bool]
UNAVAILABLE = Answer(503, {"Retry-After": "0", "x-ms-error-code": "ServerBusy"})
LARGE = 3_500_000
NAME = "exports/orders/part"


def is_block(exchange: Exchange) -> bool:
    return exchange.query.get("comp") == "block"


def is_commit(exchange: Exchange) -> bool:
    return exchange.query.get("comp") == "blocklist" and exchange.method == "PUT"


def is_put(exchange: Exchange) -> bool:
    return exchange.method == "PUT" and "comp" not in exchange.query


def is_get(exchange: Exchange) -> bool:
    return exchange.method == "GET" and "comp" not in exchange.query


def is_listing(exchange: Exchange) -> bool:
    return exchange.query.get("comp") == "list"


def write(destination: AzureDestination, data: bytes, *, if_absent: bool = True) -> ObjectInfo:
    with destination.open_writer("part", if_absent=if_absent) as writer:
        for start in range(0, len(data), 700_000):
            writer.write(data[start : start + 700_000])
        return writer.commit()


def stored(container: ContainerClient, name: str = NAME) -> bytes | None:
    try:
        return container.download_blob(name).readall()
    except ResourceNotFoundError:
        return None


@pytest.fixture
def destination(open_at: Open, proxy: HttpProxy) -> AzureDestination:
    """Behind the proxy, with blocks of 1 MiB and a second of patience."""
    return open_at(proxy.port, part_size="1MiB", timeout_seconds=1)


@pytest.mark.parametrize(
    "action",
    [Delay(0.3), UNAVAILABLE, ResetUpload(500_000), LoseAnswer(), BlackHole(), Answer(500), Answer(408)],
    ids=["latency", "503", "reset_upload", "lost_answer", "black_hole", "500", "408"],
)
@pytest.mark.parametrize("times", [1, 3])
def test_blocks_survive(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy, action: Action, times: int
) -> None:
    rule = proxy.on(is_block, action, times=times)
    data = os.urandom(LARGE)
    info = write(destination, data)
    assert rule.fired == times
    assert info.size_bytes == LARGE
    assert destination.head("part") == info
    assert stored(container) == data


@pytest.mark.parametrize("if_absent", [True, False])
@pytest.mark.parametrize(("matches", "size"), [(is_commit, LARGE), (is_put, 1000)], ids=["blocks", "one_request"])
@pytest.mark.parametrize(
    "action",
    [Delay(0.3), UNAVAILABLE, ResetUpload(10), LoseAnswer(), BlackHole()],
    ids=["latency", "503", "reset_upload", "lost_answer", "black_hole"],
)
def test_a_commit_survives(
    destination: AzureDestination,
    container: ContainerClient,
    proxy: HttpProxy,
    action: Action,
    matches: Matches,
    size: int,
    if_absent: bool,
) -> None:
    rule = proxy.on(matches, action)
    data = os.urandom(size)
    info = write(destination, data, if_absent=if_absent)
    assert rule.fired == 1
    assert destination.head("part") == info
    assert stored(container) == data
    assert list(container.list_blob_names()) == [NAME]


@pytest.mark.parametrize("size", [LARGE, 1000])
def test_a_commit_whose_every_answer_is_lost_is_settled_by_looking(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy, size: int
) -> None:
    rule = proxy.always(lambda exchange: is_commit(exchange) or is_put(exchange), LoseAnswer())
    data = os.urandom(size)
    info = write(destination, data)
    assert rule.fired > 1
    assert destination.head("part") == info
    assert stored(container) == data


@pytest.mark.parametrize("size", [LARGE, 1000])
def test_a_part_of_somebody_else_is_not_ours_even_if_it_is_equal(open_at: Open, size: int) -> None:
    data = os.urandom(size)
    write(open_at(part_size="1MiB"), data)
    with pytest.raises(PreconditionFailed):
        write(open_at(part_size="1MiB"), data)


def test_another_part_is_not_ours_when_an_answer_was_lost(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy
) -> None:
    """Our request never arrived; what is at the key, of the same size, came in between."""

    def theirs_first(exchange: Exchange) -> bool:
        if is_commit(exchange) and stored(container) is None:
            container.upload_blob(NAME, bytes(LARGE), overwrite=True)
            return True
        return False

    rule = proxy.on(theirs_first, ResetUpload(10))
    with pytest.raises(PreconditionFailed):
        write(destination, os.urandom(LARGE))
    assert rule.fired == 1
    assert stored(container) == bytes(LARGE)


@pytest.mark.parametrize("condition", ["absent", "version"])
def test_a_conditional_put_whose_answer_is_lost_is_settled_by_looking(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy, condition: str
) -> None:
    at = IfAbsent() if condition == "absent" else IfVersion(destination.put("part", b"old").version)
    rule = proxy.on(is_put, LoseAnswer())
    info = destination.put("part", b"new", condition=at)
    assert rule.fired == 1
    assert destination.head("part") == info
    assert stored(container) == b"new"


@pytest.mark.parametrize(("status", "code"), [(404, "BlobNotFound"), (412, "ConditionNotMet")])
def test_a_version_that_is_gone_is_a_lost_race(
    destination: AzureDestination, proxy: HttpProxy, status: int, code: str
) -> None:
    """Both answers fit a condition on a blob that is not there; Azurite gives the second one."""
    body = f"<Error><Code>{code}</Code><Message>not passed on</Message></Error>".encode()
    rule = proxy.on(is_put, Answer(status, {"x-ms-error-code": code, "Content-Type": "application/xml"}, body))
    with pytest.raises(PreconditionFailed):
        destination.put("part", b"x", condition=IfVersion("0x1"))
    assert rule.fired == 1


@pytest.mark.parametrize("size", [LARGE, 1000])
def test_without_any_answer_the_outcome_is_transient_and_nothing_is_there(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy, size: int
) -> None:
    rule = proxy.always(lambda exchange: True, UNAVAILABLE)
    with pytest.raises(Transient, match="write az://"):
        write(destination, os.urandom(size))
    assert rule.fired
    assert list(container.list_blob_names()) == []


@pytest.mark.parametrize("matches", [is_block, is_put])
def test_damaged_bytes_are_no_part(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy, matches: Matches
) -> None:
    rule = proxy.on(matches, CorruptUpload(500))
    with pytest.raises(IntegrityError) as caught:
        write(destination, os.urandom(LARGE if matches is is_block else 1000))
    assert rule.fired == 1
    assert "damaged" in caught.value.hint
    assert list(container.list_blob_names()) == []


def test_a_damaged_list_of_blocks_is_no_part(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy
) -> None:
    rule = proxy.on(is_commit, CorruptUpload(80))
    with pytest.raises(DestinationError):
        write(destination, os.urandom(LARGE))
    assert rule.fired == 1
    assert list(container.list_blob_names()) == []


def test_a_service_that_stores_other_blocks_is_found_out(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy
) -> None:
    """The commit is answered as done, but what is there has another size: as if a block was lost."""

    def short(exchange: Exchange) -> bool:
        if is_commit(exchange):
            container.upload_blob(NAME, b"short", overwrite=True)
        return is_commit(exchange)

    etag = '"0x1"'
    done = Answer(201, {"ETag": etag, "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"})
    rule = proxy.on(short, done)
    headed = proxy.on(
        lambda exchange: exchange.method == "HEAD",
        Answer(200, {"ETag": etag, "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT", "Content-Length": "5"}),
    )
    with pytest.raises(IntegrityError, match="5 bytes"):
        write(destination, os.urandom(LARGE))
    assert (rule.fired, headed.fired) == (1, 1)


@pytest.mark.parametrize(
    "action",
    [Delay(0.3), UNAVAILABLE, ResetAnswer(100_000), TruncateAnswer(100_000), LoseAnswer(), BlackHole()],
    ids=["latency", "503", "reset", "truncated", "lost", "black_hole"],
)
def test_a_read_survives(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy, action: Action
) -> None:
    data = os.urandom(1_000_000)
    container.upload_blob(NAME, data)
    rule = proxy.on(is_get, action)
    with destination.open_reader("part") as reader:
        assert reader.read() == data
    assert rule.fired == 1


def test_a_blob_that_is_replaced_while_it_is_read_is_not_mixed(open_at: Open, container: ContainerClient) -> None:
    container.upload_blob(NAME, b"1" * 20_000_000)
    with open_at().open_reader("part") as reader:
        assert reader.read(1) == b"1"
        container.upload_blob(NAME, b"2" * 20_000_000, overwrite=True)
        with pytest.raises(NotFound, match="not the expected version"):
            reader.read()


@pytest.mark.parametrize("action", [UNAVAILABLE, ResetAnswer(20), TruncateAnswer(20)], ids=["503", "reset", "cut"])
def test_a_listing_survives(destination: AzureDestination, proxy: HttpProxy, action: Action) -> None:
    for key in "abc":
        destination.put(key, b"x")
    rule = proxy.on(is_listing, action)
    assert [found.key for found in destination.list()] == ["a", "b", "c"]
    assert rule.fired == 1


def test_a_copy_whose_answer_is_lost_is_settled_by_looking(destination: AzureDestination, proxy: HttpProxy) -> None:
    source = destination.put("a key/with spaces & ümlauts", b"x")
    rule = proxy.on(lambda exchange: "x-ms-copy-source" in exchange.headers, LoseAnswer())
    copied = destination.copy(source, "copy")
    assert rule.fired == 1
    assert destination.head("copy") == copied


def test_a_copy_of_somebody_else_is_not_ours_when_an_answer_was_lost(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy
) -> None:
    source = destination.put("a", b"x")

    def theirs_first(exchange: Exchange) -> bool:
        if "x-ms-copy-source" in exchange.headers and stored(container) is None:
            container.upload_blob(NAME, b"x")
            return True
        return False

    rule = proxy.on(theirs_first, UNAVAILABLE)
    with pytest.raises(PreconditionFailed):
        destination.copy(source, "part")
    assert rule.fired == 1


def test_a_copy_is_waited_for_and_a_failed_one_is_removed(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy
) -> None:
    """A large copy is done by the service in its own time; Azurite's are done at once, so the proxy plays the wait."""
    source = destination.put("a", b"x")
    pending = {"ETag": '"0x1"', "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT", "x-ms-copy-status": "pending"}
    waits = proxy.on(
        lambda exchange: exchange.method == "HEAD" and exchange.path.endswith("/part"), Answer(200, pending), times=3
    )
    assert destination.copy(source, "part").size_bytes == 1
    assert waits.fired == 3
    destination.delete("part")
    failed = proxy.on(
        lambda exchange: exchange.method == "HEAD" and exchange.path.endswith("/part"),
        Answer(200, {**pending, "x-ms-copy-status": "failed"}),
    )
    with pytest.raises(DestinationError, match="failed") as caught:
        destination.copy(source, "part")
    assert failed.fired == 1
    assert "original is left" in caught.value.hint
    assert stored(container, "exports/orders/a") == b"x"


def test_a_delete_whose_answer_is_lost_is_done(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy
) -> None:
    info = destination.put("part", b"x")
    rule = proxy.on(lambda exchange: exchange.method == "DELETE", LoseAnswer())
    destination.delete("part", version=info.version)
    assert rule.fired == 1
    assert stored(container) is None


def test_unfinished_blocks_of_another_program_are_no_obstacle(
    open_at: Open, container: ContainerClient, proxy: HttpProxy
) -> None:
    """The service wants the ids of all blocks of a blob to be of one length; ours take that of those that are there."""
    for length in (13, 20, 47):
        container.get_blob_client(NAME).stage_block("x" * length, b"stale")
        data = os.urandom(LARGE)
        write(open_at(part_size="1MiB"), data)
        assert stored(container) == data
        container.delete_blob(NAME)


def test_ids_that_are_too_short_to_be_told_apart_are_refused(open_at: Open, container: ContainerClient) -> None:
    container.get_blob_client(NAME).stage_block("short", b"stale")
    with pytest.raises(DestinationError, match="another program has left unfinished blocks") as caught:
        write(open_at(part_size="1MiB"), os.urandom(LARGE))
    assert "a week" in caught.value.hint


def test_unfinished_blocks_do_not_take_the_name(open_at: Open, container: ContainerClient) -> None:
    """Azurite takes them for a blob when a small one is to be written only if there is none."""
    container.get_blob_client(NAME).stage_block("x" * 32, b"stale")
    with pytest.raises(ResourceExistsError):
        container.upload_blob(NAME, b"theirs")
    destination = open_at()
    assert write(destination, b"ours") == destination.head("part")
    assert stored(container) == b"ours"
    container.get_blob_client("exports/orders/manifest.json").stage_block("x" * 32, b"stale")
    destination.put("manifest.json", b"{}", condition=IfAbsent())
    assert stored(container, "exports/orders/manifest.json") == b"{}"


def test_ids_that_are_no_text_are_refused(open_at: Open, proxy: HttpProxy) -> None:
    """Some programs make them of random bytes, which the SDK cannot send; so the proxy plays the service."""
    listed = (
        b'<?xml version="1.0"?><BlockList><CommittedBlocks/><UncommittedBlocks>'
        b"<Block><Name>//79/P/+/fz//v38</Name><Size>1</Size></Block></UncommittedBlocks></BlockList>"
    )
    code = {"x-ms-error-code": "InvalidBlobOrBlock"}
    refused = proxy.always(is_block, Answer(400, code))
    shown = proxy.on(
        lambda exchange: exchange.query.get("comp") == "blocklist" and exchange.method == "GET",
        Answer(200, {"Content-Type": "application/xml"}, listed),
    )
    with pytest.raises(DestinationError, match="another program has left unfinished blocks"):
        write(open_at(proxy.port, part_size="1MiB"), os.urandom(LARGE))
    assert refused.fired >= 2
    assert shown.fired == 1


@pytest.mark.parametrize("code", ["InvalidBlockList", "InvalidBlobOrBlock"])
@pytest.mark.parametrize("taken", [True, False])
def test_blocks_that_are_gone_at_the_commit_are_a_lost_race_if_the_name_is_taken(
    destination: AzureDestination, container: ContainerClient, proxy: HttpProxy, code: str, taken: bool
) -> None:
    """Whoever writes the blob discards everybody's unfinished blocks; Azurite keeps them, so the proxy answers."""
    rule = proxy.on(is_commit, Answer(400, {"x-ms-error-code": code}))
    with destination.open_writer("part") as writer:
        writer.write(bytes(LARGE))
        if taken:
            container.upload_blob(NAME, b"theirs", overwrite=True)
        with pytest.raises(PreconditionFailed if taken else DestinationError):
            writer.commit()
    assert rule.fired == 1
    assert stored(container) == (b"theirs" if taken else None)


def test_blocks_of_two_writers_do_not_mix(open_at: Open, container: ContainerClient) -> None:
    destination = open_at(part_size="1MiB")
    ours, theirs = os.urandom(LARGE), os.urandom(LARGE)
    with destination.open_writer("part") as first, destination.open_writer("part") as second:
        for start in range(0, LARGE, 500_000):
            first.write(ours[start : start + 500_000])
            second.write(theirs[start : start + 500_000])
        first.commit()
        with pytest.raises(PreconditionFailed):
            second.commit()
    assert stored(container) == ours


def test_of_many_large_uploads_to_one_name_one_wins(open_at: Open, container: ContainerClient) -> None:
    data = [os.urandom(LARGE) for _ in range(6)]
    barrier = threading.Barrier(len(data))
    results: dict[int, object] = {}

    def run(number: int) -> None:
        destination = open_at(part_size="1MiB")
        with destination.open_writer("part") as writer:
            writer.write(data[number])
            barrier.wait()
            try:
                results[number] = writer.commit()
            except DestinationError as error:
                results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(data))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number, result in results.items() if isinstance(result, ObjectInfo)]
    assert len(winners) == 1
    assert all(isinstance(result, PreconditionFailed) for number, result in results.items() if number not in winners)
    assert stored(container) == data[winners[0]]


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint"),
    [
        (404, "ContainerNotFound", BucketMissing, "create the container"),
        (404, "", NotFound, ""),
        (403, "AuthorizationPermissionMismatch", PermissionDenied, "Storage Blob Data"),
        (403, "InsufficientAccountPermissions", PermissionDenied, "does not allow"),
        (403, "KeyBasedAuthenticationNotPermitted", PermissionDenied, "identity of Entra"),
        (403, "AuthorizationSourceIPMismatch", PermissionDenied, "other addresses"),
        (403, "AuthenticationFailed", PermissionDenied, "was not revoked"),
        (401, "NoAuthenticationInformation", PermissionDenied, "set the fields of a login"),
        (409, "PublicAccessNotPermitted", PermissionDenied, "anonymous"),
        (409, "BlobImmutableDueToPolicy", PermissionDenied, "immutability"),
        (412, "LeaseIdMissing", PermissionDenied, "lease"),
        (409, "BlobArchived", DestinationError, "rehydrate"),
        (409, "AccountLimitExceeded", StorageFull, "limit"),
        (400, "InvalidHeaderValue", DestinationError, "api_version"),
        (400, "Nonsense", DestinationError, ""),
        (409, "InvalidBlobType", DestinationError, ""),
        (507, "", StorageFull, "no room"),
        (429, "", Transient, ""),
        (503, "ServerBusy", Transient, ""),
        (502, "", Transient, ""),
    ],
)
def test_answers_of_the_service_become_errors_of_one_family(
    destination: AzureDestination, proxy: HttpProxy, status: int, code: str, kind: type[DestinationError], hint: str
) -> None:
    headers = {"x-ms-error-code": code, "Content-Type": "application/xml"} if code else {}
    body = f"<Error><Code>{code}</Code><Message>not passed on</Message></Error>" if code else ""
    rule = proxy.always(lambda exchange: True, Answer(status, headers, body.encode()))
    with pytest.raises(DestinationError) as caught:
        list(destination.list())
    assert rule.fired
    assert type(caught.value) is kind
    assert hint in caught.value.hint
    assert (code or str(status)) in caught.value.message


def test_a_wrong_clock_gets_a_hint(destination: AzureDestination, proxy: HttpProxy) -> None:
    headers: Mapping[str, str] = {"x-ms-error-code": "AuthenticationFailed", "Date": "Sun, 22 Nov 2020 10:00:00 GMT"}
    rule = proxy.always(lambda exchange: True, Answer(403, headers))
    with pytest.raises(PermissionDenied) as caught:
        destination.head("a")
    assert rule.fired
    assert "clock" in caught.value.hint


def test_nobody_at_the_endpoint_is_transient_and_names_it(open_at: Open) -> None:
    with HttpProxy(0) as proxy:
        port = proxy.port
    with pytest.raises(Transient, match=f"cannot connect to http://127.0.0.1:{port}/testaccount") as caught:
        open_at(port).head("a")
    assert "endpoint" in caught.value.hint


def test_pieces_in_flight_are_bounded(open_at: Open, proxy: HttpProxy, container: ContainerClient) -> None:
    """A slow store holds the writer up: what was taken and not yet acknowledged fits the budget."""
    destination = open_at(proxy.port, upload_bytes=8 << 20, part_size="1MiB", upload_concurrency=4)
    assert destination.buffer_bytes <= 8 << 20
    rule = proxy.always(is_block, Delay(0.2))
    taken = 0
    with destination.open_writer("part") as writer:
        for _ in range(24):
            taken += writer.write(bytes(1 << 20))
            acknowledged = sum(
                exchange.body_bytes for exchange in proxy.exchanges if is_block(exchange) and exchange.status == 201
            )
            assert taken - acknowledged <= destination.buffer_bytes
        assert writer.commit().size_bytes == 24 << 20
    assert rule.fired == 24
    blocks = [exchange.body_bytes for exchange in proxy.exchanges if is_block(exchange)]
    assert set(blocks) == {1 << 20}
