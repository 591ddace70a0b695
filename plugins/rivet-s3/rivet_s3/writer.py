"""Writes one object of unknown size: by one request if it is small, else as a multipart upload."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import ObjectInfo, ObjectWriter
from rivet_core.api.pieces import PieceUpload
from rivet_s3.digests import digest
from rivet_s3.multipart import Part, abort_multipart, begin_multipart, complete_multipart

if TYPE_CHECKING:
    from rivet_s3.objects import Objects
    from rivet_s3.sizing import Sizing

IF_ABSENT: Final = {"IfNoneMatch": "*"}


class S3Writer(ObjectWriter):
    """Nothing is at the key before ``commit``, and after ``abort`` no part that is billed.

    Args:
        objects: the prefix.
        key: the object.
        if_absent: never replace an object.
        options: what the configuration asks for every object.
        pool: threads that send parts.
        sizing: how it is cut.
    """

    def __init__(
        self,
        objects: Objects,
        key: str,
        *,
        if_absent: bool,
        options: dict[str, Any],
        pool: ThreadPoolExecutor,
        sizing: Sizing,
    ) -> None:
        self._objects = objects
        self._key = key
        self._name = objects.name(key)
        self._shown = objects.shown(key)
        self._if_absent = if_absent
        self._options = options
        self._pieces = PieceUpload(self._send, pool, piece_bytes=sizing.part, in_flight_bytes=sizing.in_flight_bytes)
        self._lock = threading.Lock()
        self._upload_id: str | None = None
        self._open = True

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append ``data``; full parts are sent meanwhile."""
        self._check_open()
        size = self._pieces.write(data)
        if self._pieces.started and self._upload_id is None:
            self._begin()  # so that what a killed process leaves is listed, whichever of its threads came first
        return size

    def commit(self) -> ObjectInfo:
        """Make the object visible by the one request that stores it, or completes its upload."""
        self._check_open()
        try:
            info = self._complete() if self._pieces.started else self._store()
        except BaseException:
            self.abort()
            raise
        self._open = False
        return info

    def abort(self) -> None:
        """Stop sending, and have the store forget what it has got."""
        if not self._open:
            return
        self._open = False
        self._pieces.cancel()
        if self._upload_id is not None:
            abort_multipart(self._objects, self._key, self._upload_id)

    def _store(self) -> ObjectInfo:
        """Store an object that is smaller than one part."""
        data = self._pieces.rest
        features = self._objects.features
        if self._if_absent and not features.conditions:
            self._objects.refuse_taken(self._key)
        condition = IF_ABSENT if self._if_absent and features.conditions else {}
        return self._objects.put(self._key, data, digest(data, features.method), condition, self._options)

    def _send(self, number: int, data: bytes) -> Part:
        """Send one part, in a thread of the pool."""
        sum_ = digest(data, self._objects.features.method)
        answer = self._objects.bucket.request(
            "upload_part",
            f"write {self._shown}",
            stop=self._pieces.stopped,
            Key=self._name,
            UploadId=self._begin(),
            PartNumber=number,
            Body=data,
            **sum_.headers,
        )
        sum_.check(answer, f"part {number} of {self._shown}")
        return Part(answer["ETag"], sum_)

    def _begin(self) -> str:
        """Return the id of the upload, which the first part begins."""
        with self._lock:
            if self._upload_id is None:
                self._upload_id = begin_multipart(self._objects, self._key, self._options)
            return self._upload_id

    def _complete(self) -> ObjectInfo:
        """Complete the multipart upload."""
        parts = self._pieces.finish()
        features = self._objects.features
        if self._if_absent and not features.writer_conditions:
            self._objects.refuse_taken(self._key)
        return complete_multipart(
            self._objects,
            self._key,
            self._upload_id or "",
            parts,
            IF_ABSENT if self._if_absent and features.conditions else {},
        )

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the writer of {self._key} is closed")
