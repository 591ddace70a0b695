"""Every way to log in, against services that hand out tokens and a proxy that refuses all others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rivet_core.api import (
    ConfigError,
    Credential,
    CredentialsExpired,
    DestinationContext,
    NativeAuth,
    PermissionDenied,
    Provider,
    Secret,
    Transient,
    redact,
)
from rivet_core.testing import AuthHarness, AuthSuite
from rivet_gcs.auth import from_environment, from_file
from rivet_gcs.config import GcsConfig
from rivet_gcs.destination import GcsDestination, open_gcs
from servers.certificate import new_certificate
from servers.connect_proxy import ConnectProxy
from servers.gcs import GcsServer
from servers.google_tokens import EMAIL, OAUTH_HOST, TokenService, token_service
from servers.http_proxy import HttpProxy
from servers.http_rules import Answer, Exchange
from servers.process import HOST

Run = Callable[..., Any]


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    with token_service() as service:
        yield service


@pytest.fixture
def guarded(fake_gcs: GcsServer, tokens: TokenService) -> Iterator[HttpProxy]:
    """The default server behind a proxy that wants a good token."""
    with HttpProxy(fake_gcs.port) as proxy:
        proxy.require(tokens.accepts)
        yield proxy


@pytest.fixture
def bucket(fake_gcs: GcsServer) -> str:
    return fake_gcs.create_bucket()


def written(path: Path, document: Mapping[str, object]) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def names(server: GcsServer, bucket: str) -> list[str]:
    with server.client() as client:
        return [blob.name.rpartition("/")[2] for blob in client.list_blobs(bucket, retry=None)]


class TestCredentialsFile(AuthSuite):
    resolver = "gcs-credentials-file"
    destination = "gcs"

    @pytest.fixture
    def harness(self, tmp_path: Path, tokens: TokenService) -> AuthHarness:
        return AuthHarness(
            fields={"credentials_file": written(tmp_path / "key.json", tokens.service_account())},
            secrets=lambda: [tokens.private_key],
            refused={"credentials_file": str(tmp_path / "missing.json")},
        )


class TestDefaultCredentials(AuthSuite):
    resolver = "gcs-default"
    destination = "gcs"

    @pytest.fixture
    def harness(self, tmp_path: Path, tokens: TokenService, monkeypatch: pytest.MonkeyPatch) -> AuthHarness:
        file = written(tmp_path / "adc.json", tokens.authorized_user())
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
        return AuthHarness(
            fields={},
            secrets=lambda: [tokens.refresh_token, tokens.client_secret],
            refused={},
            exclude={"A-ERROR-1": "it has no fields; below the environment is the wrong one"},
        )


class TestAnonymous(AuthSuite):
    resolver = "gcs-anonymous"
    destination = "gcs"

    @pytest.fixture
    def harness(self) -> AuthHarness:
        return AuthHarness(fields={"allow_anonymous": True}, secrets=lambda: [], refused={"allow_anonymous": "perhaps"})


@pytest.fixture(params=["credentials_file", "environment", "user", "gcloud", "workload", "metadata"])
def login(
    request: pytest.FixtureRequest, tmp_path: Path, tokens: TokenService
) -> Iterator[tuple[dict[str, object], dict[str, str], str]]:
    """Yield, for each way, the configuration's fields, the environment, and which proof the token service sees."""
    tokens.lifetime = 1  # so each request needs a token of its own
    match request.param:
        case "credentials_file":
            yield {"credentials_file": written(tmp_path / "k.json", tokens.service_account())}, {}, "service account"
        case "environment":
            file = written(tmp_path / "k.json", tokens.service_account())
            yield {}, {"GOOGLE_APPLICATION_CREDENTIALS": file}, "service account"
        case "workload":
            document = tokens.external_account(tmp_path / "subject")
            yield {"credentials_file": written(tmp_path / "k.json", document)}, {}, "workload identity"
        case "metadata":
            host = f"{HOST}:{tokens.port}"
            variables = {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "NO_GCE_CHECK": "false"}
            yield {}, variables, "metadata server"
        case kind:  # a user's token comes from Google's own host, so that has to be on this machine
            certificate = new_certificate(tmp_path, OAUTH_HOST)
            with token_service(certificate) as oauth, ConnectProxy(oauth.port) as tunnel:
                oauth.lifetime = 1
                oauth.issue, oauth.judge = tokens.issue, tokens.judge  # type: ignore[method-assign]  # the same tokens
                gcloud = tmp_path / ".config" / "gcloud"
                gcloud.mkdir(parents=True)
                file = written(gcloud / "application_default_credentials.json", tokens.authorized_user())
                variables = {
                    "HTTPS_PROXY": f"http://{HOST}:{tunnel.port}",
                    "REQUESTS_CA_BUNDLE": str(certificate.certificate),
                }
                yield ({} if kind == "gcloud" else {"credentials_file": file}), variables, "user"
                assert set(tunnel.hosts) == {f"{OAUTH_HOST}:443"}


def test_a_run_outlives_its_tokens(
    rivet: Run,
    guarded: HttpProxy,
    bucket: str,
    fake_gcs: GcsServer,
    tokens: TokenService,
    login: tuple[dict[str, object], dict[str, str], str],
) -> None:
    fields, variables, proof = login
    destination = {"type": "gcs", "bucket": bucket, "endpoint": f"http://{HOST}:{guarded.port}", **fields}
    done = rivet("run", "--validate", destination=destination, env=variables)
    assert done.exit_code == 0, done
    assert {"_SUCCESS", "manifest.json", "part-000003.parquet"} <= set(names(fake_gcs, bucket))
    assert set(tokens.issued) == {proof}
    assert tokens.issued[proof] > 3
    assert {exchange.status for exchange in guarded.exchanges} <= {200, 206, 404}


def open_with(
    guarded: HttpProxy, bucket: str, auth: NativeAuth | Provider, request: pytest.FixtureRequest
) -> GcsDestination:
    config = GcsConfig(bucket=bucket, prefix="orders/", endpoint=f"http://{HOST}:{guarded.port}")
    destination = open_gcs(config, DestinationContext(Path("/"), auth))
    request.addfinalizer(destination.close)
    return destination


@pytest.fixture
def store(
    guarded: HttpProxy, bucket: str, tokens: TokenService, tmp_path: Path, request: pytest.FixtureRequest
) -> GcsDestination:
    """A destination that logs in as a service account."""
    file = written(tmp_path / "key.json", tokens.service_account())
    return open_with(guarded, bucket, from_file({"credentials_file": file}, "gcs"), request)


def test_a_refused_token_is_replaced(store: GcsDestination, guarded: HttpProxy, tokens: TokenService) -> None:
    store.put("a", b"1")
    tokens.revoke()
    store.put("b", b"2")
    assert [exchange.status for exchange in guarded.exchanges] == [200, 401, 200]
    assert tokens.issued == {"service account": 2}


def test_a_token_is_no_secret_in_sight(store: GcsDestination, guarded: HttpProxy) -> None:
    store.put("a", b"1")
    token = guarded.exchanges[0].headers["authorization"].removeprefix("Bearer ")
    assert token not in redact(f"refused: {token}")


def test_a_session_address_is_no_secret_in_sight(store: GcsDestination, guarded: HttpProxy) -> None:
    with store.open_writer("a") as writer:
        writer.write(bytes(40_000_000))
        writer.commit()
    (upload_id, *_) = {exchange.query["upload_id"] for exchange in guarded.exchanges if exchange.method == "PUT"}
    assert upload_id not in redact(f"PUT /upload?upload_id={upload_id}")


@pytest.mark.parametrize(
    ("refusal", "error", "hint"),
    [
        ({"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, "expired", "log"),
        (
            {"error": "invalid_grant", "error_description": "Invalid JWT: Token must be in a reasonable timeframe"},
            "expired",
            "check the machine's clock",
        ),
        ({"error": "unauthorized_client", "error_description": "Client is unauthorized."}, "denied", "rivet doctor"),
        ({"error": "invalid_client", "error_description": "The client was deleted."}, "denied", "rivet doctor"),
    ],
)
def test_a_refused_login_says_what_to_do(
    store: GcsDestination, tokens: TokenService, refusal: dict[str, str], error: str, hint: str
) -> None:
    tokens.refusal = refusal
    with pytest.raises(CredentialsExpired if error == "expired" else PermissionDenied) as caught:
        store.put("a", b"1")
    assert refusal["error_description"] in caught.value.message
    assert hint in caught.value.hint


def test_a_key_of_another_account_is_refused(
    guarded: HttpProxy, bucket: str, tokens: TokenService, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with token_service() as other:
        document = {**other.service_account(), "token_uri": tokens.url}
    file = written(tmp_path / "key.json", document)
    store = open_with(guarded, bucket, from_file({"credentials_file": file}, "gcs"), request)
    with pytest.raises(CredentialsExpired, match="Bad proof"):
        store.put("a", b"1")
    assert guarded.exchanges == []


def test_an_unreachable_token_service_is_transient(
    guarded: HttpProxy, bucket: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with token_service() as gone:
        file = written(tmp_path / "key.json", gone.service_account())
    store = open_with(guarded, bucket, from_file({"credentials_file": file}, "gcs"), request)
    monkeypatch.setattr("rivet_gcs.bucket.retry", lambda once, **_: once())  # google-auth has retried already
    with pytest.raises(Transient, match="token service cannot be reached"):
        store.head("a")


def test_a_credential_that_stays_refused_ends_the_run(
    rivet: Run, guarded: HttpProxy, bucket: str, fake_gcs: GcsServer, tokens: TokenService, tmp_path: Path
) -> None:
    refused = guarded.require(lambda _: False)
    file = written(tmp_path / "key.json", tokens.service_account())
    destination = {"type": "gcs", "bucket": bucket, "endpoint": f"http://{HOST}:{guarded.port}"}
    done = rivet("run", destination={**destination, "credentials_file": file})
    assert done.exit_code == 1
    assert "error[R404]" in done.err
    assert "hint: the service refuses the credential" in done.err
    assert refused.fired
    assert names(fake_gcs, bucket) == []


class _Tokens:
    """A provider like a vault's plugin."""

    def __init__(self, service: TokenService, lifetime: timedelta | None) -> None:
        self._service = service
        self._lifetime = lifetime
        self.asked: list[bool] = []

    def get(self, *, force: bool = False) -> Credential:
        self.asked.append(force)
        token = Secret(str(self._service.issue("vault")["access_token"]))
        ends = None if self._lifetime is None else datetime.now(UTC) + self._lifetime
        return Credential("token", {"token": token}, ends)

    def identity(self) -> str:
        return "vault"


@pytest.mark.parametrize("lifetime", [None, timedelta(hours=1), timedelta(seconds=1)])
def test_a_third_party_resolver_gives_tokens(
    guarded: HttpProxy,
    bucket: str,
    tokens: TokenService,
    lifetime: timedelta | None,
    request: pytest.FixtureRequest,
) -> None:
    provider = _Tokens(tokens, lifetime)
    store = open_with(guarded, bucket, provider, request)
    store.put("a", b"1")
    tokens.revoke()
    store.put("b", b"2")
    assert provider.asked[-1] is True
    assert [info.key for info in store.list()] == ["a", "b"]


def test_a_credential_over_plain_http_is_refused(rivet: Run, tokens: TokenService, tmp_path: Path) -> None:
    file = written(tmp_path / "key.json", tokens.service_account())
    destination = {"type": "gcs", "bucket": "b", "endpoint": "http://storage.example.com", "credentials_file": file}
    done = rivet("run", destination=destination)
    assert done.exit_code == 2
    assert "would send credentials in plain text" in done.err
    assert tokens.issued == {}


def test_a_netrc_does_not_replace_the_token(
    store: GcsDestination, guarded: HttpProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"machine {HOST} login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    store.put("a", b"1")
    assert guarded.exchanges[0].headers["authorization"].startswith("Bearer ")


def test_two_credentials_are_refused(rivet: Run) -> None:
    destination = {"type": "gcs", "bucket": "b", "credentials_file": "k.json", "allow_anonymous": True}
    done = rivet("run", destination=destination)
    assert done.exit_code == 2
    assert "credentials_file" in done.err
    assert "allow_anonymous" in done.err


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"type": "service_account", "private_key": "secret-1"}', '{"type": "magic"}']
)
def test_an_unusable_file_is_one_clear_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match="credentials_file") as caught:
        from_file({"credentials_file": str(file)}, "gcs")
    assert caught.value.hint
    assert "secret-1" not in "".join(map(str, caught.value.args))
    assert caught.value.__cause__ is None


def test_no_credentials_at_all_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, rivet: Run) -> None:
    done = rivet("run", destination={"type": "gcs", "bucket": "b"})
    assert done.exit_code == 2
    assert "error[R201]: there are no Google Cloud credentials on this machine" in done.err
    assert "allow_anonymous" in done.err
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(ConfigError, match="GOOGLE_APPLICATION_CREDENTIALS: cannot read"):
        from_environment({}, "gcs")


@pytest.mark.parametrize("status", [401, 403])
def test_a_revoked_policy_leaves_the_prefix_as_it_was(
    rivet: Run, guarded: HttpProxy, bucket: str, fake_gcs: GcsServer, tokens: TokenService, tmp_path: Path, status: int
) -> None:
    file = written(tmp_path / "key.json", tokens.service_account())
    destination = {"type": "gcs", "bucket": bucket, "endpoint": f"http://{HOST}:{guarded.port}"}
    destination["credentials_file"] = file
    assert rivet("run", destination=destination).exit_code == 0
    before = names(fake_gcs, bucket)

    def reads(exchange: Exchange) -> bool:
        return exchange.method == "GET"

    refused = guarded.require(reads, Answer(status))  # from now on the identity may only read
    done = rivet("run", destination=destination)
    assert done.exit_code == 1
    assert ("error[R403]" if status == 403 else "error[R404]") in done.err
    assert ("storage.objects.create" if status == 403 else "log in again") in done.err
    assert refused.fired
    assert names(fake_gcs, bucket) == before
    assert rivet("validate", "--format", "json", destination=destination).exit_code == 0


def test_the_identity_names_the_account(tokens: TokenService, tmp_path: Path) -> None:
    file = written(tmp_path / "key.json", tokens.service_account())
    assert EMAIL in from_file({"credentials_file": file}, "gcs").identity
