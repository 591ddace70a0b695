"""Reads one generation of an object, a range in each request, so that every request can be repeated by itself."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import ObjectInfo, Transient

if TYPE_CHECKING:
    from rivet_gcs.bucket import Bucket

#: What one request fetches; large, because each one costs a round trip.
RANGE_BYTES: Final = 8 * 1024 * 1024


class GcsReader(io.RawIOBase):
    """A seekable view of ``length`` bytes from ``offset`` of an object, for an ``io.BufferedReader``.

    Args:
        bucket: where from.
        info: the object; its version is the one that is read.
    """

    def __init__(self, bucket: Bucket, info: ObjectInfo, offset: int, length: int) -> None:
        self._bucket = bucket
        self._blob: Any = bucket.blob(info.key, info.version)
        self._action = bucket.action("read", info.key, "storage.objects.get")
        self._offset = offset
        self._length = length
        self._position = 0

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
            if size:
                view[:size] = self._bucket.request(self._action, lambda: self._fetch(size))
        self._position += size
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move within the view and return the new position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if start + offset < 0:
            raise ValueError("seek before the beginning")
        self._position = start + offset
        return self._position

    def _fetch(self, size: int) -> bytes:
        begin = self._offset + self._position
        data: bytes = self._blob.download_as_bytes(
            start=begin,
            end=begin + size - 1,
            raw_download=True,
            timeout=self._bucket.config.timeout_seconds,
            checksum=None,  # the service has one of the whole object only
            retry=None,
        )
        if len(data) != size:
            raise Transient(f"cannot {self._action.text}: {len(data)} of {size} bytes arrived")
        return data
