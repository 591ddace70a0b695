"""rivet-azure passes the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
import stamina
import urllib3
from azure.storage.blob import generate_container_sas

from rivet_core.testing import DestinationSuite, Fault, Harness
from servers.azurite import Azurite
from servers.http_proxy import HttpProxy
from servers.http_rules import Action, Answer, LoseAnswer

_THREADS = 8
FAULTS: dict[Fault, Action] = {"denied": Answer(403), "unavailable": Answer(503), "lose_answer": LoseAnswer()}


@contextmanager
def _faults(proxy: HttpProxy, fault: Fault) -> Iterator[None]:
    """Let the proxy misbehave, and nobody wait between two tries."""
    with stamina.set_testing(True, attempts=5, cap=True):
        if fault == "lose_answer":
            rule = proxy.on(lambda exchange: exchange.method == "PUT", FAULTS[fault])
        else:
            rule = proxy.always(lambda _: True, FAULTS[fault])
        yield
        proxy.forget()
        assert rule.fired


class RawContainer:
    """A container over plain HTTP, without the SDK and in a fifth of its time; used from several threads at once."""

    def __init__(self, server: Azurite, name: str) -> None:
        self.name = name
        self._url = f"{server.endpoint}/{name}"
        self._signature = generate_container_sas(
            server.account_name,
            name,
            server.account_key,
            permission="rcwdl",
            expiry=datetime.now(UTC) + timedelta(days=1),
        )
        self._pool = urllib3.PoolManager(maxsize=_THREADS, retries=False)

    def __enter__(self) -> RawContainer:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.clear()

    def get(self, blob: str) -> bytes | None:
        """Return a blob's bytes, or ``None``."""
        answer = self._ask("GET", blob)
        return None if answer.status == 404 else answer.data

    def put(self, blob: str, data: bytes) -> None:
        """Write a blob, over another one if need be."""
        self._ask("PUT", blob, data, {"x-ms-blob-type": "BlockBlob"})

    def delete(self, blob: str) -> None:
        """Delete a blob; absent is fine."""
        self._ask("DELETE", blob)

    def list(self, prefix: str) -> list[str]:
        """Return the name of every blob that begins so."""
        names: list[str] = []
        marker = ""
        while True:
            query = f"&restype=container&comp=list&prefix={quote(prefix)}&marker={quote(marker)}"
            page = ET.fromstring(self._ask("GET", "", query=query).data)
            names += [found.text or "" for found in page.iterfind("Blobs/Blob/Name")]
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return names

    def _ask(
        self, method: str, blob: str, body: bytes | None = None, headers: dict[str, str] | None = None, query: str = ""
    ) -> urllib3.BaseHTTPResponse:
        path = f"/{quote(blob)}" if blob else ""
        url = f"{self._url}{path}?{self._signature}{query}"
        answer = self._pool.request(method, url, body=body, headers={"x-ms-version": "2025-11-05", **(headers or {})})
        assert answer.status < 300 or answer.status == 404, (answer.status, answer.data)
        return answer


class TestAzurite(DestinationSuite):
    destination = "azure"

    @pytest.fixture
    def raw(self, azurite: Azurite) -> Iterator[RawContainer]:
        with RawContainer(azurite, azurite.create_container()) as raw:
            yield raw

    @pytest.fixture
    def harness(
        self,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
        azurite: Azurite,
        raw: RawContainer,
        proxy: HttpProxy,
    ) -> Harness:
        monkeypatch.setenv("AZURE_KEY_OF_TEST", azurite.account_key)
        # Whole runs ask thousands of times, need no faults, and take half as long without the proxy.
        direct = request.function.__module__.endswith((".trust", ".stateful"))
        server = azurite if direct else azurite.through(proxy.port)

        return Harness(
            config=lambda prefix: {
                "bucket": raw.name,
                "account_name": azurite.account_name,
                "account_key_env": "AZURE_KEY_OF_TEST",
                "endpoint": server.endpoint,
                "prefix": prefix,
            },
            get=lambda prefix, key: raw.get(f"{prefix}/{key}"),
            put=lambda prefix, key, data: raw.put(f"{prefix}/{key}", data),
            list=lambda prefix: [name.removeprefix(f"{prefix}/") for name in raw.list(f"{prefix}/")],
            delete=lambda prefix, key: raw.delete(f"{prefix}/{key}"),
            secrets=[azurite.account_key],
            faults=None if direct else lambda fault: _faults(proxy, fault),
        )
