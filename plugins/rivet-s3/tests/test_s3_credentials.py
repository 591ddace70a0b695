"""Credentials that are refused: one clear error with a hint, its exit code, and a prefix as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from rivet_core.api import (
    BucketMissing,
    ConfigError,
    CredentialsExpired,
    DestinationError,
    PermissionDenied,
    RivetError,
    Transient,
)
from servers.http_rules import Answer
from servers.moto import Moto
from servers.s3 import S3Keys
from servers.seaweedfs import SeaweedFS

WRITES = ("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket")


def wrong_secret(keys: S3Keys) -> S3Keys:
    return replace(keys, secret_key="wrong+secret/key")


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_a_wrong_secret_is_permission_denied(
    place: Any, moto_place: Any, connect: Any, export: Any, use_keys: Any, server: str
) -> None:
    there = place if server == "seaweedfs" else moto_place
    there.put("theirs", b"x")
    keys = wrong_secret(there.server.admin)
    store = connect(there, keys=keys)
    for use in each_operation(store):
        with pytest.raises(PermissionDenied) as caught:
            use()
        assert "secret key" in caught.value.hint
        assert keys.secret_key not in f"{caught.value}{caught.value.hint}"
    export.configure(there, **use_keys(keys))
    run = export.rivet("run")
    assert run.exit_code == 1
    assert "error[R403]" in run.err
    assert "Traceback" not in run.err
    assert there.names() == ["theirs"]


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_an_unknown_access_key_is_permission_denied(place: Any, moto_place: Any, connect: Any, server: str) -> None:
    there = place if server == "seaweedfs" else moto_place
    store = connect(there, keys=S3Keys.new())
    with pytest.raises(PermissionDenied) as caught:
        store.put("manifest.json", b"1")
    assert "access key" in caught.value.hint


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_a_wrong_session_token_is_refused(place: Any, moto_place: Any, connect: Any, server: str) -> None:
    there = place if server == "seaweedfs" else moto_place
    keys = there.server.assume_role()
    store = connect(there, keys=replace(keys, session_token=there.server.assume_role().session_token[:-8] + "AAAAAAAA"))
    for use in each_operation(store):
        with pytest.raises((PermissionDenied, CredentialsExpired)) as caught:
            use()
        assert caught.value.hint
    assert there.names() == []


def test_a_foreign_bucket_is_permission_denied(place: Any, connect: Any, seaweedfs: SeaweedFS) -> None:
    store = connect(place, keys=seaweedfs.scoped)
    for use in each_operation(store):
        with pytest.raises(PermissionDenied):
            use()
    assert place.names() == []


def test_a_reader_can_validate_and_not_run(place: Any, export: Any, use_keys: Any, seaweedfs: SeaweedFS) -> None:
    export.configure(place, **use_keys(seaweedfs.admin, "WRITER"))
    assert export.rivet("run").exit_code == 0
    before = {key: place.head(key)["ETag"] for key in place.names()}
    export.configure(place, **use_keys(seaweedfs.reader, "READER"))
    validated = export.rivet("validate", "--format", "json")
    assert validated.exit_code == 0, validated
    refused = export.rivet("run")
    assert refused.exit_code == 1
    assert "error[R403]" in refused.err
    assert "s3:PutObject" in refused.err
    assert {key: place.head(key)["ETag"] for key in place.names()} == before


def test_a_policy_that_is_revoked_in_the_course_of_a_part_is_permission_denied(
    moto_place: Any, moto: Moto, connect: Any
) -> None:
    keys = moto.create_user(WRITES)
    store = connect(moto_place, keys=keys, part_size="5MiB")
    store.put("before", b"x")
    iam = moto.client(service="iam")
    with store.open_writer("part-000001.parquet") as writer:
        writer.write(bytes(6 << 20))
        for user in iam.list_users()["Users"]:
            with suppress(iam.exceptions.NoSuchEntityException):
                if any(
                    key["AccessKeyId"] == keys.access_key
                    for key in iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]
                ):
                    iam.delete_user_policy(UserName=user["UserName"], PolicyName="allowed")
        iam.close()
        writer.write(bytes(6 << 20))
        with pytest.raises(PermissionDenied, match="AccessDenied") as caught:
            writer.commit()
    assert "s3:PutObject" in caught.value.hint
    assert moto_place.names() == ["before"]


@pytest.mark.parametrize("missing", ["s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject"])
def test_the_hint_names_the_permission_that_is_missing(moto_place: Any, moto: Moto, connect: Any, missing: str) -> None:
    moto_place.put("there", b"x")
    store = connect(moto_place, keys=moto.create_user([action for action in WRITES if action != missing]))
    uses: dict[str, Callable[[], object]] = {
        "s3:PutObject": lambda: store.put("new", b"x"),
        "s3:GetObject": lambda: store.open_reader("there").close(),
        "s3:ListBucket": lambda: list(store.list()),
        "s3:DeleteObject": lambda: store.delete("there"),
    }
    with pytest.raises(PermissionDenied) as caught:
        uses[missing]()
    assert missing in caught.value.hint


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_a_missing_bucket_is_bucket_missing(
    place: Any, moto_place: Any, connect: Any, export: Any, use_keys: Any, server: str
) -> None:
    there = replace(place if server == "seaweedfs" else moto_place, bucket="no-such-bucket")
    for number in range(len(each_operation(connect(there)))):
        store = connect(there)  # each with nothing known about the bucket
        with pytest.raises(BucketMissing) as caught:
            each_operation(store)[number]()
        assert "create the bucket" in caught.value.hint
    export.configure(there, **use_keys(there.server.admin))
    run = export.rivet("run")
    assert (run.exit_code, "error[R406]" in run.err) == (2, True), run


def test_a_clock_that_is_wrong_has_a_hint(place: Any, connect: Any, proxy: Any) -> None:
    body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>"
    rule = proxy.always(lambda exchange: True, Answer(403, {"Content-Type": "application/xml"}, body))
    with pytest.raises(PermissionDenied) as caught:
        connect(place, through=proxy).put("manifest.json", b"1")
    assert rule.fired == 1
    assert "clock" in caught.value.hint


def test_nothing_listens_is_transient_and_names_the_endpoint(place: Any, connect: Any, no_waiting: None) -> None:
    store = connect(replace(place, server=place.server.through(1)))
    with pytest.raises(Transient, match=r"cannot connect to http://127\.0\.0\.1:1$"):
        store.head("manifest.json")


def test_an_unknown_host_is_transient_and_names_the_endpoint(place: Any, connect: Any, no_waiting: None) -> None:
    store = connect(place, endpoint="https://s3.invalid", timeout_seconds=5)
    with pytest.raises(Transient, match=r"s3\.invalid") as caught:
        store.head("manifest.json")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"aws_profile": "x", "access_key_env": "A", "secret_key_env": "B"}, ["aws_profile", "access_key_env"]),
        ({"allow_anonymous": True, "aws_profile": "x"}, ["allow_anonymous", "aws_profile"]),
        ({"allow_anonymous": True, "session_token_env": "T"}, ["allow_anonymous", "session_token_env"]),
        ({"access_key_env": "A"}, ["secret_key_env"]),
        ({"secret_key_env": "A", "session_token_env": "T"}, ["access_key_env"]),
    ],
)
def test_two_ways_at_once_or_half_of_one_are_refused_at_load(
    place: Any, export: Any, fields: dict[str, object], words: list[str]
) -> None:
    export.configure(place, **fields)
    run = export.rivet("run")
    assert run.exit_code == 2
    assert "error[R201]" in run.err
    assert all(word in run.err for word in words), run.err


def test_credentials_never_go_over_plain_http(place: Any, connect: Any) -> None:
    with pytest.raises(ConfigError, match="plain text"):
        connect(place, endpoint="http://storage.example.com")
    assert connect(place, endpoint="http://storage.example.com", allow_anonymous=True).uri.startswith("s3://")


def test_the_region_must_be_known_without_an_endpoint(
    place: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="region") as caught:
        connect(place, endpoint=None)
    assert "AWS_REGION" in caught.value.hint
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert connect(place, endpoint=None).uri == f"s3://{place.bucket}/{place.prefix}"


def each_operation(store: Any) -> list[Callable[[], object]]:
    def write() -> None:
        with store.open_writer("part-000001.parquet") as writer:
            writer.write(b"x")
            writer.commit()

    return [
        lambda: store.put("manifest.json", b"1"),
        write,
        lambda: store.open_reader("theirs").read(),
        lambda: store.head("theirs"),
        lambda: list(store.list()),
        lambda: store.delete("theirs", version="0"),
        lambda: list(store.pending_uploads()),
    ]


def test_an_error_that_nobody_has_foreseen_is_still_one_of_ours(place: Any, connect: Any, proxy: Any) -> None:
    body = b"<Error><Code>TeapotIsEmpty</Code><Message>Fill it.</Message></Error>"
    rule = proxy.always(lambda exchange: True, Answer(418, {"Content-Type": "application/xml"}, body))
    with pytest.raises(DestinationError, match="TeapotIsEmpty Fill it") as caught:
        list(connect(place, through=proxy).list())
    assert rule.fired == 1
    assert isinstance(caught.value, RivetError)
