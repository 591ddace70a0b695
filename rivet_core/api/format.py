"""What the author of a file format implements: an encoder for one part and a decoder that reads it back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa


class Encoder(ABC):
    """Writes the record batches of one part to a sink, used from one thread.

    The encoder may hold batches back (a row group in Arrow) but never the whole part, and writes nothing that a
    reader would take for a complete file before ``finish``. Where a format has no end mark, as CSV, every prefix that
    ends with a row looks complete: there only the destination's commit and the size in the manifest tell.
    """

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch of the schema that the encoder was opened with.

        Raises:
            FormatError: the format cannot hold a value.
        """

    @abstractmethod
    def size_after(self, batch: pa.RecordBatch) -> int:
        """Return the part's size in bytes if ``batch`` were written and the part finished.

        Exact, or an upper bound as tight as the format knows; the core rolls over to a new part by it.
        """

    @abstractmethod
    def finish(self) -> None:
        """Write what is held back and the footer. The sink stays open; it is the caller's."""

    def close(self) -> None:
        """Release resources without finishing; called also after ``finish``."""


class Decoder(ABC):
    """Reads one part back: schema, row count and batches. A context manager."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """The Arrow schema of the part."""

    @abstractmethod
    def row_count(self) -> int:
        """The number of rows, counted or read from the file's own metadata."""

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield every row, in the order in which it was written, bounded in memory."""

    def close(self) -> None:
        """Release resources; the underlying file is the caller's."""

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Format(ABC):
    """A configured file format; immutable, so one instance serves every part and thread."""

    #: What the manifest records as ``compression``: a codec, or ``none``.
    compression: str = "none"
    #: Whether a part holds its own schema; if not, readers take it from the manifest.
    self_describing: bool = True

    @abstractmethod
    def encoder(self, sink: BinaryIO, schema: pa.Schema, *, group_bytes: int) -> Encoder:
        """Open an encoder for one part.

        Args:
            sink: receives the bytes, in order; has ``write`` only.
            schema: the schema of every batch.
            group_bytes: at most so many bytes of Arrow data may be held back (a row group's bound).

        Raises:
            FormatError: a column's type has no lossless form in this format; names all such columns.
        """

    @abstractmethod
    def decoder(self, source: BinaryIO, schema: pa.Schema | None = None) -> Decoder:
        """Open a decoder over a seekable file.

        Args:
            schema: what the manifest says. Without it, a format that is not ``self_describing`` reads values as text.

        Raises:
            FormatError: the bytes are no part of this format.
        """
