"""The object stores of the tests answer the vendors' own clients, check secrets and are gone afterwards."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace

import google_crc32c
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError, ServiceRequestError
from azure.storage.blob import BlobServiceClient
from botocore.exceptions import ClientError

from servers.azurite import Azurite, azurite_server, bearer_token
from servers.fake_gcs import fake_gcs_server
from servers.gcs import GcsServer
from servers.gcs_emulator import gcs_emulator
from servers.moto import Moto, moto_server
from servers.process import ServerMissing
from servers.required import missing
from servers.s3 import S3Keys, S3Server
from servers.seaweedfs import SeaweedFS, seaweedfs_server

BODY = b"0123456789" * 1000


def refusal(server: S3Server, keys: S3Keys, bucket: str, *, write: bool) -> str | None:
    """The error code with which a server refuses to write or to read an object, ``None`` when it does it."""
    with closing(server.client()) as admin:
        admin.put_object(Bucket=bucket, Key="a/object", Body=BODY)
    with closing(server.client(keys)) as client:
        try:
            if write:
                client.put_object(Bucket=bucket, Key="a/object", Body=BODY)
            else:
                with client.get_object(Bucket=bucket, Key="a/object")["Body"] as body:
                    assert body.read() == BODY
        except ClientError as error:
            return str(error.response["Error"]["Code"])
    return None


def test_seaweedfs_refuses_a_wrong_secret_and_an_unknown_key(seaweedfs: SeaweedFS) -> None:
    wrong = replace(seaweedfs.admin, secret_key="wrong")
    assert refusal(seaweedfs, wrong, seaweedfs.scoped_bucket, write=True) == "SignatureDoesNotMatch"
    assert refusal(seaweedfs, S3Keys.new(), seaweedfs.scoped_bucket, write=True) == "InvalidAccessKeyId"


@pytest.mark.parametrize("write", [True, False])
def test_seaweedfs_keeps_identities_to_what_they_may(seaweedfs: SeaweedFS, write: bool) -> None:
    other = seaweedfs.create_bucket()
    denied_to_reader = "AccessDenied" if write else None
    assert refusal(seaweedfs, seaweedfs.admin, other, write=write) is None
    assert refusal(seaweedfs, seaweedfs.reader, other, write=write) == denied_to_reader
    assert refusal(seaweedfs, seaweedfs.scoped, other, write=write) == "AccessDenied"
    assert refusal(seaweedfs, seaweedfs.scoped, seaweedfs.scoped_bucket, write=write) is None


def test_seaweedfs_gives_temporary_keys_that_need_their_token(seaweedfs: SeaweedFS) -> None:
    keys = seaweedfs.assume_role()
    assert refusal(seaweedfs, keys, seaweedfs.scoped_bucket, write=True) is None
    without = replace(keys, session_token=None)
    assert refusal(seaweedfs, without, seaweedfs.scoped_bucket, write=True) == "InvalidAccessKeyId"
    broken = replace(keys, session_token=f"{keys.session_token}x")
    assert refusal(seaweedfs, broken, seaweedfs.scoped_bucket, write=True) is not None


def test_moto_refuses_wrong_secrets_and_tokens(moto: Moto) -> None:
    bucket = moto.create_bucket()
    keys = moto.assume_role()
    assert refusal(moto, moto.admin, bucket, write=True) is None
    assert refusal(moto, keys, bucket, write=True) is None
    assert refusal(moto, replace(moto.admin, secret_key="wrong"), bucket, write=True) == "SignatureDoesNotMatch"
    assert refusal(moto, S3Keys.new(), bucket, write=True) == "InvalidAccessKeyId"
    assert refusal(moto, replace(keys, session_token="wrong"), bucket, write=True) == "InvalidToken"


def test_moto_keeps_users_to_what_they_may(moto: Moto) -> None:
    one, other = moto.create_bucket(), moto.create_bucket()
    reader = moto.create_user(["s3:GetObject"])
    scoped = moto.create_user(["s3:PutObject"], [f"arn:aws:s3:::{one}/*"])
    assert refusal(moto, reader, one, write=False) is None
    assert refusal(moto, reader, one, write=True) == "AccessDenied"
    assert refusal(moto, scoped, one, write=True) is None
    assert refusal(moto, scoped, one, write=False) == "AccessDenied"
    assert refusal(moto, scoped, other, write=True) == "AccessDenied"


def test_azurite_stores_a_blob_and_refuses_a_wrong_key(azurite: Azurite) -> None:
    container = azurite.create_container()
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        blob = service.get_blob_client(container, "a/object")
        blob.upload_blob(BODY)
        assert blob.download_blob().readall() == BODY
    with azurite.client("d3Jvbmc=") as service, pytest.raises(HttpResponseError) as refused:
        service.get_blob_client(container, "a/object").download_blob()
    assert refused.value.status_code == 403


class Token:
    """A credential of azure-core with a token of the test's own."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)


def create_container(server: Azurite, token: str) -> None:
    assert server.certificate is not None
    trusted = str(server.certificate.certificate)
    with BlobServiceClient(server.endpoint, Token(token), connection_verify=trusted, retry_total=0) as service:
        service.create_container(f"with-token-{secrets.token_hex(6)}")


def test_azurite_over_tls_takes_keys_and_tokens(azurite_with_tokens: Azurite) -> None:
    container = azurite_with_tokens.create_container()
    with pytest.raises(ResourceExistsError):
        azurite_with_tokens.create_container(container)
    create_container(azurite_with_tokens, bearer_token())


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("wrong", id="none"),
        pytest.param(bearer_token(audience="https://example.com"), id="meant elsewhere"),
        pytest.param(bearer_token(lifetime=-60), id="expired"),
    ],
)
def test_azurite_refuses_a_wrong_token(azurite_with_tokens: Azurite, token: str) -> None:
    with pytest.raises(ClientAuthenticationError):
        create_container(azurite_with_tokens, token)


def test_azurite_shows_its_certificate_to_those_who_do_not_trust_it(azurite_with_tokens: Azurite) -> None:
    with (
        BlobServiceClient(azurite_with_tokens.endpoint, Token(bearer_token()), retry_total=0) as service,
        pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        service.create_container("never-made")


def test_a_gcs_server_stores_an_object_with_its_checksums(gcs: GcsServer) -> None:
    bucket = gcs.create_bucket()
    with closing(gcs.client()) as client:
        blob = client.bucket(bucket).blob("a/object")
        blob.upload_from_string(BODY)
        again = client.bucket(bucket).get_blob("a/object")
        assert again is not None
        assert again.generation == blob.generation
        assert again.crc32c == blob.crc32c == base64.b64encode(google_crc32c.Checksum(BODY).digest()).decode()
        assert again.download_as_bytes() == BODY


@pytest.mark.parametrize("store", [seaweedfs_server, moto_server, azurite_server, fake_gcs_server, gcs_emulator])
def test_a_store_ends_with_its_block(
    store: Callable[[], AbstractContextManager[SeaweedFS | Azurite | GcsServer]],
) -> None:
    try:
        with store() as server:
            assert server.answers()
    except ServerMissing as absent:
        missing(str(absent))
    assert not server.answers()
