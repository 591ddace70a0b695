"""Turns the rows of one chunk into committed parts."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from rivet_core.api.errors import PreconditionFailed, RivetError, SourceError, SourceUnavailable, Transient
from rivet_core.contract import keys
from rivet_core.engine import tries
from rivet_core.engine.counters import Counters
from rivet_core.engine.store import commit_writer
from rivet_core.engine.writing.conveyor import Conveyor
from rivet_core.engine.writing.upload import HashingSink, buffered
from rivet_core.state import PartRow

if TYPE_CHECKING:
    import pyarrow as pa

    from rivet_core.api.destination import Destination
    from rivet_core.api.format import Format
    from rivet_core.api.source import BatchStream, Source
    from rivet_core.engine.gates.quality import Gates
    from rivet_core.engine.selecting.chunks import Chunk
    from rivet_core.engine.writing.memory import MemoryPlan
    from rivet_core.engine.writing.rows import RowSteps

#: Tries at a chunk whose parts the destination does not take.
_ATTEMPTS = 5
_LEAP = 100

logger = logging.getLogger(__name__)


class PartJournal(Protocol):
    """Records parts in the state while they come to be; called by several threads."""

    def reserve(self, key: str, number: int) -> None:
        """A part is about to open."""

    def committed(self, part: PartRow) -> None:
        """A part is committed at the destination."""

    def finished(self, chunk: Chunk, attempt: int) -> None:
        """Every part of an attempt at a chunk is committed."""

    def reading_again(self, chunk: Chunk, error: RivetError) -> None:
        """An attempt failed for this reason, and the chunk is about to be read again."""


class Stopped(Exception):
    """Another worker has failed, or the run was interrupted."""


@dataclass(frozen=True)
class PartTarget:
    """Where parts go and how they are written.

    Attributes:
        rows: what happens to the rows before they are encoded.
        gates: watch the rows that are encoded.
        stop: when it is set, every worker ends at its next batch.
    """

    destination: Destination
    format: Format
    suffix: str
    rows: RowSteps
    gates: Gates
    memory: MemoryPlan
    max_file_size: int | None
    write_empty: bool
    journal: PartJournal
    counters: Counters
    stop: threading.Event = field(default_factory=threading.Event)


class PartNumbers:
    """Hands out part numbers that nobody has used at the destination, to several workers.

    Args:
        first: the lowest number that may be free.
    """

    def __init__(self, target: PartTarget, first: int) -> None:
        self._target = target
        self._next = first
        self._lock = threading.Lock()

    def take(self) -> int:
        """Return the next number."""
        with self._lock:
            while self._target.destination.head(keys.part_name(self._next, self._target.suffix)) is not None:
                self._next += 1
            self._next += 1
            return self._next - 1

    def leap(self) -> None:
        """Leave out some numbers, nobody knows how many: another writer takes the next ones at the same pace."""
        with self._lock:
            self._next += 1 + secrets.randbelow(_LEAP)


def extract_chunk(source: Source, chunk: Chunk, target: PartTarget, numbers: PartNumbers) -> list[PartRow]:
    """Export one chunk: into one part, or several where ``max_file_size`` rolls over.

    A name that another writer takes while the part is written, an upload that is lost as a whole and a source that
    was unavailable for a while cost a fresh read under a higher number: the rows are gone by then, and nothing is ever
    overwritten.

    Returns:
        The committed parts in the order of their rows; none for a chunk without rows.

    Raises:
        Stopped: ``target.stop`` was set.
    """
    for attempt in count(1):
        writer = _ChunkWriter(target, chunk, numbers.take(), attempt)
        try:
            written = _read_chunk(source, chunk, writer)
            target.journal.finished(chunk, attempt)
            target.gates.add(writer.seen)
            return written
        except (PreconditionFailed, Transient, SourceUnavailable) as error:
            writer.forget()
            source_failed = isinstance(error, SourceUnavailable)
            if attempt >= (tries.ATTEMPTS if source_failed else _ATTEMPTS):
                raise
            if isinstance(error, PreconditionFailed) and attempt > 1:
                numbers.leap()
            target.journal.reading_again(chunk, error)
            if source_failed:
                tries.pause(attempt, target.stop)
            if target.stop.is_set():
                raise Stopped from None
    raise AssertionError("unreachable")


def _read_chunk(source: Source, chunk: Chunk, writer: _ChunkWriter) -> list[PartRow]:
    target = writer.target
    with source.read(chunk.query, batch_bytes=target.memory.batch_bytes) as stream:
        if not stream.schema.equals(target.rows.read):
            raise SourceError(
                "the columns of the result changed while the export started",
                hint="somebody alters the table or its data; run the export again",
            )
        try:
            return writer.write(stream)
        finally:
            target.counters.timed(stream.longest_statement_seconds)


def write_empty_part(chunk: Chunk, target: PartTarget, numbers: PartNumbers) -> PartRow:
    """Write a part with the columns and no rows, for a dataset that has none."""
    return _ChunkWriter(target, chunk, numbers.take(), attempt=1).write_empty()


class _ChunkWriter:
    """Writes the rows of one attempt at one chunk, part by part."""

    def __init__(self, target: PartTarget, chunk: Chunk, number: int, attempt: int) -> None:
        self.target = target
        self.chunk = chunk
        self.number = number
        self.attempt = attempt
        self.seen = target.gates.observe()
        self._counted = Counters()

    def write(self, stream: BatchStream) -> list[PartRow]:
        """Write every row; returns the committed parts."""
        written: list[PartRow] = []
        part: _OpenPart | None = None
        try:
            for read in stream:
                if self.target.stop.is_set():
                    raise Stopped
                batch = self.target.rows.apply(read)
                if batch.num_rows == 0:
                    continue
                if part is not None and part.is_full(batch):
                    written.append(part.commit())
                    part = None
                if part is None:
                    part = _OpenPart(self, roll=len(written) + 1)
                part.write(batch)
                self.seen.see(batch)
            if part is not None:
                written.append(part.commit())
                part = None
        finally:
            if part is not None:
                part.abort()
        return written

    def write_empty(self) -> PartRow:
        """Write a part without rows."""
        part = _OpenPart(self, roll=1)
        try:
            return part.commit()
        finally:
            part.abort()

    def count(self, *, rows: int = 0, size_bytes: int = 0, parts: int = 0) -> None:
        """Add to the counters of the run, and remember what was added."""
        self.target.counters.count(rows=rows, size_bytes=size_bytes, parts=parts)
        self._counted.count(rows=rows, size_bytes=size_bytes, parts=parts)

    def forget(self) -> None:
        """Take back what this attempt has counted."""
        counted = self._counted
        self.count(rows=-counted.rows, size_bytes=-counted.bytes_written, parts=-counted.parts)


class _OpenPart:
    """One part while it is written: encoder -> buffer -> hashing sink -> object writer.

    Reading, encoding and uploading are threads of their own. Where a part may roll over, the reader has to know its
    size and encodes itself.
    """

    def __init__(self, writer: _ChunkWriter, *, roll: int) -> None:
        target = writer.target
        self._chunk_writer = writer
        self._target = target
        self._key = keys.part_name(writer.number, target.suffix, roll)
        self._rows = 0
        self._counted_bytes = 0
        self._clean_up: list[Callable[[], object]] = []
        target.journal.reserve(self._key, writer.number)
        try:
            self._writer = target.destination.open_writer(self._key, if_absent=True)
            self._clean_up.append(self._writer.abort)
            self._sink = HashingSink(self._writer)
            self._clean_up.append(self._sink.cancel)
            self._buffer = buffered(self._sink)
            self._encoder = target.format.encoder(
                cast("BinaryIO", self._buffer), target.rows.schema, group_bytes=target.memory.group_bytes
            )
            self._clean_up.append(self._encoder.close)
            self._ahead: Conveyor[pa.RecordBatch] | None = None
            if target.max_file_size is None:
                self._ahead = Conveyor(self._encoder.write, places=target.memory.ahead_batches, name="rivet-encode")
                self._clean_up.append(self._ahead.cancel)
        except BaseException:
            self.abort()
            raise

    def is_full(self, batch: pa.RecordBatch) -> bool:
        limit = self._target.max_file_size
        return limit is not None and self._rows > 0 and self._encoder.size_after(batch) > limit

    def write(self, batch: pa.RecordBatch) -> None:
        if self._ahead is None:
            self._encoder.write(batch)
        else:
            self._ahead.put(batch)
        self._rows += batch.num_rows
        self._count_bytes(self._sink.size_bytes, rows=batch.num_rows)

    def commit(self) -> PartRow:
        if self._ahead is not None:
            self._ahead.finish()
        self._encoder.finish()
        self._buffer.flush()
        digest = self._sink.finish()
        info = commit_writer(
            self._target.destination,
            self._writer,
            self._key,
            size_bytes=self._sink.size_bytes,
            content_fingerprint=digest,
        )
        self._encoder.close()
        part = PartRow(
            key=self._key,
            number=self._chunk_writer.number,
            rows=self._rows,
            size_bytes=info.size_bytes,
            content_fingerprint=digest,
            version=info.version,
            chunk=self._chunk_writer.chunk.number,
            attempt=self._chunk_writer.attempt,
            checksums=dict(info.checksums),
        )
        self._count_bytes(info.size_bytes, parts=1)
        self._target.journal.committed(part)
        return part

    def abort(self) -> None:
        """Stop the thread and discard what was written. The error that led here is the one to report, not one of these.

        Does nothing to an object that is committed.
        """
        while self._clean_up:
            try:
                self._clean_up.pop()()
            except Exception as error:  # noqa: BLE001  an encoder's or a writer's, from a plugin
                logger.warning("%s was not cleaned up after it failed: %s", self._key, error)

    def _count_bytes(self, now: int, *, rows: int = 0, parts: int = 0) -> None:
        self._chunk_writer.count(rows=rows, size_bytes=now - self._counted_bytes, parts=parts)
        self._counted_bytes = now
