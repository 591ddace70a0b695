"""Writes one object of unknown size: by one request if it is small, else in blocks that are committed together."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rivet_azure.blocks import Blocks, store
from rivet_core.api import IfAbsent, ObjectInfo, ObjectWriter
from rivet_core.api.pieces import PieceUpload

if TYPE_CHECKING:
    from rivet_azure.container import Container
    from rivet_azure.sizing import Sizing


class AzureWriter(ObjectWriter):
    """Nothing is at the key before ``commit``.

    After ``abort`` neither; blocks that were sent are removed by the service within a week, and nobody else can do so
    without making a blob of that name visible.

    Args:
        container: the prefix.
        key: the object.
        if_absent: never replace an object.
        pool: threads that send blocks.
        sizing: how the object is cut.
    """

    def __init__(
        self, container: Container, key: str, *, if_absent: bool, pool: ThreadPoolExecutor, sizing: Sizing
    ) -> None:
        self._container = container
        self._key = key
        self._if_absent = if_absent
        checked = container.config.checksum != "off"
        self._blocks = Blocks(container, key, verify=checked)
        self._pieces = PieceUpload(self._send, pool, piece_bytes=sizing.block, in_flight_bytes=sizing.in_flight_bytes)
        self._md5 = hashlib.md5(usedforsecurity=False) if checked else None
        self._size_bytes = 0
        self._open = True

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append ``data``; full blocks are sent meanwhile."""
        self._check_open()
        piece = data if isinstance(data, bytes) else bytes(data)
        if self._md5 is not None:
            self._md5.update(piece)
        size = self._pieces.write(piece)
        self._size_bytes += size
        return size

    def commit(self) -> ObjectInfo:
        """Make the object visible by the one request that stores it, or commits its blocks."""
        self._check_open()
        try:
            info = self._commit()
        except BaseException:
            self.abort()
            raise
        self._open = False
        return info

    def abort(self) -> None:
        """Stop sending."""
        if self._open:
            self._open = False
            self._pieces.cancel()

    def _send(self, number: int, data: bytes) -> int:
        """Send one block, in a thread of the pool, and return its number."""
        self._blocks.stage(number, data, stop=self._pieces.stopped)
        return number

    def _commit(self) -> ObjectInfo:
        if not self._pieces.started:
            condition = IfAbsent() if self._if_absent else None
            return store(self._container, self._key, self._pieces.rest, condition, part=True)
        md5 = self._md5.digest() if self._md5 is not None else None
        return self._blocks.commit(self._pieces.finish(), self._size_bytes, md5, if_absent=self._if_absent)

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the writer of {self._key} is closed")
