"""Every way to log in to Azure Blob Storage, against a server that checks keys and signatures."""

from __future__ import annotations

import base64
import os
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from azure.storage.blob import AccessPolicy, ContainerClient, generate_container_sas

from rivet_azure import auth
from rivet_azure.connection_string import parse_connection_string
from rivet_azure.destination import AzureDestination
from rivet_core.api import (
    BucketMissing,
    ConfigError,
    CredentialsExpired,
    NotFound,
    PermissionDenied,
    Provider,
    RivetError,
    providers,
)
from rivet_core.testing import AuthHarness, AuthSuite
from servers.azurite import Azurite
from servers.http_proxy import HttpProxy
from servers.http_rules import Action, Answer, ResetUpload, TruncateAnswer

WRONG_KEY = base64.b64encode(b"another key").decode()
Sign = Callable[..., str]


@pytest.fixture
def sign(azurite: Azurite, container: ContainerClient) -> Sign:
    """Sign access to the container, for two hours and everything unless told otherwise."""

    def sign_(**changes: Any) -> str:
        arguments = {
            "account_name": azurite.account_name,
            "container_name": container.container_name,
            "account_key": azurite.account_key,
            "permission": "rcwdl",
            "expiry": datetime.now(UTC) + timedelta(hours=2),
            **changes,
        }
        return str(generate_container_sas(**arguments))

    return sign_


def sas_from(monkeypatch: pytest.MonkeyPatch, token: str) -> Provider:
    monkeypatch.setenv("AZURE_SAS_OF_TEST", token)
    return auth.sas_token({"sas_token_env": "AZURE_SAS_OF_TEST", "account_name": "testaccount"}, "azure")


class TestAccountKey(AuthSuite):
    resolver = "azure-account-key"
    destination = "azure"

    @pytest.fixture
    def harness(self, monkeypatch: pytest.MonkeyPatch) -> AuthHarness:
        monkeypatch.setenv("AZURE_KEY_OF_TEST", WRONG_KEY)
        return AuthHarness(
            fields={"account_key_env": "AZURE_KEY_OF_TEST", "account_name": "testaccount"},
            secrets=lambda: [WRONG_KEY],
            refused={"account_key_env": "AZURE_NOT_SET", "account_name": "testaccount"},
        )


class TestSasFromEnvironment(AuthSuite):
    resolver = "azure-sas"
    destination = "azure"

    @pytest.fixture
    def harness(self, monkeypatch: pytest.MonkeyPatch, sign: Sign) -> AuthHarness:
        token = sign()
        monkeypatch.setenv("AZURE_SAS_OF_TEST", f"?{token}")
        monkeypatch.setenv("AZURE_NO_SAS", "no signature at all")
        return AuthHarness(
            fields={"sas_token_env": "AZURE_SAS_OF_TEST", "account_name": "testaccount"},
            secrets=lambda: [token],
            refused={"sas_token_env": "AZURE_NO_SAS", "account_name": "testaccount"},
        )


class TestSasFromFile(AuthSuite):
    resolver = "azure-sas"
    destination = "azure"

    @pytest.fixture
    def harness(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sign: Sign) -> AuthHarness:
        file = tmp_path / "token"
        file.write_text(sign() + "\n")

        def expire() -> None:
            class Later(datetime):
                @classmethod
                def now(cls, tz: Any = None) -> Any:
                    return datetime.now(tz) + timedelta(hours=3)

            monkeypatch.setattr("rivet_core.api.providers.datetime", Later)
            file.write_text(sign(expiry=datetime.now(UTC) + timedelta(hours=5)))

        return AuthHarness(
            fields={"sas_token_file": str(file), "account_name": "testaccount"},
            secrets=lambda: [file.read_text().strip()],
            refused={"sas_token_file": str(tmp_path / "missing"), "account_name": "testaccount"},
            rotate=lambda: file.write_text(sign(permission="r")),
            expire=expire,
        )


class TestConnectionString(AuthSuite):
    resolver = "azure-connection-string"
    destination = "azure"

    @pytest.fixture
    def harness(self, monkeypatch: pytest.MonkeyPatch, azurite: Azurite) -> AuthHarness:
        monkeypatch.setenv("AZURE_CONNECTION_OF_TEST", azurite.connection_string)
        monkeypatch.setenv("AZURE_NO_CONNECTION", "AccountKey=eA==")
        return AuthHarness(
            fields={"connection_string_env": "AZURE_CONNECTION_OF_TEST"},
            secrets=lambda: [azurite.connection_string],
            refused={"connection_string_env": "AZURE_NO_CONNECTION"},
        )


class TestAnonymous(AuthSuite):
    resolver = "azure-anonymous"
    destination = "azure"

    @pytest.fixture
    def harness(self) -> AuthHarness:
        return AuthHarness(fields={"allow_anonymous": True}, secrets=lambda: [], refused={"allow_anonymous": "perhaps"})


def use_everything(destination: AzureDestination) -> None:
    info = destination.put("a", b"x")
    copied = destination.copy(info, "b")
    with destination.open_writer("c") as writer:
        writer.write(os.urandom(2_500_000))
        writer.commit()
    assert {found.key for found in destination.list()} == {"a", "b", "c"}
    with destination.open_reader("b", version=copied.version) as reader:
        assert reader.read() == b"x"
    for key in "abc":
        destination.delete(key)
    assert list(destination.list()) == []


@pytest.mark.parametrize("beginning", ["", "?"])
def test_a_shared_access_signature_serves_every_operation(
    open_at: Callable[..., AzureDestination], monkeypatch: pytest.MonkeyPatch, sign: Sign, beginning: str
) -> None:
    use_everything(open_at(auth=sas_from(monkeypatch, beginning + sign()), part_size="1MiB"))


def test_a_connection_string_serves_every_operation(
    open_at: Callable[..., AzureDestination], monkeypatch: pytest.MonkeyPatch, azurite: Azurite, sign: Sign
) -> None:
    for text in (azurite.connection_string, f"BlobEndpoint={azurite.endpoint};SharedAccessSignature={sign()}"):
        monkeypatch.setenv("AZURE_CONNECTION_OF_TEST", text)
        provider = auth.connection_string({"connection_string_env": "AZURE_CONNECTION_OF_TEST"}, "azure")
        use_everything(open_at(auth=provider, endpoint=None, account_name=None, part_size="1MiB"))


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("AccountName=acct;AccountKey=eA==", "https://acct.blob.core.windows.net"),
        (
            "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=eA==;EndpointSuffix=core.usgovcloudapi.net",
            "https://acct.blob.core.usgovcloudapi.net",
        ),
        ("BlobEndpoint=https://a.example/x/;SharedAccessSignature=sv=1&sig=abcdefgh", "https://a.example/x"),
        ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1"),
    ],
)
def test_connection_strings_name_the_endpoint(text: str, endpoint: str) -> None:
    assert parse_connection_string(text, "TEST").endpoint == endpoint


@pytest.mark.parametrize("text", ["nonsense", "AccountKey=eA==", "BlobEndpoint=https://x;AccountKey=eA=="])
def test_what_is_no_connection_string_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="TEST holds") as caught:
        parse_connection_string(text, "TEST")
    assert caught.value.hint


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [Answer(403), Answer(503), Answer(400), ResetUpload(1), TruncateAnswer(1), None])
def test_no_failure_shows_the_signature(
    open_at: Callable[..., AzureDestination],
    monkeypatch: pytest.MonkeyPatch,
    sign: Sign,
    proxy: HttpProxy,
    fault: Action | None,
) -> None:
    """It is in the URL of every request, which errors of the SDK quote; without a fault nobody listens."""
    token = sign()
    destination = open_at(proxy.port, auth=sas_from(monkeypatch, token), timeout_seconds=1)
    info = destination.put("a", b"xx")
    if fault is None:
        destination = open_at(1, auth=sas_from(monkeypatch, token), timeout_seconds=1)
    else:
        proxy.always(lambda exchange: True, fault)
    failures = []
    uses: list[Callable[[], object]] = [
        lambda: destination.put("a", b"zz"),
        lambda: destination.open_reader("a").close(),
        lambda: list(destination.list()),
        lambda: destination.copy(info, "b"),
    ]
    for use in uses:
        try:
            use()
        except RivetError as error:
            failures.append("".join([*traceback.format_exception(error), str(error.args), error.hint]))
    assert failures
    signature = parse_qs(token)["sig"][0]
    for text in failures:
        assert not any(form in text for form in (token, signature, quote(signature), quote(signature, safe="")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"permission": "rl"}, "AuthorizationPermissionMismatch"),
        ({"account_key": WRONG_KEY}, "does not accept the shared access signature in AZURE_SAS_OF_TEST"),
        ({"container_name": "another"}, "does not accept"),
        ({"start": datetime.now(UTC) + timedelta(hours=1)}, "does not accept"),
        ({"protocol": "https"}, "AuthorizationProtocolMismatch"),
    ],
    ids=["read-only", "wrong_signature", "foreign_container", "not_yet", "https_only"],
)
def test_a_signature_that_does_not_allow_it_is_permission_denied(
    open_at: Callable[..., AzureDestination],
    container: ContainerClient,
    monkeypatch: pytest.MonkeyPatch,
    sign: Sign,
    changes: dict[str, Any],
    message: str,
) -> None:
    destination = open_at(auth=sas_from(monkeypatch, sign(**changes)))
    with pytest.raises(PermissionDenied, match=message) as caught:
        destination.put("a", b"x")
    assert caught.value.hint
    assert "sig=" not in str(caught.value.args)
    assert list(container.list_blob_names()) == []


def test_a_read_only_signature_reads(
    open_at: Callable[..., AzureDestination], monkeypatch: pytest.MonkeyPatch, sign: Sign
) -> None:
    open_at().put("a", b"x")
    destination = open_at(auth=sas_from(monkeypatch, sign(permission="rl")))
    assert [found.key for found in destination.list()] == ["a"]
    with pytest.raises(PermissionDenied, match="delete") as caught:
        destination.delete("a")
    assert "`d`" in caught.value.hint
    (permissions,) = [check for check in destination.check() if check.name == "permissions"]
    assert permissions.status == "warning"
    assert "writing (w), deleting (d)" in permissions.message


def test_a_policy_that_is_revoked_denies(
    open_at: Callable[..., AzureDestination],
    container: ContainerClient,
    monkeypatch: pytest.MonkeyPatch,
    azurite: Azurite,
) -> None:
    policy = AccessPolicy(permission="rcwdl", expiry=datetime.now(UTC) + timedelta(hours=1))
    container.set_container_access_policy({"exports": policy})
    token = generate_container_sas(
        azurite.account_name, container.container_name, azurite.account_key, policy_id="exports"
    )
    destination = open_at(auth=sas_from(monkeypatch, token))
    info = destination.put("a", b"x")
    assert list(destination.warnings()) == [], "the policy decides when the signature is over"
    container.set_container_access_policy({})
    with pytest.raises(PermissionDenied):
        destination.put("b", b"x")
    assert open_at().head("a") == info


def test_a_wrong_account_key_is_permission_denied(
    open_at: Callable[..., AzureDestination], container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_KEY_OF_TEST", WRONG_KEY)
    provider = auth.account_key({"account_key_env": "AZURE_KEY_OF_TEST", "account_name": "testaccount"}, "azure")
    with pytest.raises(PermissionDenied, match="does not accept the key in AZURE_KEY_OF_TEST") as caught:
        open_at(auth=provider).put("a", b"x")
    assert WRONG_KEY not in str(caught.value.args)
    assert list(container.list_blob_names()) == []


def test_text_that_is_no_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_KEY_OF_TEST", "sv=2025&sig=x")
    with pytest.raises(ConfigError, match="holds no key") as caught:
        auth.account_key({"account_key_env": "AZURE_KEY_OF_TEST", "account_name": "testaccount"}, "azure")
    assert "sas_token_env" in caught.value.hint


def test_a_private_container_does_not_let_anonymous_in(open_at: Callable[..., AzureDestination]) -> None:
    with pytest.raises(PermissionDenied) as caught:
        list(open_at(auth=providers.anonymous({"allow_anonymous": True}, "azure")).list())
    assert "set the fields of a login" in caught.value.hint


def test_a_public_container_is_read_without_a_login(
    open_at: Callable[..., AzureDestination], container: ContainerClient
) -> None:
    open_at().put("a", b"x")
    container.set_container_access_policy({}, public_access="container")
    destination = open_at(auth=providers.anonymous({"allow_anonymous": True}, "azure"))
    assert [found.key for found in destination.list()] == ["a"]
    with pytest.raises(RivetError):
        destination.put("b", b"x")
    assert [found.key for found in destination.list()] == ["a"]


def test_an_expired_signature_is_refused_at_start_with_its_end(monkeypatch: pytest.MonkeyPatch, sign: Sign) -> None:
    end = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with pytest.raises(CredentialsExpired, match="expired at 2026-01-02 03:04:05 UTC"):
        sas_from(monkeypatch, sign(expiry=end))


def test_a_signature_that_is_over_within_the_hour_is_a_warning(
    open_at: Callable[..., AzureDestination], monkeypatch: pytest.MonkeyPatch, sign: Sign
) -> None:
    short = open_at(auth=sas_from(monkeypatch, sign(expiry=datetime.now(UTC) + timedelta(minutes=59))))
    (warning,) = short.warnings()
    assert "AZURE_SAS_OF_TEST" in warning
    (identity,) = [check for check in short.check() if check.name == "identity"]
    assert identity.status == "warning"
    assert list(open_at(auth=sas_from(monkeypatch, sign())).warnings()) == []


def test_a_run_outlives_a_signature_whose_file_is_replaced(
    open_at: Callable[..., AzureDestination],
    azurite: Azurite,
    container: ContainerClient,
    sign: Sign,
    proxy: HttpProxy,
    tmp_path: Path,
) -> None:
    """The first signature is revoked in the middle of an upload; the file holds another one by then."""
    file = tmp_path / "token"
    first, second = sign(), sign(permission="rcwdlt")
    file.write_text(first)
    provider = auth.sas_token({"sas_token_file": str(file), "account_name": "testaccount"}, "azure")
    destination = open_at(proxy.port, auth=provider, part_size="1MiB")
    data = os.urandom(6_000_000)
    with destination.open_writer("part") as writer:
        writer.write(data[:3_000_000])
        file.write_text(second)
        refusal = Answer(403, {"x-ms-error-code": "AuthenticationFailed"})
        revoked = proxy.always(lambda exchange: "sp=rcwdl&" in exchange.target, refusal)
        writer.write(data[3_000_000:])
        info = writer.commit()
    assert revoked.fired
    assert info.size_bytes == len(data)
    assert container.download_blob("exports/orders/part").readall() == data


def test_a_signature_that_nobody_replaces_ends_the_run(
    open_at: Callable[..., AzureDestination], monkeypatch: pytest.MonkeyPatch, sign: Sign, container: ContainerClient
) -> None:
    destination = open_at(auth=sas_from(monkeypatch, sign(expiry=datetime.now(UTC) + timedelta(seconds=2))))
    destination.put("a", b"x")
    time.sleep(2.1)
    with pytest.raises(CredentialsExpired, match="expired at"):
        destination.put("b", b"x")
    assert list(container.list_blob_names()) == ["exports/orders/a"]


def test_credentials_do_not_go_over_plain_http(open_at: Callable[..., AzureDestination]) -> None:
    with pytest.raises(ConfigError, match="plain text"):
        open_at(endpoint="http://storage.example.com/testaccount")
    anonymous = providers.anonymous({"allow_anonymous": True}, "azure")
    open_at(endpoint="http://storage.example.com/testaccount", auth=anonymous)


def test_the_account_has_to_be_known(open_at: Callable[..., AzureDestination]) -> None:
    with pytest.raises(ConfigError, match="account_name is missing"):
        open_at(endpoint=None, account_name=None)


@pytest.mark.usefixtures("impatient")
def test_the_endpoint_follows_from_the_account_and_the_proxy_from_the_environment(
    open_at: Callable[..., AzureDestination], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy refuses to connect, so that nothing leaves this machine."""
    with HttpProxy(0) as proxy:
        proxy.always(lambda exchange: True, Answer(403))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        checks = {check.name: check for check in open_at(endpoint=None).check()}
        assert {exchange.target for exchange in proxy.exchanges} == {"testaccount.blob.core.windows.net:443"}
    assert checks["container"].status == "failed"
    assert "cannot connect to https://testaccount.blob.core.windows.net" in checks["container"].message


def test_a_missing_container_says_so(open_at: Callable[..., AzureDestination]) -> None:
    destination = open_at(bucket="no-such-container")
    for use in (lambda: destination.put("a", b"x"), lambda: destination.head("a"), lambda: [*destination.list()]):
        with pytest.raises(BucketMissing) as caught:
            use()
        assert "create the container" in caught.value.hint
    with pytest.raises((BucketMissing, NotFound)):
        destination.open_reader("a")
