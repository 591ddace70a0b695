"""Writers that meet at one key, and parts that are under way at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from rivet_core.api import ObjectInfo, PreconditionFailed
from servers.http_rules import Delay, Exchange

PART = "part-000001.parquet"
MIB = 1 << 20
WRITERS = 4


def is_completion(exchange: Exchange) -> bool:
    return exchange.method == "POST" and "uploadId" in exchange.query


@pytest.mark.parametrize("size", [1000, 6 * MIB], ids=["one request", "parts"])
def test_exactly_one_writer_wins(place: Any, moto_place: Any, moto_proxy: Any, connect: Any, size: int) -> None:
    """SeaweedFS decides about single requests at any speed. Moto looks and then writes, without a lock, so the proxy
    lets completions reach it one after another.
    """
    there, through = (place, None) if size < MIB else (moto_place, moto_proxy)
    store = connect(there, through=through, part_size="5MiB", conditional_writes="required", upload_concurrency=1)
    for number in range(WRITERS):
        moto_proxy.on(is_completion, Delay(0.4 * number))
    contents = [bytes([number]) * size for number in range(WRITERS)]
    start = Barrier(WRITERS)

    def race(content: bytes) -> ObjectInfo | None:
        with store.open_writer(PART) as writer:
            writer.write(content)
            start.wait()
            try:
                return writer.commit()
            except PreconditionFailed:
                return None

    with ThreadPoolExecutor(WRITERS) as threads:
        results = list(threads.map(race, contents))
    winners = [number for number, result in enumerate(results) if result is not None]
    assert len(winners) == 1
    assert there.get(PART) == contents[winners[0]]
    assert there.uploads() == []
    completions = [exchange.status for exchange in moto_proxy.exchanges if is_completion(exchange)]
    assert completions.count(412) == (WRITERS - 1 if size > MIB else 0), "the store has not decided"
    assert not [exchange for exchange in moto_proxy.exchanges if exchange.method == "HEAD"]


@pytest.mark.parametrize("conditional_writes", ["auto", "off"])
def test_a_key_that_is_taken_meanwhile_is_seen_before_an_upload_in_parts_is_completed(
    place: Any, connect: Any, conditional_writes: str
) -> None:
    store = connect(place, part_size="5MiB", conditional_writes=conditional_writes)
    with store.open_writer(PART) as writer:
        writer.write(bytes(6 * MIB))
        place.put(PART, b"theirs")
        with pytest.raises(PreconditionFailed):
            writer.commit()
    assert place.get(PART) == b"theirs"
    assert place.uploads() == []


def test_parts_are_sent_side_by_side_and_never_more_than_fit(place: Any, connect: Any, proxy: Any) -> None:
    store = connect(place, through=proxy, upload_bytes=35 * MIB, part_size="5MiB", upload_concurrency=16)
    assert store.buffer_bytes <= 35 * MIB
    in_flight: list[int] = []
    sent = proxy.exchanges

    def count(exchange: Any) -> bool:
        open_ones = [other for other in sent if "partNumber" in other.query and other.status is None]
        in_flight.append(len(open_ones))
        return False

    proxy.always(count, Delay(0))
    with store.open_writer(PART) as writer:
        for _ in range(60):
            writer.write(bytes(MIB))
        writer.commit()
    assert max(in_flight) > 1, "parts were sent one after another"
    assert max(in_flight) <= 5, "more is in flight than the memory that was given"
    assert place.head(PART)["ContentLength"] == 60 * MIB
