"""rivet-azure passes the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import stamina
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from rivet_core.testing import DestinationSuite, Fault, Harness
from servers.azurite import Azurite
from servers.http_proxy import HttpProxy
from servers.http_rules import Action, Answer, LoseAnswer

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


class TestAzurite(DestinationSuite):
    destination = "azure"

    @pytest.fixture
    def harness(
        self,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
        azurite: Azurite,
        container: ContainerClient,
        proxy: HttpProxy,
    ) -> Harness:
        monkeypatch.setenv("AZURE_KEY_OF_TEST", azurite.account_key)
        # Whole runs ask thousands of times, need no faults, and take half as long without the proxy.
        direct = request.function.__module__.endswith((".trust", ".stateful"))
        server = azurite if direct else azurite.through(proxy.port)

        def get(prefix: str, key: str) -> bytes | None:
            try:
                return container.download_blob(f"{prefix}/{key}").readall()
            except ResourceNotFoundError:
                return None

        def delete(prefix: str, key: str) -> None:
            with suppress(ResourceNotFoundError):
                container.delete_blob(f"{prefix}/{key}")

        return Harness(
            config=lambda prefix: {
                "bucket": container.container_name,
                "account_name": azurite.account_name,
                "account_key_env": "AZURE_KEY_OF_TEST",
                "endpoint": server.endpoint,
                "prefix": prefix,
            },
            get=get,
            put=lambda prefix, key, data: container.upload_blob(f"{prefix}/{key}", data, overwrite=True),
            list=lambda prefix: [
                name.removeprefix(f"{prefix}/") for name in container.list_blob_names(name_starts_with=f"{prefix}/")
            ],
            delete=delete,
            secrets=[azurite.account_key],
            faults=None if direct else lambda fault: _faults(proxy, fault),
        )
