"""rivet-gcs passes the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import stamina
from google.cloud import storage
from google.cloud.exceptions import NotFound

from rivet_core.testing import DestinationSuite, Fault, Harness
from servers.gcs import GcsServer
from servers.http_proxy import HttpProxy
from servers.http_rules import Action, Answer, LoseAnswer

FAULTS: dict[Fault, Action] = {"denied": Answer(403), "unavailable": Answer(503), "lose_answer": LoseAnswer()}


#: Tests of a precondition or of something that stands on one; whole runs publish by them.
CONDITIONAL = [
    *("C-PUT-1", "C-PUT-2", "C-WRITE-1", "D-ERR-4", "D-COPY-2", "D-COPY-3", "D-DELETE-2", "D-WRITE-7"),
    *("S-MACHINE-1", "T-CRASH-1", "T-CRASH-2", "T-ANSWER-1", "T-RACE-1", "T-REPAIR-2", "T-MACHINE-1"),
]
EMULATOR_LACKS = dict.fromkeys(CONDITIONAL, "gcp-storage-emulator ignores preconditions") | {
    "D-READ-3": "gcp-storage-emulator ignores the generation that a read asks for",
    "D-LIST-2": "gcp-storage-emulator returns every listing in one page",
}


@contextmanager
def _faults(proxy: HttpProxy, fault: Fault) -> Iterator[None]:
    """Let the proxy misbehave, and nobody wait between two tries."""
    with stamina.set_testing(True, attempts=5, cap=True):
        if fault == "lose_answer":
            rule = proxy.on(lambda exchange: exchange.method in ("POST", "PUT"), FAULTS[fault])
        else:
            rule = proxy.always(lambda _: True, FAULTS[fault])
        yield
        proxy.forget()
        assert rule.fired


def _harness(port: int, name: str, client: storage.Client) -> Harness:
    """Return a harness without faults for a bucket of the server at ``port``."""
    bucket = client.bucket(name)

    def get(prefix: str, key: str) -> bytes | None:
        try:
            data: bytes = bucket.blob(f"{prefix}/{key}").download_as_bytes(raw_download=True, retry=None)
        except NotFound:
            return None
        return data

    def list_keys(prefix: str) -> list[str]:
        blobs = client.list_blobs(bucket, prefix=f"{prefix}/", retry=None)
        return [blob.name.removeprefix(f"{prefix}/") for blob in blobs]

    def delete(prefix: str, key: str) -> None:
        with suppress(NotFound):
            bucket.blob(f"{prefix}/{key}").delete(retry=None)

    return Harness(
        config=lambda prefix: {
            "bucket": name,
            "prefix": prefix,
            "endpoint": f"http://127.0.0.1:{port}",
            "allow_anonymous": True,
        },
        get=get,
        put=lambda prefix, key, data: bucket.blob(f"{prefix}/{key}").upload_from_string(data, retry=None),
        list=list_keys,
        delete=delete,
    )


class TestFakeGcs(DestinationSuite):
    destination = "gcs"

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, fake_gcs: GcsServer, proxy: HttpProxy) -> Iterator[Harness]:
        # Whole runs ask thousands of times, need no faults, and take half as long without the proxy.
        direct = request.function.__module__ == "rivet_core.testing.destination.trust"
        port = fake_gcs.port if direct else proxy.port
        with fake_gcs.client() as client:
            harness = _harness(port, fake_gcs.create_bucket(), client)
            yield replace(harness, faults=None if direct else lambda fault: _faults(proxy, fault))


class TestEmulator(DestinationSuite):
    """gcp-storage-emulator ignores preconditions; everything else, resumable uploads above all, is as Google has it."""

    destination = "gcs"

    @pytest.fixture
    def harness(self, emulator: GcsServer) -> Iterator[Harness]:
        with emulator.client() as client:
            yield replace(_harness(emulator.port, emulator.create_bucket(), client), exclude=EMULATOR_LACKS)
