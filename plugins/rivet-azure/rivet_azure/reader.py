"""Reads one version of a blob, a range in each request, so that every request can be repeated by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.storage.blob import BlobClient

from rivet_azure.container import READ, conditions_of, version_of
from rivet_azure.errors import RangeEmpty
from rivet_core.api import IfVersion, NotFound, PreconditionFailed, Transient
from rivet_core.api.reader import RANGE_BYTES, RangeReader

if TYPE_CHECKING:
    from rivet_azure.container import Container


class AzureReader(RangeReader):
    """A seekable view of a part of a blob.

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
        self._first = b""
        size_bytes = self._begin(RANGE_BYTES if length is None else min(length, RANGE_BYTES))
        available = max(0, size_bytes - offset)
        super().__init__(self._request, available if length is None else min(length, available))

    def _begin(self, size: int) -> int:
        """Fetch the first range, pin the version, and return the size of the blob."""
        try:
            if size:
                found, self._first = self._download(0, size)
                self._version = version_of(found.etag)
                return int(found.content_range.rpartition("/")[2])
        except RangeEmpty:
            pass
        info = self._container.head(self._key)
        if info is None or self._version not in (None, info.version):
            raise NotFound(f"cannot {self._action.text}: it is gone, or not the expected version any more")
        self._version = info.version
        return info.size_bytes

    def _request(self, position: int, size: int) -> bytes:
        return self._first[position : position + size] or self._download(position, size)[1]

    def _download(self, position: int, size: int) -> tuple[Any, bytes]:
        """Fetch a range and return the blob's properties and the bytes."""
        conditions = conditions_of(IfVersion(self._version) if self._version else None)

        def call(blob: BlobClient) -> tuple[Any, bytes]:
            found = blob.download_blob(self._offset + position, size, **conditions)
            data: bytes = found.readall()
            if len(data) != found.size:
                raise Transient(f"cannot {self._action.text}: {len(data)} of {found.size} bytes arrived")
            return found.properties, data

        try:
            return self._container.blob_request(self._action, self._key, call)
        except PreconditionFailed as error:
            raise NotFound(f"{error.message}: it is not the expected version any more") from None
