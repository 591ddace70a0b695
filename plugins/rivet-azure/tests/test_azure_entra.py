"""Identities of Microsoft Entra, against Azurite over HTTPS and an authority of the tests that hands out tokens.

Azurite checks audience, issuer and end of a token, and not its signature.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rivet_azure import auth
from rivet_azure.config import AzureConfig
from rivet_azure.destination import AzureDestination, open_azure
from rivet_core.api import (
    ConfigError,
    DestinationContext,
    DestinationError,
    NativeAuth,
    PermissionDenied,
    providers,
)
from rivet_core.testing import AuthHarness, AuthSuite
from servers.azurite import Azurite

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
CLIENT_SECRET = "correct-horse-battery"
IDENTITY_HEADER = "header-of-the-machine"


@dataclass
class Authority:
    """What Microsoft Entra, and the identity endpoint of a machine, do for us.

    Attributes:
        lifetime: of the next tokens, in seconds.
        audience: of the next tokens.
        requests: the forms and queries that came.
    """

    port: int = 0
    lifetime: int = 3600
    audience: str = "https://storage.azure.com"
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def token(self) -> str:
        now = int(time.time())
        claims = {
            "aud": self.audience,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + self.lifetime,
        }
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return ".".join((*encoded, "c2lnbmF0dXJl"))


def _handler(authority: Authority) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path.endswith("/openid-configuration"):
                base = f"{authority.url}/{TENANT}"
                kinds = ("token", "authorization", "device_authorization")
                self._answer(
                    200, {"issuer": f"{base}/v2.0", **{f"{kind}_endpoint": f"{base}/{kind}" for kind in kinds}}
                )
            elif self.headers.get("X-IDENTITY-HEADER") != IDENTITY_HEADER:
                self._answer(401, {"error": "unauthorized"})
            else:
                authority.requests.append({name: values[0] for name, values in parse_qs(url.query).items()})
                end = int(time.time()) + authority.lifetime
                self._answer(200, {"access_token": authority.token(), "expires_on": str(end), "token_type": "Bearer"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            authority.requests.append(form)
            if CLIENT_SECRET in (form.get("client_secret"), form.get("client_assertion")):
                token = {"access_token": authority.token(), "expires_in": authority.lifetime, "token_type": "Bearer"}
                self._answer(200, token)
            else:
                self._answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret."})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def authority(azurite_oauth: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority with the certificate of Azurite, which the environment names as the one to trust."""
    certificate = azurite_oauth.certificate
    assert certificate is not None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.certificate))
    authority = Authority()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(authority)) as server:
        server.socket = certificate.server_side().wrap_socket(server.socket, server_side=True)
        authority.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield authority
        server.shutdown()
        thread.join()


@pytest.fixture
def open_as(azurite_oauth: Azurite) -> Iterator[Callable[[NativeAuth], AzureDestination]]:
    opened = []

    def open_(login: NativeAuth) -> AzureDestination:
        config = AzureConfig(
            bucket=azurite_oauth.create_container(), endpoint=azurite_oauth.endpoint, prefix="p/", part_size=1 << 20
        )
        opened.append(open_azure(config, DestinationContext(Path("/"), login)))
        return opened[-1]

    yield open_
    for destination in opened:
        destination.close()


def use(destination: AzureDestination) -> None:
    info = destination.put("a", b"x")
    with destination.open_writer("b") as writer:
        writer.write(bytes(2_500_000))
        writer.commit()
    destination.copy(info, "c")
    assert [found.key for found in destination.list()] == ["a", "b", "c"]
    assert {check.status for check in destination.check()} == {"ok"}


@pytest.fixture
def principal(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> dict[str, object]:
    monkeypatch.setenv("AZURE_CLIENT_SECRET_OF_TEST", CLIENT_SECRET)
    return {
        "client_secret_env": "AZURE_CLIENT_SECRET_OF_TEST",
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "authority_host": authority.url,
    }


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{authority.url}/identity")
    monkeypatch.setenv("IDENTITY_HEADER", IDENTITY_HEADER)


@pytest.fixture
def workload(monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path) -> dict[str, object]:
    file = tmp_path / "federated"
    file.write_text(CLIENT_SECRET)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    return {"workload_identity": True, "authority_host": authority.url}


class TestServicePrincipal(AuthSuite):
    resolver = "azure-service-principal"
    destination = "azure"

    @pytest.fixture
    def harness(self, principal: dict[str, object]) -> AuthHarness:
        return AuthHarness(
            fields=principal,
            secrets=lambda: [CLIENT_SECRET],
            refused={**principal, "client_secret_env": "AZURE_NOT_SET"},
        )


@pytest.mark.usefixtures("machine")
class TestManagedIdentity(AuthSuite):
    resolver = "azure-managed-identity"
    destination = "azure"

    @pytest.fixture
    def harness(self) -> AuthHarness:
        return AuthHarness(
            fields={"managed_identity": True}, secrets=lambda: [], refused={"managed_identity": "perhaps"}
        )


class TestWorkloadIdentity(AuthSuite):
    resolver = "azure-workload-identity"
    destination = "azure"

    @pytest.fixture
    def harness(self, workload: dict[str, object]) -> AuthHarness:
        return AuthHarness(fields=workload, secrets=lambda: [], refused={"workload_identity": "perhaps"})


def test_a_service_principal_serves_every_operation(
    open_as: Callable[[NativeAuth], AzureDestination], principal: dict[str, object], authority: Authority
) -> None:
    use(open_as(auth.service_principal(principal, "azure")))
    (request,) = authority.requests
    assert (request["client_id"], request["scope"]) == (CLIENT, "https://storage.azure.com/.default")


@pytest.mark.usefixtures("machine")
def test_a_managed_identity_serves_every_operation(
    open_as: Callable[[NativeAuth], AzureDestination], authority: Authority
) -> None:
    use(open_as(auth.managed_identity({"managed_identity": True, "client_id": CLIENT}, "azure")))
    (request,) = authority.requests
    assert (request["client_id"], request["resource"]) == (CLIENT, "https://storage.azure.com")


def test_a_workload_identity_serves_every_operation(
    open_as: Callable[[NativeAuth], AzureDestination], workload: dict[str, object], authority: Authority
) -> None:
    use(open_as(auth.workload_identity(workload, "azure")))
    assert authority.requests[0]["client_assertion"] == CLIENT_SECRET


def test_a_run_outlives_its_token(
    open_as: Callable[[NativeAuth], AzureDestination], principal: dict[str, object], authority: Authority
) -> None:
    authority.lifetime = 1
    destination = open_as(auth.service_principal(principal, "azure"))
    with destination.open_writer("a") as writer:
        writer.write(bytes(2_500_000))
        time.sleep(1.5)
        authority.lifetime = 3600
        writer.commit()
    assert len(authority.requests) > 1


def test_a_wrong_client_secret_is_permission_denied(
    open_as: Callable[[NativeAuth], AzureDestination], principal: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET_OF_TEST", "wrong-horse")
    destination = open_as(auth.service_principal(principal, "azure"))
    with pytest.raises(PermissionDenied, match="Microsoft Entra refuses the login") as caught:
        destination.put("a", b"x")
    assert "wrong-horse" not in str(caught.value.args)
    assert "secret" in caught.value.hint


def test_a_token_for_another_service_is_permission_denied(
    open_as: Callable[[NativeAuth], AzureDestination], principal: dict[str, object], authority: Authority
) -> None:
    authority.audience = "https://vault.azure.net"
    with pytest.raises(PermissionDenied):
        open_as(auth.service_principal(principal, "azure")).put("a", b"x")


def test_a_federated_token_that_is_gone_is_permission_denied(
    open_as: Callable[[NativeAuth], AzureDestination], workload: dict[str, object], tmp_path: Path
) -> None:
    login = auth.workload_identity(workload, "azure")
    (tmp_path / "federated").unlink()
    with pytest.raises(PermissionDenied, match="token file") as caught:
        open_as(login).put("a", b"x")
    assert "AZURE_FEDERATED_TOKEN_FILE" in caught.value.hint


def test_a_machine_without_identity_says_so(
    open_as: Callable[[NativeAuth], AzureDestination], machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    with pytest.raises(PermissionDenied, match="no such identity") as caught:
        open_as(auth.managed_identity({"managed_identity": True}, "azure")).put("a", b"x")
    assert caught.value.hint


def test_a_workload_without_its_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="cannot log in") as caught:
        auth.workload_identity({"workload_identity": True}, "azure")
    assert caught.value.hint


def test_a_certificate_that_is_not_trusted_says_how_to_trust_it(
    open_as: Callable[[NativeAuth], AzureDestination],
    azurite_oauth: Azurite,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    config = AzureConfig(bucket="exports", endpoint=azurite_oauth.endpoint)
    anonymous = providers.anonymous({"allow_anonymous": True}, "azure")
    with (
        closing(open_azure(config, DestinationContext(Path("/"), anonymous))) as destination,
        pytest.raises(DestinationError, match="is not trusted") as caught,
    ):
        destination.head("a")
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
