"""Whole exports while the connection misbehaves: they succeed, or fail cleanly and leave the prefix as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.cloud import storage

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
from servers.process import HOST

#: What one export of three parts writes, in this order, each in one request.
WRITES = ["part", "part", "part", "immutable manifest", "manifest", "marker"]


@pytest.fixture
def proxy(fake_gcs: GcsServer) -> Iterator[HttpProxy]:
    with HttpProxy(fake_gcs.port) as proxy:
        yield proxy


@pytest.fixture
def destination(fake_gcs: GcsServer, proxy: HttpProxy) -> dict[str, object]:
    return {
        "type": "gcs",
        "bucket": fake_gcs.create_bucket(),
        "prefix": "orders/",
        "endpoint": f"http://{HOST}:{proxy.port}",
        "allow_anonymous": True,
        "timeout_seconds": 1,
    }


@pytest.fixture
def objects(fake_gcs: GcsServer, destination: dict[str, object]) -> Iterator[Callable[[], dict[str, bytes]]]:
    """Return every object of the prefix by key, asked of the server itself."""
    with fake_gcs.client() as client:

        def get() -> dict[str, bytes]:
            blobs: list[storage.Blob] = list(client.list_blobs(str(destination["bucket"]), retry=None))
            return {blob.name.removeprefix("orders/"): blob.download_as_bytes(retry=None) for blob in blobs}

        yield get


def nth_write(number: int) -> Callable[[Exchange], bool]:
    """Match the write with this number; the name of what is written is in the body, which is not recorded."""
    writes: list[Exchange] = []

    def matches(exchange: Exchange) -> bool:
        if exchange.method != "POST":
            return False
        if exchange not in writes:
            writes.append(exchange)
        return writes.index(exchange) == number

    return matches


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        *(pytest.param(number, LoseAnswer(), id=f"{WRITES[number]}, answer lost") for number in (0, 3, 4, 5)),
        pytest.param(1, ResetUpload(300), id="part, reset in the upload"),
        pytest.param(1, ResetAnswer(20), id="part, reset in the answer"),
        pytest.param(1, BlackHole(), id="part, silence until the timeout"),
        pytest.param(1, Delay(0.5), id="part, slow"),
        pytest.param(4, Answer(503, {"Retry-After": "1"}), id="manifest, unavailable"),
        pytest.param(5, TruncateAnswer(20), id="marker, answer cut"),
    ],
)
def test_an_export_survives(
    rivet: Callable[..., Any],
    proxy: HttpProxy,
    destination: dict[str, object],
    objects: Callable[[], dict[str, bytes]],
    number: int,
    fault: Action,
) -> None:
    rule = proxy.on(nth_write(number), fault)
    done = rivet("run", "--validate", destination=destination)
    assert done.exit_code == 0, done
    assert rule.fired == 1
    found = objects()
    manifest = json.loads(found["manifest.json"])
    assert manifest["row_count"] == 100
    # Nothing is there twice, and nothing is listed that is not there.
    assert sorted(key for key in found if key.startswith("part-")) == sorted(part["path"] for part in manifest["parts"])
    assert len(found) == len(WRITES)


@pytest.mark.parametrize(
    ("fault", "exit_code", "code"),
    [
        pytest.param(Answer(503, {"Retry-After": "0"}), 1, "R407", id="unavailable"),
        pytest.param(CorruptUpload(600), 3, "R408", id="bytes change on the way"),
    ],
)
def test_an_export_that_fails_leaves_the_dataset(
    rivet: Callable[..., Any],
    proxy: HttpProxy,
    destination: dict[str, object],
    objects: Callable[[], dict[str, bytes]],
    fault: Action,
    exit_code: int,
    code: str,
) -> None:
    assert rivet("run", destination=destination).exit_code == 0
    before = objects()
    rule = proxy.always(lambda exchange: exchange.method == "POST", fault)
    done = rivet("run", destination=destination)
    assert rule.fired
    assert done.exit_code == exit_code, done
    assert f"error[{code}]" in done.err
    assert "hint: " in done.err
    proxy.forget()
    assert objects() == before
    assert rivet("validate", destination=destination).exit_code == 0
