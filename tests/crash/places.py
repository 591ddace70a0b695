"""Prefixes as a reader without Rivet reaches them: a directory, or a bucket through boto3."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from crash.observer import Directory, Place


@dataclass(frozen=True)
class Address:
    """Where a prefix is: a directory's ``path``, or the other fields.

    Attributes:
        prefix: key prefix, ending in ``/``.
    """

    path: str = ""
    endpoint: str = ""
    bucket: str = ""
    prefix: str = ""
    access_key: str = ""
    secret_key: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    def open(self) -> AbstractContextManager[Place]:
        """Reach the prefix until the block ends."""
        return nullcontext(Directory(Path(self.path))) if self.path else closing(Bucket(self))


class Bucket:
    """A prefix in a bucket."""

    def __init__(self, address: Address) -> None:
        self._bucket = address.bucket
        self._prefix = address.prefix
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=address.endpoint,
            region_name="us-east-1",
            aws_access_key_id=address.access_key,
            aws_secret_access_key=address.secret_key,
            config=Config(s3={"addressing_style": "path"}, response_checksum_validation="when_required"),
        )

    def read(self, key: str) -> bytes | None:
        try:
            with self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"] as body:
                data: bytes = body.read()
                return data
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    def names(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        return [item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", [])]

    def close(self) -> None:
        self._client.close()
