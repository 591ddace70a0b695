"""The ``gcs`` destination: a prefix of a bucket of Google Cloud Storage, its objects told apart by generation."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from rivet_core.api import (
    Capabilities,
    Check,
    Condition,
    Destination,
    IntegrityError,
    NativeAuth,
    NotFound,
    ObjectInfo,
    PreconditionFailed,
)
from rivet_core.api.reader import RANGE_BYTES
from rivet_gcs.bucket import Bucket, generation_of
from rivet_gcs.checks import check_all
from rivet_gcs.client import open_client
from rivet_gcs.config import CHUNK_BYTES
from rivet_gcs.errors import Action, google_errors
from rivet_gcs.reader import GcsReader
from rivet_gcs.writer import GcsWriter

if TYPE_CHECKING:
    from rivet_core.api import DestinationContext
    from rivet_gcs.config import GcsConfig

#: One piece is being filled, one is being sent, and a third may be the copy in between.
_PIECES_IN_MEMORY: Final = 3
_LARGEST_DEFAULT_PIECE: Final = 32 * 1024 * 1024
_LISTED_FIELDS: Final = "items(name,size,generation,crc32c,updated),nextPageToken"


def open_gcs(config: GcsConfig, context: DestinationContext) -> GcsDestination:
    """Bind a destination to a prefix, whose placeholders were filled in. Sends no request to the bucket.

    Raises:
        ConfigError: the credential cannot be used with the endpoint.
    """
    piece_bytes = config.part_size or min(context.upload_bytes // _PIECES_IN_MEMORY, _LARGEST_DEFAULT_PIECE)
    piece_bytes = max(piece_bytes // CHUNK_BYTES, 1) * CHUNK_BYTES
    match context.auth:
        case None:
            identity = "anonymous"
        case NativeAuth(identity=identity):
            pass
        case provider:
            identity = provider.identity()
    return GcsDestination(Bucket(open_client(config, context.auth), config), piece_bytes, identity)


class GcsDestination(Destination):
    """A prefix of a bucket; used from several threads at once.

    Args:
        bucket: becomes this object's own.
        piece_bytes: size of one request of a large upload.
        identity: who logs in, for ``rivet doctor``.
    """

    def __init__(self, bucket: Bucket, piece_bytes: int, identity: str) -> None:
        self._bucket = bucket
        self._identity = identity
        self._piece_bytes = piece_bytes
        self.uri = bucket.uri
        self.buffer_bytes = _PIECES_IN_MEMORY * piece_bytes

    def capabilities(self, claimed: Capabilities) -> Capabilities:
        """Take the checksum back where ``checksum: off`` is configured."""
        return replace(claimed, checksum=None) if self._bucket.config.checksum == "off" else claimed

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        """Write an object in one request with its CRC32C, under a generation precondition."""
        return self._bucket.store(key, bytes(data), condition)

    def open_writer(self, key: str, *, if_absent: bool = True) -> GcsWriter:
        """Start a write; the service hears of it with the first full piece."""
        return GcsWriter(self._bucket, key, if_absent=if_absent, piece_bytes=self._piece_bytes)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        """Open one generation of an object, seekable."""
        info = self._bucket.head(key, version)
        if info is None:
            raise NotFound(f"there is no {self.uri}{key}" + (" of the expected version" if version else ""))
        available = max(0, info.size_bytes - offset)
        reader = GcsReader(self._bucket, info, offset, available if length is None else min(length, available))
        return cast(BinaryIO, io.BufferedReader(reader, RANGE_BYTES))

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object by its metadata."""
        return self._bucket.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects in the order of their names; each page is one request."""
        action = Action(f"list {self.uri}{prefix}", self._bucket.endpoint, "storage.objects.list", needs_bucket=True)
        token: str | None = None
        while True:
            blobs, token = self._bucket.request(action, partial(self._page, prefix, token))
            for blob in blobs:
                if blob.name != self._bucket.config.prefix:  # the "folder" that the console makes for the prefix itself
                    yield self._bucket.info(blob.name.removeprefix(self._bucket.config.prefix), blob)
            if token is None:
                return

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """Rewrite the object inside the service, with the options of a write, until that says that it is done."""
        generation = generation_of(source.version)
        old = self._bucket.blob(source.key)
        action = self._bucket.action(f"copy {self.uri}{source.key} to", target, "storage.objects.create")
        token: str | None = None

        def step() -> ObjectInfo:
            nonlocal token
            new = self._bucket.new_blob(target, like=source.key)
            with google_errors(action):
                while True:
                    token, _, _ = new.rewrite(
                        old,
                        token=token,
                        if_generation_match=0,
                        if_source_generation_match=generation,
                        timeout=self._bucket.config.timeout_seconds,
                        retry=None,
                    )
                    if token is None:
                        return self._bucket.info(target, new)

        try:
            info = self._bucket.settle(step, lambda: self._bucket.find(target, source.size_bytes, _crc32c(source)))
        except PreconditionFailed as error:  # of the source or of the target: the answer does not tell
            current = self._bucket.head(source.key)
            if current is None or current.version != source.version:
                raise NotFound(f"{self.uri}{source.key} is gone or was changed") from error
            raise
        if info.size_bytes != source.size_bytes or _crc32c(info) != _crc32c(source, _crc32c(info)):
            self._bucket.delete(target, info.version)
            raise IntegrityError(
                f"the copy of {self.uri}{source.key} is not equal to it", hint="the original is left in place"
            )
        return info

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Delete an object under a generation precondition."""
        try:
            self._bucket.delete(key, version)
        except NotFound:  # the version is none that an object could have
            return

    def check(self) -> Iterator[Check]:
        """Yield who logs in, and what the bucket's settings mean for an export."""
        return check_all(self._bucket, self._identity, lambda: next(self.list(), None))

    def close(self) -> None:
        """Close the connections."""
        self._bucket.client.close()

    def _page(self, prefix: str, token: str | None) -> tuple[Sequence[Any], str | None]:
        """Return one page of a listing, and the token of the next one if there is one."""
        config = self._bucket.config
        # An iterator of the SDK ends at its first failure as if there were no more pages; so each page has its own.
        pages: Any = self._bucket.client.list_blobs(
            self._bucket.sdk,
            prefix=config.prefix + prefix,
            page_token=token,
            fields=_LISTED_FIELDS,
            timeout=config.timeout_seconds,
            retry=None,
        )
        return list(next(pages.pages, ())), pages.next_page_token


def _crc32c(info: ObjectInfo, default: str | None = None) -> str | None:
    return info.checksums.get("crc32c", default)
