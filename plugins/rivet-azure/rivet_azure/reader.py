"""Reads one version of a blob, a range in each request, so that every request can be repeated by itself."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Final

from azure.storage.blob import BlobClient

from rivet_azure.container import READ, conditions_of
from rivet_core.api import IfVersion, NotFound, ObjectInfo, PreconditionFailed, Transient

if TYPE_CHECKING:
    from rivet_azure.container import Container

#: What one request fetches; large, because each one costs a round trip.
RANGE_BYTES: Final = 8 << 20


class AzureReader(io.RawIOBase):
    """A seekable view of ``length`` bytes from ``offset`` of a blob, for an ``io.BufferedReader``.

    Args:
        container: where from.
        info: the object; its version is the one that is read.
    """

    def __init__(self, container: Container, info: ObjectInfo, offset: int, length: int) -> None:
        self._container = container
        self._info = info
        self._action = container.action("read", info.key, READ)
        self._conditions = conditions_of(IfVersion(info.version))
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
                view[:size] = self._fetch(size)
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
        def call(blob: BlobClient) -> bytes:
            data: bytes = blob.download_blob(self._offset + self._position, size, **self._conditions).readall()
            if len(data) != size:
                raise Transient(f"cannot {self._action.text}: {len(data)} of {size} bytes arrived")
            return data

        try:
            return self._container.blob_request(self._action, self._info.key, call)
        except PreconditionFailed as error:
            raise NotFound(f"{error.message}: it is not the expected version any more") from None
