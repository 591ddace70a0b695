"""What the server behind the S3 protocol can do, tried once without leaving anything."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from rivet_core.api import DestinationError, IntegrityError, NotFound, PermissionDenied, PreconditionFailed
from rivet_s3.digests import Digest, Method

if TYPE_CHECKING:
    from rivet_s3.bucket import Bucket
    from rivet_s3.config import S3Config

_AWS_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")
_NO_ETAG: Final = '"00000000000000000000000000000000"'
_WRONG_DIGEST: Final = Digest(size=1, crc32c=0)  # of the one byte that the probe sends it is another


@dataclass(frozen=True)
class Features:
    """What may be relied on at this store.

    Attributes:
        conditions: it decides about conditions on ``PutObject``.
        writer_conditions: it decides about them on ``CompleteMultipartUpload``, too.
        method: how content is proven.
    """

    conditions: bool
    writer_conditions: bool
    method: Method


class Probe:
    """Finds out the features when they are first needed. AWS is known; any other store is tried.

    Args:
        bucket: the bucket.
        root: the prefix, under which the probing requests go.
        config: what the user wants.
    """

    def __init__(self, bucket: Bucket, root: str, config: S3Config) -> None:
        self._bucket = bucket
        self._root = root
        self._config = config
        self._lock = threading.Lock()
        self._features: Features | None = None
        host = urlsplit(bucket.endpoint).hostname or ""
        self._is_aws = host.endswith(_AWS_DOMAINS)

    def features(self) -> Features:
        """Return the features.

        Raises:
            DestinationError: one that the configuration requires is not there.
        """
        with self._lock:
            if self._features is None:
                conditions = self._conditions()
                # Whether a store honours a condition on CompleteMultipartUpload shows only when it has made an object.
                required = self._config.conditional_writes == "required"
                writer_conditions = conditions and (self._is_aws or required)
                self._features = Features(conditions, writer_conditions, self._method())
            return self._features

    def _conditions(self) -> bool:
        wanted = self._config.conditional_writes
        if wanted == "off":
            return False
        supported = self._is_aws or self._refuses("a conditional write", {"IfMatch": _NO_ETAG})
        if wanted == "required" and not supported:
            raise DestinationError(
                f"{self._bucket.endpoint} has no conditional writes, which conditional_writes: required asks for",
                hint="set conditional_writes: auto, and let one run at a time write to a prefix",
            )
        return supported

    def _method(self) -> Method:
        wanted = self._config.checksum
        if wanted == "off":
            return "size"
        if self._is_aws or self._refuses("a wrong checksum", _WRONG_DIGEST.headers):
            return "crc32c"
        if wanted == "required":
            raise DestinationError(
                f"{self._bucket.endpoint} does not verify CRC-32C, which checksum: required asks for",
                hint="set checksum: auto to prove parts by MD5 and ETag instead",
            )
        return "md5"

    def _refuses(self, what: str, wrong: dict[str, Any]) -> bool:
        """Whether the store refuses to write one byte with a wrong header; one that ignores it has the byte removed."""
        key = f"{self._root}.rivet-probe"
        try:
            self._bucket.request("put_object", f"try {what}", Key=key, Body=b"\n", **wrong)
        except (PreconditionFailed, NotFound, IntegrityError):
            return True
        except DestinationError as error:
            if type(error) is not DestinationError:
                raise
            return False  # it refuses the header itself, not its value
        with suppress(PermissionDenied):  # who may write and not delete leaves one byte, always at the same key
            self._bucket.request("delete_object", "delete what was tried", Key=key)
        return False
