"""Lets a run's process die at one of its operations, or miss one answer, without leaving this process.

After its death every call to the destination and to the state fails, abort and delete included, as it does for a
process that was killed: whatever a run would tidy up while it fails is left as it is.
"""

from __future__ import annotations

import io
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar, cast

from sqlalchemy import URL, event

from rivet_core.api import (
    Capabilities,
    Check,
    Condition,
    Destination,
    DestinationError,
    ObjectInfo,
    ObjectWriter,
    PendingUpload,
    Transient,
)
from rivet_core.state.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

Fate = Literal["crash before", "crash after", "lose the answer of", "another run before"]
Result = TypeVar("Result")


class Crash(BaseException):
    """The process is gone. No ``Exception``: nothing that handles errors may handle this."""


@dataclass(frozen=True)
class Disturbance:
    """What happens at one operation of a run.

    Attributes:
        operation: which one, counted from 1 over all operations of the destination and its writers.
        fate: the process dies before it or after it, or the operation is carried out and answered with ``Transient``,
            or something else comes first.
        meanwhile: what comes first.
    """

    operation: int
    fate: Fate
    meanwhile: Callable[[], object] = lambda: None


class Process:
    """One life of a process that runs an export.

    Attributes:
        operations: what it asked of the destination, in order: a name and a key.
        targets: keys that it asked the destination to make visible or to replace.
        disturbed: what the disturbance did, or empty if it has not come yet.
        dead: it has crashed.
    """

    def __init__(self, disturbance: Disturbance | None = None) -> None:
        self.operations: list[str] = []
        self.targets: set[str] = set()
        self.disturbed = ""
        self.dead = False
        self._disturbance = disturbance
        self._left_behind = ExitStack()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise ``Crash`` if the process is dead."""
        if self.dead:
            raise Crash(self.disturbed)

    def operate(self, name: str, key: str, function: Callable[[], Result], *, target: str | None = None) -> Result:
        """Carry out one operation, or let the disturbance have it.

        Args:
            target: the key that the operation makes visible or replaces.
        """
        self.check()
        operation = f"{name} {key}".rstrip()
        with self._lock:
            self.operations.append(operation)
            number = len(self.operations)
        fate = None
        if self._disturbance is not None and self._disturbance.operation == number:
            fate = self._disturbance.fate
            self.disturbed = f"{fate} operation {number}, {operation}"
            self._disturbance.meanwhile()
        if fate == "crash before":
            self._die()
        if target is not None:
            self.targets.add(target)
        result = function()
        if fate == "crash after":
            self._die()
        if fate == "lose the answer of":
            raise Transient(f"the answer of {operation} was lost")
        return result

    def leave_behind(self, clean_up: Callable[[], object]) -> None:
        """Remember what the process may hold open at its death."""
        self._left_behind.callback(clean_up)

    def bury(self) -> None:
        """Release what the process held open; nobody looks at the store any more."""
        self._left_behind.close()

    def _die(self) -> None:
        self.dead = True
        self.check()


class MortalDestination(Destination):
    """A destination as one process sees it. Keys were checked by the engine, which wraps this one again."""

    def __init__(self, inner: Destination, process: Process) -> None:
        self._inner = inner
        self._process = process
        self._closed = False
        self.uri = inner.uri
        self.buffer_bytes = inner.buffer_bytes
        process.leave_behind(self._close)

    def capabilities(self, claimed: Capabilities) -> Capabilities:
        """See ``Destination.capabilities``."""
        return self._process.operate("capabilities", "", lambda: self._inner.capabilities(claimed))

    def warnings(self) -> Iterable[str]:
        """See ``Destination.warnings``."""
        self._process.check()
        return self._inner.warnings()

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        """See ``Destination.put``."""
        return self._process.operate("put", key, lambda: self._inner.put(key, data, condition=condition), target=key)

    def open_writer(self, key: str, *, if_absent: bool = True) -> ObjectWriter:
        """See ``Destination.open_writer``."""

        def open_writer() -> ObjectWriter:
            writer = self._inner.open_writer(key, if_absent=if_absent)
            self._process.leave_behind(lambda: _discard(writer))
            return MortalWriter(writer, key, self._process)

        return self._process.operate("open_writer", key, open_writer)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        """See ``Destination.open_reader``."""

        def open_reader() -> BinaryIO:
            reader = self._inner.open_reader(key, offset=offset, length=length, version=version)
            self._process.leave_behind(reader.close)
            return cast("BinaryIO", MortalReader(reader, self._process))

        return self._process.operate("open_reader", key, open_reader)

    def head(self, key: str) -> ObjectInfo | None:
        """See ``Destination.head``."""
        return self._process.operate("head", key, lambda: self._inner.head(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ``Destination.list``; the whole listing is one operation."""
        return iter(self._process.operate("list", prefix, lambda: [*self._inner.list(prefix)]))

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """See ``Destination.copy``."""
        return self._process.operate("copy", source.key, lambda: self._inner.copy(source, target), target=target)

    def move(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """See ``Destination.move``; one that is not the plugin's own is a copy and a deletion, and dies in between."""
        if type(self._inner).move is Destination.move:
            return super().move(source, target)
        return self._process.operate("move", source.key, lambda: self._inner.move(source, target), target=target)

    def delete(self, key: str, *, version: str | None = None) -> None:
        """See ``Destination.delete``."""
        self._process.operate("delete", key, lambda: self._inner.delete(key, version=version))

    def pending_uploads(self) -> Iterator[PendingUpload]:
        """See ``Destination.pending_uploads``."""
        return iter(self._process.operate("pending_uploads", "", lambda: [*self._inner.pending_uploads()]))

    def abort_upload(self, upload: PendingUpload) -> None:
        """See ``Destination.abort_upload``."""
        self._process.operate("abort_upload", upload.key, lambda: self._inner.abort_upload(upload))

    def check(self) -> Iterator[Check]:
        """See ``Destination.check``."""
        self._process.check()
        return self._inner.check()

    def close(self) -> None:
        """See ``Destination.close``."""
        self._process.check()
        self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._inner.close()


class MortalWriter(ObjectWriter):
    """A writer that dies with its process."""

    def __init__(self, inner: ObjectWriter, key: str, process: Process) -> None:
        self._inner = inner
        self._key = key
        self._process = process

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """See ``ObjectWriter.write``."""
        return self._process.operate("write", self._key, lambda: self._inner.write(data))

    def commit(self) -> ObjectInfo:
        """See ``ObjectWriter.commit``."""
        return self._process.operate("commit", self._key, self._inner.commit, target=self._key)

    def abort(self) -> None:
        """See ``ObjectWriter.abort``."""
        self._process.operate("abort", self._key, self._inner.abort)


class MortalReader(io.RawIOBase):
    """A reader that dies with its process."""

    def __init__(self, inner: BinaryIO, process: Process) -> None:
        self._inner = inner
        self._process = process

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed: Buffer
        """Fill ``buffer`` from the current position and return the number of bytes."""
        self._process.check()
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the reader."""
        self._inner.close()
        super().close()


class MortalDatabase(Database):
    """A state database for one process after the other: the state outlives them, and refuses the one that is dead.

    It does not flush: the processes die, this one does not.

    Attributes:
        process: who uses it now; ``None`` for the test itself.
    """

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self.process: Process | None = None
        event.listen(self._engine, "connect", _do_not_flush)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See ``Database.read``."""
        self._check()
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See ``Database.write``."""
        self._check()
        with super().write() as connection:
            yield connection

    def _check(self) -> None:
        if self.process is not None:
            self.process.check()


def _do_not_flush(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def _discard(writer: ObjectWriter) -> None:
    with suppress(DestinationError):
        writer.abort()
