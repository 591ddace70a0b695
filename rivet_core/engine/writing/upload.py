"""Streams one part to a store: encoded bytes are hashed and written by a thread of their own."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from rivet_core.contract.fingerprint import Fingerprint
from rivet_core.engine.writing.conveyor import Conveyor

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from rivet_core.api.destination import ObjectWriter

#: Encoders write thousands of tiny pieces; below this buffer each one would cost a trip through Python.
BUFFER_BYTES: Final = 1 << 20
#: Pieces between the encoder and the store: enough to overlap both, little enough to count in the memory budget.
QUEUE_PIECES: Final = 8


class Sink(io.RawIOBase):
    """Where an encoder's bytes go: ``accept`` takes each piece until the sink is shut.

    pyarrow flushes its buffer once more when it is collected, also after a failure; a shut sink takes that silently.
    """

    def __init__(self, accept: Callable[[bytes], object]) -> None:
        super().__init__()
        self._accept = accept
        self._shut = False

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def write(self, data: Buffer) -> int:
        """Pass ``data`` on, copied: the caller uses its buffer again."""
        piece = bytes(data)
        if not self._shut:
            self._accept(piece)
        return len(piece)

    def shut(self) -> None:
        """Take no more pieces."""
        self._shut = True


class HashingSink(Sink):
    """A sink that hashes and uploads behind a bounded queue, so that encoding goes on meanwhile.

    Pieces reach the writer in order and in one thread. An error of the writer is raised from the next ``write`` or
    from ``finish``, whichever comes first.
    """

    def __init__(self, writer: ObjectWriter) -> None:
        self._conveyor: Conveyor[bytes] = Conveyor(self._store, places=QUEUE_PIECES, name="rivet-upload")
        super().__init__(self._conveyor.put)
        self.size_bytes = 0
        self._writer = writer
        self._digest = Fingerprint()

    def finish(self) -> str:
        """Wait until everything was written and return the content fingerprint. ``size_bytes`` is final then."""
        self._conveyor.finish()
        return self._digest.value()

    def cancel(self) -> None:
        """Stop the thread; what is queued may or may not have been written. Raises nothing."""
        self.shut()
        self._conveyor.cancel()

    def _store(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._writer.write(piece)
        self.size_bytes += len(piece)


def buffered(sink: Sink) -> pa.BufferedOutputStream:
    """Put the buffer that encoders write through in front of a sink; ``flush`` empties it."""
    return pa.BufferedOutputStream(pa.PythonFile(sink, mode="w"), BUFFER_BYTES)
