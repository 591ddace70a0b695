"""A streaming write: in one request if the object is small, else a resumable upload in a thread of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rivet_core.api import IfAbsent, ObjectInfo, ObjectWriter
from rivet_core.api.pieces import PieceUpload
from rivet_gcs.bucket import ONE_REQUEST_BYTES
from rivet_gcs.resumable import ResumableUpload

if TYPE_CHECKING:
    from rivet_gcs.bucket import Bucket


class GcsWriter(ObjectWriter):
    """Fills one piece while the one before is being sent.

    Args:
        bucket: where to.
        key: of the object.
        if_absent: ``commit`` fails if there is an object.
        piece_bytes: size of a piece, a multiple of 256 KiB; one is being filled, one sent, one may be copied.
    """

    def __init__(self, bucket: Bucket, key: str, *, if_absent: bool, piece_bytes: int) -> None:
        self._bucket = bucket
        self._key = key
        self._if_absent = if_absent
        self._open = True
        self._sent_bytes = 0
        self._size_bytes: int | None = None
        self._session: ResumableUpload | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rivet-gcs")  # a session takes its pieces in order
        self._pieces: PieceUpload[ObjectInfo | None] = PieceUpload(
            self._send, self._thread, piece_bytes=lambda _: piece_bytes, in_flight_bytes=piece_bytes
        )
        self._written = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append ``data``; waits while a whole piece is still being sent."""
        self._check_open()
        written = self._pieces.write(data)
        self._written += written
        return written

    def commit(self) -> ObjectInfo:
        """Send what is left; the last request makes the object."""
        self._check_open()
        try:
            info = self._commit()
        except BaseException:
            self.abort()
            raise
        self._close()
        return info

    def abort(self) -> None:
        """Wait for the request that is under way, then cancel the upload."""
        if self._open:
            self._pieces.cancel()
            if self._session is not None:
                self._session.cancel()
            self._close()

    def _commit(self) -> ObjectInfo:
        if not self._pieces.started and self._written <= ONE_REQUEST_BYTES:
            return self._bucket.store(self._key, self._pieces.rest, IfAbsent() if self._if_absent else None)
        self._size_bytes = self._written  # from now on the last piece is known as such
        info = self._pieces.finish()[-1]
        if info is None:
            raise AssertionError("the last piece is confirmed by the object's description")
        return info

    def _send(self, number: int, piece: bytes) -> ObjectInfo | None:
        if self._session is None:
            self._session = ResumableUpload(
                self._bucket, self._key, if_absent=self._if_absent, stop=self._pieces.stopped
            )
        self._sent_bytes += len(piece)
        if self._sent_bytes == self._size_bytes:
            return self._session.finish(piece)
        self._session.send(piece)
        return None

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the writer of {self._key} is closed")

    def _close(self) -> None:
        self._open = False
        self._thread.shutdown()
