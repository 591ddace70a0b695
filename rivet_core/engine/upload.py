"""Streams one part to a store: encoded bytes are hashed and written by a thread of their own."""

from __future__ import annotations

import io
import queue
import threading
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import pyarrow as pa

from rivet_core.contract.fingerprint import Fingerprint

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from rivet_core.api.destination import ObjectWriter

#: Encoders write thousands of tiny pieces; below this buffer each one would cost a trip through Python.
BUFFER_BYTES: Final = 1 << 20
#: Pieces between the encoder and the store: enough to overlap both, little enough to count in the memory budget.
QUEUE_PIECES: Final = 8


class HashingSink(io.RawIOBase):
    """A file-like sink that hashes and uploads behind a bounded queue, so that encoding goes on meanwhile.

    Pieces reach the writer in order and in one thread. An error of the writer is raised from the next ``write`` or
    from ``finish``, whichever comes first.
    """

    def __init__(self, writer: ObjectWriter) -> None:
        super().__init__()
        self.size_bytes = 0
        self._writer = writer
        self._digest = Fingerprint()
        self._pieces: queue.Queue[bytes | None] = queue.Queue(QUEUE_PIECES)
        self._error: BaseException | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._drain, name="rivet-upload", daemon=True)
        self._thread.start()

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def write(self, data: Buffer) -> int:
        """Queue ``data``; waits while the queue is full."""
        piece = bytes(data)
        if not self._cancelled:  # pyarrow flushes its buffer once more when it is collected
            self._raise_error()
            self._pieces.put(piece)
        return len(piece)

    def finish(self) -> str:
        """Wait until everything was written and return the content fingerprint. ``size_bytes`` is final then."""
        self._stop()
        self._raise_error()
        return self._digest.value()

    def cancel(self) -> None:
        """Stop the thread; what is queued may or may not have been written. Raises nothing."""
        self._cancelled = True
        self._stop()

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _drain(self) -> None:
        # After an error the queue is still emptied, or the encoder would wait for a place in it for ever.
        while (piece := self._pieces.get()) is not None:
            if self._error is not None or self._cancelled:
                continue
            try:
                self._digest.update(piece)
                self._writer.write(piece)
                self.size_bytes += len(piece)
            except BaseException as error:  # noqa: BLE001  it is raised again, in the thread that writes
                self._error = error


def buffered(sink: io.IOBase | BinaryIO) -> pa.BufferedOutputStream:
    """Put the buffer that encoders write through in front of a sink; ``flush`` empties it."""
    return pa.BufferedOutputStream(pa.PythonFile(cast("io.IOBase", sink), mode="w"), BUFFER_BYTES)
