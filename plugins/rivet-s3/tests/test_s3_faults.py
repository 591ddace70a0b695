"""Networks and servers that fail: a run succeeds after repetitions or fails cleanly, and nothing is lost or doubled."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import stamina

from rivet_core.api import DestinationError, IfAbsent, IntegrityError, PreconditionFailed, Transient
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

PART = "part-000001.parquet"
CONTENT = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(12 << 15))  # 12 MiB
pytestmark = pytest.mark.usefixtures("no_waiting")
Matches = Callable[[Exchange], bool]

SLOW_DOWN = Answer(
    503, {"Retry-After": "1", "Content-Type": "application/xml"}, b"<Error><Code>SlowDown</Code></Error>"
)


def is_part(exchange: Exchange) -> bool:
    """Whether a request sends a part of a multipart upload."""
    return "partNumber" in exchange.query


def is_beginning(exchange: Exchange) -> bool:
    return exchange.method == "POST" and exchange.target.endswith("?uploads")


def is_completion(exchange: Exchange) -> bool:
    return exchange.method == "POST" and "uploadId" in exchange.query


def puts(name: str) -> Matches:
    """Whether a request writes the object ``name`` whole."""
    return lambda exchange: exchange.method == "PUT" and exchange.path.endswith(f"/{name}") and not is_part(exchange)


def gets(name: str) -> Matches:
    return lambda exchange: exchange.method == "GET" and exchange.path.endswith(f"/{name}")


def write(store: Any, content: bytes = CONTENT) -> Any:
    with store.open_writer(PART) as writer:
        for start in range(0, len(content), 1 << 20):
            writer.write(content[start : start + (1 << 20)])
        return writer.commit()


@pytest.mark.parametrize(
    ("matches", "action"),
    [
        pytest.param(is_part, SLOW_DOWN, id="a part is answered 503"),
        pytest.param(is_part, ResetUpload(1 << 20), id="a part is reset on its way"),
        pytest.param(is_part, LoseAnswer(), id="the answer to a part is lost"),
        pytest.param(is_part, Delay(0.5), id="a part takes long"),
        pytest.param(is_part, BlackHole(), id="a part is never answered"),
        pytest.param(is_beginning, SLOW_DOWN, id="the beginning is answered 503"),
        pytest.param(is_beginning, TruncateAnswer(20), id="the answer to the beginning is cut"),
        pytest.param(is_completion, SLOW_DOWN, id="the completion is answered 503"),
        pytest.param(is_completion, LoseAnswer(), id="the answer to the completion is lost"),
        pytest.param(is_completion, ResetAnswer(), id="the answer to the completion is reset"),
        pytest.param(is_completion, TruncateAnswer(60), id="the answer to the completion is cut"),
        pytest.param(
            is_completion,
            Answer(200, {"Content-Type": "application/xml"}, b"<Error><Code>InternalError</Code></Error>"),
            id="the completion is answered 200 with an error",
        ),
    ],
)
def test_a_large_part_survives_one_fault(
    place: Any, connect: Any, proxy: Any, matches: Matches, action: Action
) -> None:
    store = connect(place, through=proxy, part_size="5MiB", timeout_seconds=1)
    rule = proxy.on(matches, action)
    info = write(store)
    assert rule.fired == 1
    assert place.get(PART) == CONTENT
    assert store.head(PART) == info
    assert place.names() == [PART]


@pytest.mark.parametrize(
    "action",
    [SLOW_DOWN, ResetUpload(1000), LoseAnswer(), Delay(0.5), BlackHole()],
    ids=["503", "reset on its way", "answer lost", "takes long", "never answered"],
)
@pytest.mark.parametrize("if_absent", [True, False], ids=["if absent", "unconditionally"])
def test_a_small_part_survives_one_fault(place: Any, connect: Any, proxy: Any, action: Action, if_absent: bool) -> None:
    store = connect(place, through=proxy, timeout_seconds=1)
    rule = proxy.on(puts(PART), action)
    with store.open_writer(PART, if_absent=if_absent) as writer:
        writer.write(CONTENT[:100_000])
        info = writer.commit()
    assert rule.fired == 1
    assert place.get(PART) == CONTENT[:100_000]
    assert store.head(PART) == info


def test_a_lost_answer_is_no_success_where_somebody_else_was_first(place: Any, connect: Any, proxy: Any) -> None:
    store = connect(place, through=proxy)
    place.put(PART, b"theirs")
    rule = proxy.on(puts(PART), LoseAnswer())  # the answer that is lost is a 412
    with store.open_writer(PART) as writer:
        writer.write(b"ours")
        with pytest.raises(PreconditionFailed):
            writer.commit()
    assert rule.fired == 1
    assert place.get(PART) == b"theirs"


def test_a_lost_answer_to_a_conditional_put_is_settled(place: Any, connect: Any, proxy: Any) -> None:
    store = connect(place, through=proxy)
    rule = proxy.on(puts("manifest.json"), LoseAnswer())
    info = store.put("manifest.json", b"ours", condition=IfAbsent())
    assert rule.fired == 1
    assert store.head("manifest.json") == info


@pytest.mark.parametrize("name", ["copy", "delete"])
def test_lost_answers_to_copies_and_deletes_are_settled(place: Any, connect: Any, proxy: Any, name: str) -> None:
    store = connect(place, through=proxy)
    source = store.put("source", b"content")
    if name == "copy":
        rule = proxy.on(puts("target"), LoseAnswer())
        assert store.copy(source, "target").size_bytes == 7
        assert place.get("target") == b"content"
    else:
        rule = proxy.on(lambda exchange: exchange.method == "DELETE", LoseAnswer())
        store.delete("source", version=source.version)
        assert place.names() == []
    assert rule.fired == 1


@pytest.mark.parametrize(
    "action", [ResetAnswer(3 << 20), TruncateAnswer(3 << 20), SLOW_DOWN], ids=["reset", "cut", "503"]
)
def test_reading_goes_on_where_it_broke_off(place: Any, connect: Any, proxy: Any, action: Action) -> None:
    place.put(PART, CONTENT)
    store = connect(place, through=proxy)
    rule = proxy.on(gets(PART), action)
    with store.open_reader(PART) as reader:
        assert reader.read() == CONTENT
    assert rule.fired == 1


def test_reading_never_goes_on_in_another_version(place: Any, connect: Any, proxy: Any) -> None:
    place.put(PART, CONTENT)
    store = connect(place, through=proxy)
    rule = proxy.on(gets(PART), TruncateAnswer(3 << 20))
    with store.open_reader(PART) as reader:
        assert reader.read(1000) == CONTENT[:1000]
        place.put(PART, CONTENT[::-1])
        with pytest.raises(DestinationError, match="not the expected version"):
            reader.read()
    assert rule.fired == 1


def test_a_server_that_stays_away_is_transient_and_leaves_no_upload(place: Any, connect: Any, proxy: Any) -> None:
    store = connect(place, through=proxy, part_size="5MiB")
    rule = proxy.always(is_part, Answer(500))
    with pytest.raises(Transient):
        write(store)
    assert rule.fired >= 5
    assert place.names() == []
    assert place.uploads() == []


def test_a_black_hole_ends_by_the_timeout(place: Any, connect: Any, proxy: Any) -> None:
    store = connect(place, through=proxy, timeout_seconds=0.5)
    rule = proxy.always(lambda exchange: exchange.method == "HEAD", BlackHole())
    begun = time.monotonic()
    with pytest.raises(Transient, match="does not answer") as caught:
        store.head(PART)
    assert time.monotonic() - begun < 15
    assert "timeout_seconds" in caught.value.hint
    assert rule.fired == 5


def test_retry_after_is_honoured(place: Any, connect: Any, proxy: Any) -> None:
    store = connect(place, through=proxy)
    rule = proxy.on(lambda exchange: exchange.method == "HEAD", SLOW_DOWN)
    begun = time.monotonic()
    with stamina.set_testing(False):
        assert store.head(PART) is None
    assert time.monotonic() - begun >= 1
    assert rule.fired == 1


def test_a_completion_that_another_request_collides_with_is_repeated(place: Any, connect: Any, proxy: Any) -> None:
    body = b"<Error><Code>ConditionalRequestConflict</Code></Error>"
    rule = proxy.on(is_completion, Answer(409, {"Content-Type": "application/xml"}, body))
    write(connect(place, through=proxy, part_size="5MiB"))
    assert rule.fired == 1
    assert place.get(PART) == CONTENT


@pytest.mark.parametrize("at", [is_part, puts(PART)], ids=["large", "small"])
@pytest.mark.parametrize("checksum", ["auto", "required"])
def test_bytes_damaged_on_their_way_are_refused(
    place: Any, connect: Any, proxy: Any, at: Matches, checksum: str
) -> None:
    store = connect(place, through=proxy, part_size="5MiB", checksum=checksum)
    rule = proxy.on(at, CorruptUpload(1000))
    with pytest.raises(IntegrityError) as caught:
        write(store, CONTENT if at is is_part else CONTENT[:100_000])
    assert rule.fired == 1
    assert caught.value.hint
    assert place.names() == []
    assert place.uploads() == []


def test_a_damaged_part_ends_the_run_uncertified(
    place: Any, export: Any, proxy: Any, use_keys: Any, seaweedfs: Any
) -> None:
    export.configure(place, through=proxy, **use_keys(seaweedfs.admin))
    rule = proxy.on(puts("part-000002.parquet"), CorruptUpload(100))
    run = export.rivet("run")
    assert rule.fired == 1
    assert (run.exit_code, "error[R408]" in run.err) == (3, True), run
    assert "part-000002.parquet" not in place.names()
    assert "_SUCCESS" not in place.names()


RUN_FAULTS: dict[str, tuple[Matches, Action]] = {
    "every first answer to a write is lost": (lambda exchange: exchange.method == "PUT", LoseAnswer()),
    "the commit's answer is lost": (puts("_SUCCESS"), LoseAnswer()),
    "the manifest's answer is lost": (puts("manifest.json"), LoseAnswer()),
    "503 with Retry-After": (lambda exchange: exchange.method == "PUT", SLOW_DOWN),
    "the listing is cut": (lambda exchange: "list-type" in exchange.query, TruncateAnswer(100)),
}


@pytest.mark.parametrize("name", RUN_FAULTS)
def test_a_run_survives(place: Any, export: Any, proxy: Any, use_keys: Any, seaweedfs: Any, name: str) -> None:
    matches, action = RUN_FAULTS[name]
    seen: Counter[str] = Counter()

    def first_time(exchange: Exchange) -> bool:
        if not matches(exchange) or ".rivet-probe" in exchange.path:
            return False
        seen[exchange.path] += 1
        return seen[exchange.path] == 1

    export.configure(place, through=proxy, **use_keys(seaweedfs.admin))
    rule = proxy.always(first_time, action)
    run = export.rivet("run", "--validate")
    assert rule.fired >= 1
    assert run.exit_code == 0, run
    manifest = json.loads(place.get("manifest.json"))
    parts = [name for name in place.names() if name.startswith("part-")]
    assert sorted(part["path"] for part in manifest["parts"]) == sorted(parts)
    assert sum(part["rows"] for part in manifest["parts"]) == 3000


def test_a_run_whose_writes_all_fail_leaves_the_certified_dataset(
    place: Any, export: Any, proxy: Any, use_keys: Any, seaweedfs: Any
) -> None:
    export.configure(place, through=proxy, **use_keys(seaweedfs.admin))
    assert export.rivet("run").exit_code == 0
    before = {name: place.get(name) for name in place.names()}
    rule = proxy.always(lambda exchange: exchange.method == "PUT", Answer(500))
    run = export.rivet("run")
    assert rule.fired
    assert (run.exit_code, "error[R407]" in run.err) == (1, True), run
    proxy.forget()
    assert {name: place.get(name) for name in place.names()} == before
    assert export.rivet("validate").exit_code == 0
