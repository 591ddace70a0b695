"""Every way to log in, and what refreshes itself in the course of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rivet_core.api import ConfigError, CredentialsExpired, NativeAuth, PermissionDenied
from rivet_core.testing import AuthHarness, AuthSuite
from rivet_s3.auth import default_chain, open_session, profile
from servers.http_proxy import HttpProxy
from servers.http_rules import Answer, Exchange
from servers.s3 import S3Keys
from servers.seaweedfs import SeaweedFS

EXPIRED = Answer(400, {"Content-Type": "application/xml"}, b"<Error><Code>ExpiredToken</Code></Error>")
KEYS = S3Keys("AKIAEXAMPLE000000001", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SESSION = S3Keys("ASIAEXAMPLE000000002", "je7MtGbClwBF/2Zp9Utk+h3yCo8nvbEXAMPLEKEY", "IQoJb3JpZ2luX2VjEXAMPLE+TOKEN==")


def profile_of(keys: S3Keys) -> str:
    lines = [f"aws_access_key_id = {keys.access_key}", f"aws_secret_access_key = {keys.secret_key}"]
    return "\n".join([*lines, *([f"aws_session_token = {keys.session_token}"] if keys.session_token else [])])


class TestKeys(AuthSuite):
    resolver = "s3-keys"
    destination = "s3"

    @pytest.fixture(params=[KEYS, SESSION], ids=["keys", "session keys"])
    def harness(self, request: pytest.FixtureRequest, use_keys: Any) -> AuthHarness:
        keys = request.param
        fields = use_keys(keys)
        return AuthHarness(
            fields=fields,
            secrets=lambda: [keys.secret_key, *([keys.session_token] if keys.session_token else [])],
            refused={**fields, "secret_key_env": "NOT_SET_ANYWHERE"},
        )


class TestProfile(AuthSuite):
    resolver = "s3-profile"
    destination = "s3"

    @pytest.fixture
    def harness(self, tmp_path: Path) -> AuthHarness:
        (tmp_path / "aws-credentials").write_text(f"[exports]\n{profile_of(SESSION)}\n")
        return AuthHarness(
            fields={"aws_profile": "exports"},
            secrets=lambda: [SESSION.secret_key, str(SESSION.session_token)],
            refused={"aws_profile": "no-such-profile"},
        )


class TestDefaultChain(AuthSuite):
    resolver = "s3-default"
    destination = "s3"

    @pytest.fixture
    def harness(self, monkeypatch: pytest.MonkeyPatch) -> AuthHarness:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
        return AuthHarness(
            fields={},
            secrets=lambda: [KEYS.secret_key],
            refused={},
            exclude={"A-ERROR-1": "what is refused here are no fields but an empty environment: see the test below"},
        )


class TestAnonymous(AuthSuite):
    resolver = "s3-anonymous"
    destination = "s3"

    @pytest.fixture
    def harness(self) -> AuthHarness:
        return AuthHarness(
            fields={"allow_anonymous": True}, secrets=lambda: [], refused={"allow_anonymous": "yes, please"}
        )


def test_logins_go_to_the_region_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "cn-north-1")
    assert open_session(None).create_client("sts").meta.endpoint_url == "https://sts.cn-north-1.amazonaws.com.cn"


def test_an_empty_environment_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="holds no credentials") as caught:
        default_chain({}, "s3")
    assert "access_key_env" in caught.value.hint


def test_a_profile_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "aws-config").write_text("[profile half]\naws_access_key_id = AKIAEXAMPLE\n[profile none]\n")
    for name in ("half", "none"):
        with pytest.raises(ConfigError, match=name) as caught:
            profile({"aws_profile": name}, "s3")
        assert caught.value.hint


def test_the_identity_names_profile_and_method(tmp_path: Path) -> None:
    (tmp_path / "aws-credentials").write_text(f"[exports]\n{profile_of(KEYS)}\n")
    found = profile({"aws_profile": "exports"}, "s3")
    assert isinstance(found, NativeAuth)
    assert found.identity == "profile exports (shared-credentials-file), access key …0001"


@pytest.fixture
def vending(tmp_path: Path) -> Iterator[Callable[[S3Keys, timedelta], None]]:
    """A profile whose keys come from a program, which hands out what a test puts into a file."""
    current, log = tmp_path / "current.json", tmp_path / "calls"
    program = tmp_path / "vend.py"
    program.write_text(
        f"import pathlib\nprint(pathlib.Path({str(current)!r}).read_text())\n"
        f"with open({str(log)!r}, 'a') as log: log.write('x')\n"
    )
    (tmp_path / "aws-config").write_text(
        f"[profile vending]\ncredential_process = {sys.executable} {program}\nregion = us-east-1\n"
    )

    def hand_out(keys: S3Keys, valid: timedelta) -> None:
        document = {
            "Version": 1,
            "AccessKeyId": keys.access_key,
            "SecretAccessKey": keys.secret_key,
            "SessionToken": keys.session_token,
            "Expiration": (datetime.now(UTC) + valid).isoformat(),
        }
        current.write_text(json.dumps(document))

    yield hand_out
    assert log.read_text()


def signed_by(keys: S3Keys) -> Callable[[Exchange], bool]:
    return lambda exchange: keys.access_key in exchange.headers.get("authorization", "")


def writes_signed_by(proxy: HttpProxy, keys: S3Keys) -> int:
    return sum(
        exchange.method == "PUT" and exchange.status == 200 and signed_by(keys)(exchange)
        for exchange in proxy.exchanges
    )


def test_keys_that_are_nearly_over_are_replaced_between_two_requests(
    place: Any, connect: Any, proxy: HttpProxy, seaweedfs: SeaweedFS, vending: Callable[..., None]
) -> None:
    first, second = seaweedfs.assume_role(), seaweedfs.assume_role()
    vending(first, timedelta(minutes=5))  # the SDK asks again when fewer than ten are left
    store = connect(place, through=proxy, aws_profile="vending")
    vending(second, timedelta(hours=1))
    store.put("manifest.json", b"1")
    assert writes_signed_by(proxy, first) == 0
    assert writes_signed_by(proxy, second) == 1


def test_a_part_outlives_the_keys_that_it_was_begun_with(
    place: Any, connect: Any, proxy: HttpProxy, seaweedfs: SeaweedFS, vending: Callable[..., None]
) -> None:
    first, second = seaweedfs.assume_role(), seaweedfs.assume_role()
    vending(first, timedelta(hours=1))
    store = connect(place, through=proxy, aws_profile="vending", part_size="5MiB")
    content = bytes(range(256)) * (12 << 12)
    with store.open_writer("part-000001.parquet") as writer:
        writer.write(content[: 6 << 20])
        wait_for(lambda: writes_signed_by(proxy, first) == 1)
        refused = proxy.always(signed_by(first), EXPIRED)
        vending(second, timedelta(hours=1))
        writer.write(content[6 << 20 :])
        writer.commit()
    assert refused.fired
    assert writes_signed_by(proxy, second) >= 2
    assert place.get("part-000001.parquet") == content


def test_session_keys_of_the_environment_end_the_run_which_can_be_repeated(
    place: Any, export: Any, proxy: HttpProxy, seaweedfs: SeaweedFS, use_keys: Any
) -> None:
    first = seaweedfs.assume_role()
    export.configure(place, through=proxy, **use_keys(first))
    passed: list[str] = []

    def after_the_first_part(exchange: Exchange) -> bool:
        passed.extend([exchange.path] if exchange.method == "PUT" and "/part-" in exchange.path else [])
        return len(passed) > 1 and signed_by(first)(exchange)

    refused = proxy.always(after_the_first_part, EXPIRED)
    run = export.rivet("run")
    assert refused.fired
    assert run.exit_code == 1
    assert "error[R404]" in run.err
    assert "new credentials" in run.err
    assert "Traceback" not in run.err
    assert place.names() == ["part-000001.parquet"]
    use_keys(seaweedfs.assume_role())
    again = export.rivet("run", "--validate")
    assert again.exit_code == 0, again
    assert place.get("_SUCCESS").startswith(b"xxh3:")


def test_expired_session_keys_are_credentials_expired(place: Any, connect: Any, proxy: HttpProxy) -> None:
    rule = proxy.always(lambda exchange: True, EXPIRED)
    with pytest.raises(CredentialsExpired) as caught:
        connect(place, through=proxy).head("manifest.json")
    assert rule.fired
    assert "new credentials" in caught.value.hint


def test_anonymous_requests_are_not_signed(place: Any, connect: Any, proxy: HttpProxy) -> None:
    with pytest.raises(PermissionDenied):
        connect(place, through=proxy, allow_anonymous=True).head("x")
    assert {exchange.headers.get("authorization") for exchange in proxy.exchanges} == {None}


def wait_for(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    while not holds():
        assert datetime.now(UTC) < deadline, "it does not happen"
