"""The ``s3`` destination: the objects under one prefix of a bucket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from rivet_core.api import (
    Capabilities,
    Check,
    Destination,
    DestinationError,
    IfAbsent,
    IfVersion,
    NotFound,
    ObjectInfo,
    PendingUpload,
    PreconditionFailed,
)
from rivet_s3.bucket import Bucket
from rivet_s3.checks import check_all
from rivet_s3.client import log_in, open_client
from rivet_s3.copying import copy_object
from rivet_s3.digests import digest, version_of
from rivet_s3.errors import UploadGone
from rivet_s3.features import Probe
from rivet_s3.objects import Objects
from rivet_s3.options import copy_options, creation_options
from rivet_s3.reader import ObjectReader
from rivet_s3.sizing import Sizing
from rivet_s3.writer import IF_ABSENT, S3Writer

if TYPE_CHECKING:
    from rivet_core.api import Condition, DestinationContext
    from rivet_s3.client import Login
    from rivet_s3.config import S3Config

_READ_BUFFER_BYTES: Final = 1 << 20
#: Writers that are expected at the same time; more of them share the same threads.
_WRITERS: Final = 4
#: Connections beside those that send parts: readers, listings, control objects.
_OTHER_CONNECTIONS: Final = 16


def open_s3(config: S3Config, context: DestinationContext) -> S3Destination:
    """Bind a destination to ``config.bucket`` and ``config.prefix``. Sends no request to S3.

    Raises:
        ConfigError: the region is unknown, the credentials are no use, or would go over plain HTTP.
    """
    login = log_in(context.auth)
    threads = config.upload_concurrency * _WRITERS
    client = open_client(config, login, connections=threads + _OTHER_CONNECTIONS)
    sizing = Sizing.of(context.upload_bytes, config.upload_concurrency, config.part_size)
    bucket = Bucket(client, config.bucket, login.signer, requester_pays=config.requester_pays)
    return S3Destination(config, login, bucket, sizing, ThreadPoolExecutor(threads, "rivet-s3"))


class S3Destination(Destination):
    """The objects under one prefix of a bucket.

    Keeps nothing between calls but connections, threads and what it has found out about the server, so any number of
    threads may use it at once.
    """

    def __init__(
        self, config: S3Config, login: Login, bucket: Bucket, sizing: Sizing, pool: ThreadPoolExecutor
    ) -> None:
        self._config = config
        self._login = login
        self._bucket = bucket
        self._sizing = sizing
        self._pool = pool
        self._objects = Objects(bucket, config.prefix, Probe(bucket, config.prefix, config))
        self._creation = creation_options(config)
        self.uri = self._objects.uri
        self.buffer_bytes = sizing.buffer_bytes

    def capabilities(self, claimed: Capabilities) -> Capabilities:
        """Take back what the server cannot do; see ``features``."""
        features = self._objects.features
        return replace(
            claimed,
            conditional_put=features.conditions,
            conditional_writer=features.writer_conditions,
            checksum=claimed.checksum if features.method == "crc32c" else None,
        )

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        """Write an object by one ``PutObject``."""
        features = self._objects.features
        if condition is not None and not features.conditions:
            raise DestinationError(
                f"cannot write {self._objects.shown(key)} conditionally: {self._bucket.endpoint} has no conditions",
                hint="let one run at a time write to a prefix",
            )
        return self._objects.put(key, data, digest(data, features.method), _words(condition), self._creation)

    def open_writer(self, key: str, *, if_absent: bool = True) -> S3Writer:
        """Collect the first part; what is no larger is stored by one request, the rest by a multipart upload."""
        return S3Writer(
            self._objects, key, if_absent=if_absent, options=self._creation, sizing=self._sizing, pool=self._pool
        )

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        """Open an object, seekable; a lost connection is opened again where it broke off."""
        reader = ObjectReader(
            self._bucket,
            self._objects.name(key),
            self._objects.shown(key),
            offset=offset,
            length=length,
            version=version,
        )
        return cast(BinaryIO, io.BufferedReader(reader, _READ_BUFFER_BYTES))

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, its checksum included."""
        return self._objects.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects in the order of their keys, without checksums: S3's listings have none.

        The empty objects that consoles make for directories are left out; their names end in ``/``.
        """
        action = f"list {self._objects.shown(prefix)}"
        page: dict[str, Any] = {"Prefix": self._objects.root + prefix}
        while page:
            answer = self._bucket.request("list_objects_v2", action, **page)
            for item in answer.get("Contents", ()):
                key = str(item["Key"]).removeprefix(self._objects.root)
                if key and not key.endswith("/"):
                    yield ObjectInfo(key, int(item["Size"]), version_of(item), modified=item.get("LastModified"))
            token = answer.get("NextContinuationToken")
            page = {**page, "ContinuationToken": token} if token else {}

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """Copy inside S3, with this destination's options."""
        return copy_object(
            self._objects,
            source,
            target,
            options=copy_options(self._config),
            creation=self._creation,
            pool=self._pool,
        )

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Delete an object; with ``version`` looked at before, and by ``If-Match`` where the store knows that."""
        pinned: dict[str, Any] = {}
        if version is not None:
            current = self._objects.head(key)
            if current is None or current.version != version:
                return
            pinned = {"IfMatch": f'"{version}"'}
        try:
            self._bucket.request(
                "delete_object", f"delete {self._objects.shown(key)}", Key=self._objects.name(key), **pinned
            )
        except (NotFound, PreconditionFailed):
            return

    def pending_uploads(self) -> Iterator[PendingUpload]:
        """Yield the multipart uploads that nobody has completed or aborted, those that are at work included."""
        action = f"list the uploads at {self.uri}"
        page: dict[str, Any] = {"Prefix": self._objects.root}
        while page:
            answer = self._bucket.request("list_multipart_uploads", action, **page)
            for item in answer.get("Uploads", ()):
                key = str(item["Key"]).removeprefix(self._objects.root)
                yield PendingUpload(key, str(item["UploadId"]), item.get("Initiated"))
            page = (
                {**page, "KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer.get("NextUploadIdMarker", "")}
                if answer.get("IsTruncated")
                else {}
            )

    def abort_upload(self, upload: PendingUpload) -> None:
        """Have the store forget the parts of an upload."""
        try:
            self._bucket.request(
                "abort_multipart_upload",
                f"abort the upload of {self._objects.shown(upload.key)}",
                Key=self._objects.name(upload.key),
                UploadId=upload.upload_id,
            )
        except UploadGone:
            return

    def check(self) -> Iterator[Check]:
        """Yield who logs in, and whether bucket, region, clock, lifecycle rules and server are as they should be."""
        return check_all(self._objects, self._login)

    def close(self) -> None:
        """End the threads and close the connections."""
        self._pool.shutdown(cancel_futures=True)
        self._bucket.close()


def _words(condition: Condition | None) -> dict[str, str]:
    """Return a condition as a request says it."""
    match condition:
        case IfAbsent():
            return IF_ABSENT
        case IfVersion(version):
            return {"IfMatch": f'"{version}"'}
        case None:
            return {}
