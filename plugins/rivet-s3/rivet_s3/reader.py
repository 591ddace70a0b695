"""Reads one object, from any position, and goes on after a lost connection with the same version of it."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import NotFound, PreconditionFailed, Transient, retry
from rivet_s3.digests import version_of
from rivet_s3.errors import RangeEmpty, s3_errors

if TYPE_CHECKING:
    from rivet_s3.bucket import Bucket

#: A body that breaks off more often than this without giving a byte is given up.
_ATTEMPTS: Final = 5


class ObjectReader(io.RawIOBase):
    """A seekable view of ``length`` bytes from ``offset``. Whatever is read belongs to one version of the object.

    Args:
        bucket: the bucket.
        name: the object's name in the bucket.
        shown: its URI, for messages.
        offset: where the view begins.
        length: its size; ``None`` for all that follows.
        version: the object's version; ``None`` for the one that is there now.

    Raises:
        NotFound: there is no such object, or not in this version.
    """

    def __init__(
        self, bucket: Bucket, name: str, shown: str, *, offset: int, length: int | None, version: str | None
    ) -> None:
        self._body: Any = None
        self._bucket = bucket
        self._name = name
        self._shown = shown
        self._offset = offset
        self._end = None if length is None else offset + length
        self._version = version
        self._position = 0
        self._open()

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed: Buffer
        """Fill ``buffer`` from the current position and return the number of bytes."""
        with memoryview(buffer).cast("B") as view:
            remaining = self._size() - self._position
            if remaining <= 0 or not view.nbytes:
                return 0
            data = self._read(min(view.nbytes, remaining))
            view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move within the view and return the new position; the next read asks the store from there."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size()}[whence]
        if start + offset < 0:
            raise ValueError("seek before the beginning")
        if start + offset != self._position:
            self._drop()
            self._position = start + offset
        return self._position

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        super().close()

    def _size(self) -> int:
        """Return the size of the view, known since the first answer."""
        return max(0, (self._end or 0) - self._offset)

    def _read(self, size: int) -> bytes:
        """Read up to ``size`` bytes, at least one."""

        def attempt() -> bytes:
            if self._body is None:
                self._open()
            try:
                with s3_errors("get_object", f"read {self._shown}", self._bucket.endpoint):
                    data: bytes = self._body.read(size)
            except Transient:
                self._drop()
                raise
            if not data:
                self._drop()
                raise Transient(f"cannot read {self._shown}: the answer ends before the object does")
            return data

        return retry(attempt, attempts=_ATTEMPTS)

    def _open(self) -> None:
        """Ask for the object from the current position on, and note its version and size."""
        start = self._offset + self._position
        wanted: dict[str, Any] = {}
        if start or self._end is not None:
            # A range of no bytes cannot be asked for; the one byte of this answer is never read.
            last = "" if self._end is None else max(start, self._end - 1)
            wanted["Range"] = f"bytes={start}-{last}"
        if self._version is not None:
            wanted["IfMatch"] = f'"{self._version}"'
        try:
            answer = self._bucket.request("get_object", f"read {self._shown}", Key=self._name, **wanted)
        except PreconditionFailed as error:
            raise NotFound(f"{self._shown} is not the expected version any more") from error
        except RangeEmpty:
            self._end = self._offset
            return
        self._body = answer["Body"]
        self._version = self._version or version_of(answer)
        available = start + int(answer["ContentLength"])
        self._end = available if self._end is None else min(self._end, available)

    def _drop(self) -> None:
        """Close the answer's body, read to its end or not."""
        if self._body is not None:
            with suppress(OSError):
                self._body.close()
        self._body = None
