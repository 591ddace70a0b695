"""Logins that the AWS SDK gets from a service: SSO, container, instance, web identity. All their keys are real ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from servers.aws_credentials import CONTAINER_PATH, CredentialService, credential_service
from servers.http_proxy import HttpProxy
from servers.http_rules import Answer, Exchange
from servers.process import HOST, free_port
from servers.s3 import REGION, S3Keys
from servers.seaweedfs import SeaweedFS

EXPIRED = Answer(400, {"Content-Type": "application/xml"}, b"<Error><Code>ExpiredToken</Code></Error>")
#: So little is left that the SDK asks for other keys before each request.
NEARLY_OVER = timedelta(minutes=5)
START_URL = "https://example.awsapps.com/start"

LogIn = Callable[[pytest.MonkeyPatch, CredentialService, Path], None]


@pytest.fixture(scope="module")
def role_keys(seaweedfs: SeaweedFS) -> list[S3Keys]:
    return [seaweedfs.assume_role() for _ in range(3)]


@pytest.fixture
def service(role_keys: list[S3Keys]) -> Iterator[CredentialService]:
    with credential_service(role_keys) as running:
        yield running


def in_a_container(monkeypatch: pytest.MonkeyPatch, service: CredentialService, directory: Path) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", service.url + CONTAINER_PATH)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", service.token)


def on_an_instance(monkeypatch: pytest.MonkeyPatch, service: CredentialService, directory: Path) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)


def by_web_identity(monkeypatch: pytest.MonkeyPatch, service: CredentialService, directory: Path) -> None:
    (directory / "identity").write_text(service.token)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(directory / "identity"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/tests")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    monkeypatch.setenv("AWS_REGION", REGION)


each_service = pytest.mark.parametrize(
    ("log_in", "name"),
    [(in_a_container, "container"), (on_an_instance, "instance"), (by_web_identity, "sts")],
    ids=["container", "instance", "web identity"],
)


@each_service
def test_an_export_gets_its_keys_and_others_when_the_store_refuses_them(
    place: Any,
    export: Any,
    proxy: HttpProxy,
    service: CredentialService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_in: LogIn,
    name: str,
) -> None:
    log_in(monkeypatch, service, tmp_path)
    export.configure(place, through=proxy)
    first, second, _ = (keys.access_key for keys in service.keys)
    refused = proxy.on(lambda exchange: is_part(exchange) and signer(exchange) == first, EXPIRED)
    run = export.rivet("run", "--validate")
    assert run.exit_code == 0, run
    assert refused.fired == 1
    assert service.answered == {name: 2}
    assert writers(proxy) == {second}
    assert place.get("_SUCCESS").startswith(b"xxh3:")
    assert not any(keys.secret_key in run.out + run.err for keys in service.keys)


@pytest.mark.parametrize("log_in", [in_a_container, by_web_identity], ids=["container", "web identity"])
def test_an_export_outlives_its_keys(
    place: Any,
    export: Any,
    proxy: HttpProxy,
    service: CredentialService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_in: LogIn,
) -> None:
    service.valid = NEARLY_OVER
    log_in(monkeypatch, service, tmp_path)
    export.configure(place, through=proxy)
    run = export.rivet("run", "--validate")
    assert run.exit_code == 0, run
    assert service.answered.total() >= len(proxy.exchanges) > 3
    assert len(writers(proxy)) > 1


@each_service
def test_doctor_says_where_the_keys_come_from(
    place: Any,
    export: Any,
    service: CredentialService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_in: LogIn,
    name: str,
) -> None:
    methods = {"container": "container-role", "instance": "iam-role", "sts": "assume-role-with-web-identity"}
    log_in(monkeypatch, service, tmp_path)
    export.configure(place)
    doctor = export.rivet("doctor")
    assert doctor.exit_code == 0, doctor
    assert f"default chain ({methods[name]})" in doctor.out
    assert "valid until" in doctor.out


@pytest.mark.parametrize(
    ("log_in", "code", "words"),
    [
        (in_a_container, "R404", "container-role"),
        (on_an_instance, "R201", "holds no credentials"),
        (by_web_identity, "R404", "ExpiredTokenException"),
    ],
    ids=["container", "instance", "web identity"],
)
def test_a_service_that_refuses_is_one_clear_error(
    place: Any,
    export: Any,
    service: CredentialService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_waiting_for_metadata: None,
    log_in: LogIn,
    code: str,
    words: str,
) -> None:
    service.refused = True
    log_in(monkeypatch, service, tmp_path)
    export.configure(place)
    run = export.rivet("run")
    assert run.exit_code in (1, 2)
    assert f"error[{code}]" in run.err, run
    assert words in run.err
    assert service.answered.total() == 0
    assert_clear(run.err, service)
    assert place.names() == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/token"}, "/no/such/token"),
        ({"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:{free}"}, "cannot connect to http://127.0.0.1:{free}"),
    ],
    ids=["no token file", "nothing listens"],
)
def test_a_web_identity_that_cannot_be_used_names_what_is_missing(
    place: Any,
    export: Any,
    service: CredentialService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: None,
    variables: dict[str, str],
    words: str,
) -> None:
    free = free_port()
    by_web_identity(monkeypatch, service, tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(free=free))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    export.configure(place)
    run = export.rivet("run")
    assert run.exit_code != 0
    assert words.format(free=free) in run.err, run
    assert "from the AWS SDK's default chain" in run.err
    assert_clear(run.err, service)


@pytest.mark.parametrize("uri", ["http://192.0.2.1/keys", "http://127.0.0.1:{free}/keys"])
def test_a_container_service_that_cannot_be_used_is_one_clear_error(
    place: Any, export: Any, monkeypatch: pytest.MonkeyPatch, no_waiting_for_metadata: None, uri: str
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.format(free=free_port()))
    export.configure(place)
    run = export.rivet("run")
    assert "error[R201]" in run.err or "error[R404]" in run.err, run
    assert "cannot get credentials from the AWS SDK's default chain" in run.err
    assert "Traceback" not in run.err


def test_a_container_whose_keys_are_over_is_credentials_expired(
    place: Any, export: Any, service: CredentialService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.valid = timedelta(minutes=-1)
    in_a_container(monkeypatch, service, tmp_path)
    export.configure(place)
    run = export.rivet("run")
    assert run.exit_code == 1
    assert "error[R404]" in run.err, run
    assert "still expired" in run.err
    assert_clear(run.err, service)


def test_a_container_that_hands_out_no_keys_is_one_clear_error(
    place: Any, export: Any, service: CredentialService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_container(monkeypatch, service, tmp_path)
    with HttpProxy(service.port) as broken:
        answered = broken.always(lambda exchange: True, Answer(200, {}, b"{}"))
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://{HOST}:{broken.port}/")
        export.configure(place)
        run = export.rivet("run")
    assert answered.fired
    assert run.exit_code == 2
    assert "error[R201]" in run.err, run
    assert "AccessKeyId" in run.err
    assert_clear(run.err, service)


class Home:
    """The directory ``~/.aws`` of somebody with an SSO profile."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.cache = directory / "sso" / "cache"
        self.cache.mkdir(parents=True)

    def configure(self, *, session: bool) -> None:
        """Write the profile ``exporter``, with an ``sso-session`` or in the older way without one."""
        portal = f"sso_start_url = {START_URL}\nsso_region = {REGION}\n"
        role = f"sso_account_id = 123456789012\nsso_role_name = Exporter\nregion = {REGION}\n"
        text = f"[profile exporter]\nsso_session = work\n{role}[sso-session work]\n{portal}"
        (self._directory / "config").write_text(text if session else f"[profile exporter]\n{role}{portal}")

    def log_in(self, name: str, token: str, valid: timedelta, refresh_token: str | None = None) -> Path:
        """Leave what ``aws sso login`` leaves for a session or a start URL, and return the file."""
        document = {"startUrl": START_URL, "region": REGION, "accessToken": token, "expiresAt": moment(valid)}
        if refresh_token is not None:
            client = {"clientId": "rivet-tests", "clientSecret": "client-secret"}
            document |= {"refreshToken": refresh_token, "registrationExpiresAt": moment(timedelta(days=1)), **client}
        file = self.cache / f"{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()}.json"
        file.write_text(json.dumps(document))
        return file


@pytest.fixture
def home(tmp_path: Path, service: CredentialService, monkeypatch: pytest.MonkeyPatch) -> Home:
    found = Home(tmp_path / ".aws")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / ".aws" / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", service.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO_OIDC", service.url)
    # The SDK looks for the home directory once, when it is imported.
    for name in ("botocore.credentials.SSOProvider", "botocore.tokens.SSOTokenProvider"):
        monkeypatch.setattr(f"{name}._SSO_TOKEN_CACHE_DIR", str(found.cache))
    return found


@pytest.mark.parametrize("session", [True, False], ids=["session", "start url"])
def test_an_sso_profile_outlives_its_role_keys(
    place: Any, export: Any, proxy: HttpProxy, service: CredentialService, home: Home, session: bool
) -> None:
    service.valid = NEARLY_OVER
    home.configure(session=session)
    home.log_in("work" if session else START_URL, service.token, timedelta(hours=1))
    export.configure(place, through=proxy, aws_profile="exporter")
    run = export.rivet("run", "--validate")
    assert run.exit_code == 0, run
    assert service.answered["sso"] >= len(proxy.exchanges) > 3
    assert len(writers(proxy)) > 1
    assert place.get("_SUCCESS").startswith(b"xxh3:")
    assert_clear(run.err, service)


def test_an_sso_token_that_is_over_is_replaced_by_its_refresh_token(
    place: Any, export: Any, service: CredentialService, home: Home
) -> None:
    home.configure(session=True)
    file = home.log_in("work", service.token, timedelta(hours=-1), service.refresh_token)
    export.configure(place, aws_profile="exporter")
    run = export.rivet("run")
    assert run.exit_code == 0, run
    assert service.answered == {"token": 1, "sso": 1}
    assert json.loads(file.read_text())["accessToken"] == service.token, "the AWS CLI finds the new one, too"


@pytest.mark.parametrize("case", ["session over", "start url over", "revoked", "never logged in"])
def test_an_sso_login_that_is_over_asks_for_the_next_one(
    place: Any, export: Any, service: CredentialService, home: Home, case: str
) -> None:
    home.configure(session=case != "start url over")
    if case == "revoked":
        service.refused = True
        home.log_in("work", service.token, timedelta(hours=1))
    elif case != "never logged in":
        home.log_in("work" if case == "session over" else START_URL, service.token, timedelta(hours=-1))
    export.configure(place, aws_profile="exporter")
    run = export.rivet("run")
    assert run.exit_code == 1
    assert "error[R404]" in run.err, run
    assert "aws sso login --profile exporter" in run.err
    assert service.answered["sso"] == 0
    assert_clear(run.err, service)
    assert place.names() == []


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [(403, "ForbiddenException", "R403"), (429, "TooManyRequestsException", "R407"), (503, "Unavailable", "R407")],
)
def test_what_the_sso_portal_answers_is_not_taken_for_the_store(
    place: Any,
    export: Any,
    service: CredentialService,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: None,
    status: int,
    error: str,
    code: str,
) -> None:
    home.configure(session=True)
    home.log_in("work", service.token, timedelta(hours=1))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with HttpProxy(service.port) as portal:
        answered = portal.always(
            lambda exchange: True, Answer(status, {"x-amzn-ErrorType": error}, b'{"message": "No access"}')
        )
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", f"http://{HOST}:{portal.port}")
        export.configure(place, aws_profile="exporter")
        run = export.rivet("run")
    assert answered.fired
    assert run.exit_code == 1
    assert f"error[{code}]" in run.err, run
    assert f"from the profile exporter: GetRoleCredentials: {error}" in run.err
    assert ("hint: check the role" in run.err) == (code == "R403")
    assert "s3:" not in run.err
    assert_clear(run.err, service)


@pytest.fixture
def no_waiting_for_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK not sleep between two questions to a container's service."""
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)


def moment(ahead: timedelta) -> str:
    return f"{datetime.now(UTC) + ahead:%Y-%m-%dT%H:%M:%SZ}"


def signer(exchange: Exchange) -> str:
    """The access key that a request is signed by."""
    return exchange.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


def is_part(exchange: Exchange) -> bool:
    return exchange.method == "PUT" and "/part-" in exchange.path


def writers(proxy: HttpProxy) -> set[str]:
    """The access keys that the store has accepted parts from."""
    return {signer(exchange) for exchange in proxy.exchanges if is_part(exchange) and exchange.status == 200}


def assert_clear(shown: str, service: CredentialService) -> None:
    """One error with a hint, no traceback, no secret."""
    assert shown.count("error[") <= 1
    assert "Traceback" not in shown
    secrets = [service.token, service.refresh_token, *(keys.secret_key for keys in service.keys)]
    assert not any(secret in shown for secret in secrets)
