"""The objects of one prefix: their names in the bucket, how they are described, and requests about a single one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from rivet_core.api import IntegrityError, InvalidKey, NotFound, ObjectInfo, PermissionDenied, PreconditionFailed
from rivet_s3.digests import Digest, crc32c_of, version_of
from rivet_s3.errors import Unexplained

if TYPE_CHECKING:
    from rivet_s3.bucket import Bucket
    from rivet_s3.features import Features, Probe

_NAME_BYTES: Final = 1024


class Objects:
    """What the destination, its writers and its copies share.

    Args:
        bucket: the bucket.
        root: the prefix, empty or ending in ``/``.
        probe: finds out what the store can do.
    """

    def __init__(self, bucket: Bucket, root: str, probe: Probe) -> None:
        self.bucket = bucket
        self.root = root
        self.uri = f"s3://{bucket.name}/{quote(root)}"
        self._probe = probe
        self._bucket_seen = False

    @property
    def features(self) -> Features:
        """What the store can do; asked for when it is first needed."""
        return self._probe.features()

    def name(self, key: str) -> str:
        """Return an object's name in the bucket.

        Raises:
            InvalidKey: it is longer than S3 allows.
        """
        name = self.root + key
        if len(name.encode()) > _NAME_BYTES:
            raise InvalidKey(
                f"the name of {self.shown(key)} has more than {_NAME_BYTES} bytes",
                hint="shorten prefix; S3 takes no longer names",
            )
        return name

    def shown(self, key: str) -> str:
        """Return an object's URI, for messages."""
        return f"s3://{self.bucket.name}/{self.root}{key}"

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object.

        Raises:
            BucketMissing: the bucket does not exist.
        """
        action = f"look at {self.shown(key)}"
        wanted: dict[str, Any] = {"Key": self.name(key), "ChecksumMode": "ENABLED"}
        try:
            try:
                answer = self.bucket.request("head_object", action, **wanted)
            except Unexplained:
                self.bucket.explain("get_object", action, Key=wanted["Key"], Range="bytes=0-0")
                answer = self.bucket.request("head_object", action, **wanted)
        except NotFound:
            self._see_bucket(action)
            return None
        self._bucket_seen = True
        return ObjectInfo(
            key, int(answer["ContentLength"]), version_of(answer), crc32c_of(answer), answer.get("LastModified")
        )

    def find(self, key: str, digest: Digest) -> ObjectInfo | None:
        """Return the object at ``key`` if it has these bytes: what a write whose answer was lost has made."""
        info = self.head(key)
        return info if info is not None and digest.matches(info) else None

    def put(self, key: str, data: bytes, digest: Digest, condition: Mapping[str, str], options: Any) -> ObjectInfo:
        """Write an object by one request.

        Args:
            digest: of ``data``.
            condition: the request's own words for it.
            options: what the configuration asks for every object.

        Raises:
            PreconditionFailed: the condition does not hold.
            IntegrityError: the store holds other bytes.
        """
        try:
            answer = self.bucket.settle(
                "put_object",
                f"write {self.shown(key)}",
                lambda: self.find(key, digest),
                Key=self.name(key),
                Body=data,
                **digest.headers,
                **condition,
                **options,
            )
        except NotFound as error:  # what If-Match says where there is nothing that could match
            raise PreconditionFailed(f"{self.shown(key)} was deleted by another writer") from error
        return self.verified(key, digest, answer)

    def verified(self, key: str, digest: Digest, answer: Any | ObjectInfo) -> ObjectInfo:
        """Describe an object that was just made, proven by the answer; where that says nothing, by its size.

        Args:
            digest: of the bytes that were sent.
            answer: to the request that has made it, or what was found after the answer was lost.

        Raises:
            IntegrityError: the store holds other bytes.
        """
        if isinstance(answer, ObjectInfo):
            return answer
        if digest.check(answer, self.shown(key)):
            return ObjectInfo(key, digest.size, version_of(answer), digest.checksums)
        found = self.head(key)
        if found is None or found.size_bytes != digest.size:
            raise IntegrityError(
                f"{self.shown(key)} has {found.size_bytes if found else 'no'} bytes, {digest.size} were sent",
                hint="nothing was recorded, run the export again",
            )
        return found

    def refuse_taken(self, key: str) -> None:
        """Look whether there is an object.

        Raises:
            PreconditionFailed: there is.
        """
        if self.head(key) is not None:
            raise PreconditionFailed(f"{self.shown(key)} exists already")

    def look_around(self, action: str) -> Any:
        """Ask for a first page of one object, which needs no more than the permission to list the prefix.

        Raises:
            BucketMissing: the bucket does not exist.
        """
        return self.bucket.request("list_objects_v2", action, Prefix=self.root, MaxKeys=1)

    def _see_bucket(self, action: str) -> None:
        """Tell an absent object from an absent bucket: the answer to a HEAD is the same for both."""
        if not self._bucket_seen:
            with suppress(PermissionDenied):  # so there is a bucket
                self.look_around(action)
            self._bucket_seen = True
