"""Reads one version of a blob, a range in each request, so that every request can be repeated by itself."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, Final

from azure.storage.blob import BlobClient

from rivet_azure.container import READ, conditions_of, version_of
from rivet_azure.errors import RangeEmpty
from rivet_core.api import IfVersion, NotFound, PreconditionFailed, Transient

if TYPE_CHECKING:
    from rivet_azure.container import Container

#: What one request fetches; large, because each one costs a round trip.
RANGE_BYTES: Final = 8 << 20


class AzureReader(io.RawIOBase):
    """A seekable view of a part of a blob, for an ``io.BufferedReader``.

    The first range is fetched at once: its answer says how large the blob is, and which version it has.

    Args:
        container: where from.
        key: the object.
        offset: where the view begins.
        length: where it ends, if that is before the end of the blob.
        version: the version that is meant; the current one if there is none.

    Raises:
        NotFound: there is no such object, or it has another version.
    """

    def __init__(self, container: Container, key: str, *, offset: int, length: int | None, version: str | None) -> None:
        self._container = container
        self._key = key
        self._action = container.action("read", key, READ)
        self._version = version
        self._offset = offset
        self._position = 0
        self._first = b""
        size_bytes = self._begin(RANGE_BYTES if length is None else min(length, RANGE_BYTES))
        available = max(0, size_bytes - offset)
        self._length = available if length is None else min(length, available)

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed: Buffer
        """Fill ``buffer`` from the current position, up to ``RANGE_BYTES``, and return the number of bytes.

        Raises:
            NotFound: the object is not the expected version any more.
        """
        with memoryview(buffer).cast("B") as view:
            size = max(0, min(view.nbytes, self._length - self._position, RANGE_BYTES))
            if self._position < len(self._first):
                size = min(size, len(self._first) - self._position)
            if size:
                view[:size] = self._first[self._position : self._position + size] or self._fetch(size)
        self._position += size
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move within the view and return the new position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if start + offset < 0:
            raise ValueError("seek before the beginning")
        self._position = start + offset
        return self._position

    def _begin(self, size: int) -> int:
        """Fetch the first range, pin the version, and return the size of the blob."""
        try:
            if size:
                found, self._first = self._download(size)
                self._version = version_of(found.etag)
                return int(found.content_range.rpartition("/")[2])
        except RangeEmpty:
            pass
        info = self._container.head(self._key)
        if info is None or self._version not in (None, info.version):
            raise NotFound(f"cannot {self._action.text}: it is gone, or not the expected version any more")
        self._version = info.version
        return info.size_bytes

    def _fetch(self, size: int) -> bytes:
        _, data = self._download(size)
        if len(data) != size:
            raise Transient(f"cannot {self._action.text}: {len(data)} of {size} bytes arrived")
        return data

    def _download(self, size: int) -> tuple[Any, bytes]:
        """Fetch a range from the current position and return the blob's properties and the bytes."""
        conditions = conditions_of(IfVersion(self._version) if self._version else None)

        def call(blob: BlobClient) -> tuple[Any, bytes]:
            found = blob.download_blob(self._offset + self._position, size, **conditions)
            data: bytes = found.readall()
            return found.properties, data

        try:
            return self._container.blob_request(self._action, self._key, call)
        except PreconditionFailed as error:
            raise NotFound(f"{error.message}: it is not the expected version any more") from None
