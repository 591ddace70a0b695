"""What a server that speaks S3 gives to a test."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from servers.process import HOST

REGION = "us-east-1"


@dataclass(frozen=True)
class S3Keys:
    """What signs a request; temporary keys have a session token."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def new(cls) -> S3Keys:
        """Return keys that nobody had before; the secret has the characters that must be escaped in a URL."""
        return cls(f"AKIA{secrets.token_hex(8).upper()}", f"{secrets.token_urlsafe(27)}+/=")

    @classmethod
    def of_answer(cls, credentials: dict[str, Any]) -> S3Keys:
        """Return the ``Credentials`` of an answer of STS."""
        return cls(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])


@dataclass(frozen=True)
class S3Server:
    """A running server, and the keys that may do everything there."""

    port: int
    admin: S3Keys

    region: str = REGION

    @property
    def endpoint(self) -> str:
        """The URL for ``endpoint_url``."""
        return f"http://{HOST}:{self.port}"

    def client(self, keys: S3Keys | None = None, *, service: str = "s3") -> Any:
        """Return a boto3 client that never repeats a request; ``None`` means the administrator's keys."""
        keys = keys or self.admin
        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.session_token,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=30,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def create_bucket(self, name: str | None = None) -> str:
        """Create a bucket, for one test alone unless it is named, and return its name."""
        name = name or f"test-{secrets.token_hex(6)}"
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()
        return name

    def through(self, port: int) -> Self:
        """Return the same server as a proxy on another loopback port shows it."""
        return replace(self, port=port)

    def answers(self) -> bool:
        """Whether an object can be written and read now."""
        client = self.client()
        probe = {"Bucket": f"probe-{secrets.token_hex(6)}"}
        try:
            client.create_bucket(**probe)
            client.put_object(**probe, Key="probe", Body=b"probe")
            with client.get_object(**probe, Key="probe")["Body"] as body:
                answered = body.read() == b"probe"
            client.delete_object(**probe, Key="probe")
            client.delete_bucket(**probe)
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return answered
