"""Turns a stream of record batches into committed parts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import pyarrow as pa

from rivet_core.api.errors import DestinationError, PreconditionFailed, SourceError, Transient
from rivet_core.contract import keys
from rivet_core.engine.store import commit_writer
from rivet_core.engine.upload import BUFFER_BYTES, QUEUE_PIECES, HashingSink, buffered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rivet_core.api.destination import Destination
    from rivet_core.api.format import Format
    from rivet_core.api.source import BatchStream, Query, Source

# What a process needs before the first row: interpreter, pyarrow, SQLAlchemy, pydantic (measured 85 to 115 MB).
_BASE_BYTES = 110_000_000
_MAX_GROUP_BYTES = 64_000_000
_MIN_GROUP_BYTES = 1_000_000
# Rows as Python objects are about ten times their Arrow size, so few of them are held at a time.
_MAX_BATCH_BYTES = 4_000_000
# Two pieces of the smallest size that every object store takes: one in flight, one being filled.
_MIN_UPLOAD_BYTES = 2 * 5 * (1 << 20)
_MIN_ROLLING_GROUP_BYTES = 64_000
_ATTEMPTS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemoryPlan:
    """How the memory budget is divided.

    Attributes:
        batch_bytes: bound of one record batch in Arrow bytes.
        group_bytes: bound of what an encoder holds back (a row group) in Arrow bytes.
    """

    batch_bytes: int
    group_bytes: int

    @staticmethod
    def upload_bytes(budget: int) -> int:
        """Return what a destination's writer may hold in memory, in bytes."""
        return max(_MIN_UPLOAD_BYTES, (budget - _BASE_BYTES) // 4)

    @classmethod
    def divide(cls, budget: int, max_file_size: int | None, *, writer_bytes: int = 0) -> MemoryPlan:
        """Divide ``budget`` bytes: two row groups, the pieces in flight and a batch as Python objects.

        Args:
            writer_bytes: what the destination's writer holds (``Destination.buffer_bytes``).
        """
        free = budget - _BASE_BYTES - QUEUE_PIECES * BUFFER_BYTES - 10 * _MAX_BATCH_BYTES - writer_bytes
        group = max(_MIN_GROUP_BYTES, min(_MAX_GROUP_BYTES, free // 2))
        if max_file_size is not None:
            # An encoder bounds what it holds back as if nothing could be compressed: the less, the fuller the parts.
            group = max(_MIN_ROLLING_GROUP_BYTES, min(group, max_file_size // 8))
        return cls(min(_MAX_BATCH_BYTES, group), group)


@dataclass(frozen=True)
class WrittenPart:
    """A part that is committed at the destination by the ``attempt``-th read of its chunk."""

    key: str
    number: int
    rows: int
    size_bytes: int
    content_fingerprint: str
    version: str
    attempt: int = 1
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Counters:
    """What progress shows; written by the run's thread, read by the display's."""

    rows: int = 0
    bytes_written: int = 0
    parts: int = 0
    approximate_rows: int | None = None
    phase: str = "starting"


class PartJournal(Protocol):
    """Records parts in the state while they come to be."""

    def reserve(self, key: str, number: int) -> None:
        """A part is about to open."""

    def committed(self, part: WrittenPart) -> None:
        """A part is committed at the destination."""

    def reading_again(self, error: DestinationError) -> None:
        """The attempt failed for this reason, and the chunk is about to be read again."""


@dataclass(frozen=True)
class PartTarget:
    """Where parts go and how they are written."""

    destination: Destination
    format: Format
    suffix: str
    schema: pa.Schema
    memory: MemoryPlan
    max_file_size: int | None
    write_empty: bool
    journal: PartJournal
    counters: Counters


def extract(source: Source, query: Query, target: PartTarget, *, first_number: int) -> list[WrittenPart]:
    """Export one query as one chunk: one part, or several where ``max_file_size`` rolls over.

    A name that another writer takes while the part is written, and an upload that is lost as a whole, cost a fresh
    read under a higher number: the rows are gone by then, and nothing is ever overwritten.

    Args:
        first_number: the lowest part number that may be free.

    Returns:
        The committed parts in the order of their rows; empty for an empty result without ``write_empty``.
    """
    number = first_number
    for attempt in count(1):
        number = _free_number(target, number)
        _reset(target.counters)
        try:
            with source.read(query, batch_bytes=target.memory.batch_bytes) as stream:
                if not stream.schema.equals(target.schema):
                    raise SourceError(
                        "the columns of the result changed while the export started",
                        hint="somebody alters the table or its data; run the export again",
                    )
                return _write_chunk(stream, target, number, attempt)
        except (PreconditionFailed, Transient) as error:
            if attempt == _ATTEMPTS:
                raise
            target.journal.reading_again(error)
            number += 1
    raise AssertionError("unreachable")


def _reset(counters: Counters) -> None:
    counters.rows = counters.bytes_written = counters.parts = 0
    counters.phase = "exporting"


def _free_number(target: PartTarget, number: int) -> int:
    while target.destination.head(keys.part_name(number, target.suffix)) is not None:
        number += 1
    return number


def _write_chunk(stream: BatchStream, target: PartTarget, number: int, attempt: int) -> list[WrittenPart]:
    written: list[WrittenPart] = []
    part: _OpenPart | None = None
    try:
        for batch in stream:
            if batch.num_rows == 0:
                continue
            if part is not None and part.is_full(batch):
                written.append(part.commit())
                part = None
            if part is None:
                part = _OpenPart(target, number, roll=len(written) + 1, attempt=attempt)
            part.write(batch)
        if part is None and not written and target.write_empty:
            part = _OpenPart(target, number, roll=1, attempt=attempt)
        if part is not None:
            written.append(part.commit())
            part = None
    finally:
        if part is not None:
            part.abort()
    return written


class _OpenPart:
    """One part while it is written: encoder -> buffer -> hashing sink -> object writer."""

    def __init__(self, target: PartTarget, number: int, *, roll: int, attempt: int) -> None:
        self._target = target
        self._number = number
        self._attempt = attempt
        self._key = keys.part_name(number, target.suffix, roll)
        self._rows = 0
        self._bytes_before = target.counters.bytes_written
        self._clean_up: list[Callable[[], object]] = []
        target.journal.reserve(self._key, number)
        try:
            self._writer = target.destination.open_writer(self._key, if_absent=True)
            self._clean_up.append(self._writer.abort)
            self._sink = HashingSink(self._writer)
            self._clean_up.append(self._sink.cancel)
            self._buffer = buffered(self._sink)
            self._encoder = target.format.encoder(
                cast("BinaryIO", self._buffer), target.schema, group_bytes=target.memory.group_bytes
            )
            self._clean_up.append(self._encoder.close)
        except BaseException:
            self.abort()
            raise

    def is_full(self, batch: pa.RecordBatch) -> bool:
        limit = self._target.max_file_size
        return limit is not None and self._rows > 0 and self._encoder.size_after(batch) > limit

    def write(self, batch: pa.RecordBatch) -> None:
        self._encoder.write(batch)
        self._rows += batch.num_rows
        self._target.counters.rows += batch.num_rows
        self._target.counters.bytes_written = self._bytes_before + self._sink.size_bytes

    def commit(self) -> WrittenPart:
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
        part = WrittenPart(
            key=self._key,
            number=self._number,
            rows=self._rows,
            size_bytes=info.size_bytes,
            content_fingerprint=digest,
            version=info.version,
            attempt=self._attempt,
            checksums=dict(info.checksums),
        )
        self._target.counters.parts += 1
        self._target.counters.bytes_written = self._bytes_before + info.size_bytes
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
