"""Reads one generation of an object, a range in each request, so that every request can be repeated by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rivet_core.api import ObjectInfo, Transient
from rivet_core.api.reader import RangeReader

if TYPE_CHECKING:
    from rivet_gcs.bucket import Bucket


class GcsReader(RangeReader):
    """A seekable view of ``length`` bytes from ``offset`` of an object.

    Args:
        bucket: where from.
        info: the object; its version is the one that is read.
    """

    def __init__(self, bucket: Bucket, info: ObjectInfo, offset: int, length: int) -> None:
        super().__init__(self._request, length)
        self._bucket = bucket
        self._blob: Any = bucket.blob(info.key, info.version)
        self._action = bucket.action("read", info.key, "storage.objects.get")
        self._offset = offset

    def _request(self, position: int, size: int) -> bytes:
        begin = self._offset + position

        def fetch() -> bytes:
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

        return self._bucket.request(self._action, fetch)
