"""Reads an object that is fetched range by range, as a seekable file."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Final

#: What one request fetches; large, because each one costs a round trip.
RANGE_BYTES: Final = 8 << 20


class RangeReader(io.RawIOBase):
    """A seekable view of a part of an object, for an ``io.BufferedReader``; every request can be repeated by itself.

    Args:
        fetch: ``(position, size) -> bytes``: the bytes of the view from there, at least one and at most ``size``,
            always of the same version of the object. It is asked for ``RANGE_BYTES`` at most.
        length: size of the view in bytes.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], length: int) -> None:
        self._fetch = fetch
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed: Buffer
        """Fill ``buffer`` from the current position and return the number of bytes.

        Raises:
            DestinationError: what ``fetch`` raises.
        """
        with memoryview(buffer).cast("B") as view:
            size = max(0, min(view.nbytes, self._length - self._position, RANGE_BYTES))
            data = self._fetch(self._position, size) if size else b""
            view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move within the view and return the new position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if start + offset < 0:
            raise ValueError("seek before the beginning")
        self._position = start + offset
        return self._position
