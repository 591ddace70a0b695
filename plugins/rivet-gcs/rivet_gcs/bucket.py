"""The objects of one prefix of a bucket: their names, their options, and single requests for them with retries."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import google_crc32c
from google.cloud import storage

from rivet_core.api import (
    DestinationError,
    IfAbsent,
    IfVersion,
    IntegrityError,
    NotFound,
    ObjectInfo,
    PreconditionFailed,
    Transient,
    retry,
)
from rivet_gcs.client import endpoint_of
from rivet_gcs.errors import Action, google_errors

if TYPE_CHECKING:
    import threading

    from rivet_core.api import Condition
    from rivet_gcs.config import GcsConfig

T = TypeVar("T")

#: The SDK stores what is not larger in one request.
ONE_REQUEST_BYTES: Final = 8 * 1024 * 1024
_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "csv": "text/csv",
    "gz": "application/gzip",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "zst": "application/zstd",
}


class Bucket:
    """What destination, writers and readers share.

    Args:
        client: becomes this object's own.
        config: its prefix is resolved.
    """

    def __init__(self, client: storage.Client, config: GcsConfig) -> None:
        self.client = client
        self.config = config
        self.endpoint = endpoint_of(config, client.universe_domain)
        self.uri = f"gs://{config.bucket}/{config.prefix}"
        self.sdk = client.bucket(config.bucket, user_project=config.user_project)

    @property
    def session(self) -> Any:
        """The HTTP session that the SDK uses, for the requests of resumable uploads."""
        return self.client._http

    def blob(self, key: str, version: str | None = None) -> Any:
        """Return the SDK's handle of an object, or of one generation of it.

        Raises:
            NotFound: ``version`` is no generation.
        """
        return self.sdk.blob(self.config.prefix + key, generation=None if version is None else generation_of(version))

    def new_blob(self, key: str, like: str | None = None) -> Any:
        """Return the handle of an object to write, with the options that are configured.

        Args:
            like: the key whose suffix says what kind of file it is, if not ``key``.
        """
        blob = self.sdk.blob(self.config.prefix + key, kms_key_name=self.config.kms_key)
        blob.content_type = _MEDIA_TYPES.get((like or key).rpartition(".")[2], "application/octet-stream")
        if self.config.storage_class is not None:
            blob.storage_class = self.config.storage_class
        if self.config.metadata:
            blob.metadata = dict(self.config.metadata)
        return blob

    def action(self, verb: str, key: str, permission: str) -> Action:
        """Describe a request for an object, for messages."""
        return Action(f"{verb} {self.uri}{key}", self.endpoint, permission)

    def request(self, action: Action, send: Callable[[], T], *, stop: threading.Event | None = None) -> T:
        """Send an idempotent request, repeated while its failure is transient."""

        def once() -> T:
            with google_errors(action):
                return send()

        return retry(once, stop=stop)

    def settle(self, request: Callable[[], T], look: Callable[[], T | None]) -> T:
        """Make a request of which a repetition may find its own work done; ``look`` then tells.

        Args:
            request: may raise ``Transient`` when its answer was lost, and is not to repeat itself.
            look: what ``request`` would have returned if an earlier try has done it, else ``None``.

        Raises:
            PreconditionFailed: the work of another writer was found.
            Transient: the tries are used up, and the work is not done.
        """
        lost = False

        def once() -> T:
            nonlocal lost
            try:
                return request()
            except Transient:
                lost = True
                raise

        try:
            return retry(once)
        except (PreconditionFailed, NotFound, Transient):
            if lost and (found := look()) is not None:
                return found
            raise

    def head(self, key: str, version: str | None = None) -> ObjectInfo | None:
        """Describe an object, or return ``None``."""
        blob = self.blob(key, version)
        action = self.action("read", key, "storage.objects.get")
        try:
            self.request(action, lambda: blob.reload(timeout=self.config.timeout_seconds, retry=None))
        except NotFound:
            return None
        return self.info(key, blob)

    def info(self, key: str, blob: Any) -> ObjectInfo:
        """Describe an object by what the service said about it."""
        return self.describe(key, blob.size, blob.generation, blob.crc32c, blob.updated)

    def describe(
        self, key: str, size: int | str, generation: int | str, crc32c: str | None, updated: datetime | None
    ) -> ObjectInfo:
        """Describe an object by the fields of its resource."""
        checksums = {}
        if crc32c and self.config.checksum != "off":
            checksums["crc32c"] = base64.b64decode(crc32c).hex()
        return ObjectInfo(key, int(size or 0), str(generation), checksums, updated)

    def store(self, key: str, data: bytes, condition: Condition | None) -> ObjectInfo:
        """Write an object of at most ``ONE_REQUEST_BYTES`` in one request, and prove that these bytes are stored.

        Raises:
            PreconditionFailed: ``condition`` does not hold.
            IntegrityError: the service reports another checksum; the object was deleted again.
        """
        action = replace(self.action("write", key, "storage.objects.create"), needs_bucket=True)
        checksum = "crc32c" if self.config.checksum != "off" else None
        match = if_generation_match(condition)

        def upload() -> ObjectInfo:
            blob = self.new_blob(key)
            with google_errors(action):
                blob.upload_from_string(
                    data,
                    content_type=blob.content_type,
                    if_generation_match=match,
                    timeout=self.config.timeout_seconds,
                    checksum=checksum,
                    retry=None,
                )
            return self.info(key, blob)

        crc = google_crc32c.value(data)
        info = self.settle(upload, lambda: self.find(key, len(data), digest(crc)))
        self.prove(info, len(data), crc)
        return info

    def find(self, key: str, size_bytes: int, crc32c: str | None) -> ObjectInfo | None:
        """Return the object at ``key`` if it has this size and checksum; ``None`` as a checksum proves nothing."""
        info = self.head(key)
        if info is None or info.size_bytes != size_bytes or crc32c is None or info.checksums.get("crc32c") != crc32c:
            return None
        return info

    def prove(self, info: ObjectInfo, size_bytes: int, crc32c: int) -> None:
        """Compare what the service has stored with what was sent; delete that generation if it differs.

        Raises:
            IntegrityError: it differs, or has no checksum although one is required.
        """
        stored = info.checksums.get("crc32c")
        if stored is None and self.config.checksum == "required":
            problem = "the service gives no CRC32C, and checksum: required is set"
        elif info.size_bytes != size_bytes:
            problem = f"{info.size_bytes} of {size_bytes} bytes are stored"
        elif stored is not None and stored != digest(crc32c):
            problem = f"the CRC32C of what is stored is {stored}, of what was sent {digest(crc32c)}"
        else:
            return
        try:
            self.delete(info.key, info.version)
            rest = "it was deleted again"
        except DestinationError:
            rest = "it could not be deleted again, and is in no manifest"
        raise IntegrityError(
            f"{self.uri}{info.key} is not what was written: {problem}; {rest}",
            hint="run the export again; if this repeats, something between here and the service changes bytes",
        )

    def delete(self, key: str, version: str | None) -> None:
        """Delete an object, or only this generation of it if it is the live one; absent is fine."""
        match = None if version is None else generation_of(version)
        action = self.action("delete", key, "storage.objects.delete")
        try:
            self.request(
                action,
                lambda: self.blob(key).delete(
                    if_generation_match=match, timeout=self.config.timeout_seconds, retry=None
                ),
            )
        except (NotFound, PreconditionFailed):
            return


def generation_of(version: str) -> int:
    """Return the generation that a version is the text of.

    Raises:
        NotFound: it is no generation, so no object has it.
    """
    if not (version.isascii() and version.isdecimal()):
        raise NotFound(f"no object has the version {version!r}")
    return int(version)


def if_generation_match(condition: Condition | None) -> int | None:
    """Return the generation precondition for a condition; 0 means that there is no object.

    Raises:
        PreconditionFailed: no object can have the version.
    """
    match condition:
        case IfAbsent():
            return 0
        case IfVersion(version):
            try:
                return generation_of(version)
            except NotFound as error:
                raise PreconditionFailed(error.message) from error
    return None


def digest(crc32c: int) -> str:
    """Return a CRC32C as ``ObjectInfo.checksums`` has it."""
    return f"{crc32c:08x}"
