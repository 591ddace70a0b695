"""The ``memory`` destination: a dictionary that keeps the promises of an object store."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from rivet_core.api import (
    Check,
    Condition,
    Destination,
    DestinationContext,
    IfAbsent,
    IfVersion,
    NotFound,
    ObjectInfo,
    ObjectWriter,
    PreconditionFailed,
)


class MemoryConfig(BaseModel):
    """Objects in the memory of this process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: str = Field(
        min_length=1,
        description="The export's place. May hold the placeholders `{date}`, `{export}`, `{table}` and `{run_id}`.",
    )


_generations = itertools.count(1)
_lock = threading.Lock()


@dataclass(frozen=True)
class Stored:
    """An object. Each one that is made gets a version of its own, so equal versions mean equal content."""

    data: bytes
    version: str = field(default_factory=lambda: str(next(_generations)))
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    def info(self, key: str) -> ObjectInfo:
        """Describe the object as the one at ``key``."""
        return ObjectInfo(key, len(self.data), self.version, modified=self.modified)


#: The store itself: the objects by prefix and key.
PLACES: dict[str, dict[str, Stored]] = {}


def open_memory(config: MemoryConfig, context: DestinationContext) -> MemoryDestination:
    """Bind a destination to ``config.prefix``, whose placeholders were filled in."""
    return MemoryDestination(config.prefix.strip("/"))


class MemoryDestination(Destination):
    """The objects of one prefix; every instance for it shows the same ones, until the process ends."""

    def __init__(self, prefix: str) -> None:
        self.uri = f"memory://{quote(prefix)}/"
        self._objects = PLACES.setdefault(prefix, {})

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        """Compare and replace under one lock, so that of two writers exactly one wins."""
        new = Stored(bytes(data))
        with _lock:
            current = self._objects.get(key)
            if isinstance(condition, IfAbsent) and current is not None:
                raise PreconditionFailed(f"{self.uri}{key} exists already")
            if isinstance(condition, IfVersion) and (current is None or current.version != condition.version):
                raise PreconditionFailed(f"{self.uri}{key} was changed or deleted by another writer")
            self._objects[key] = new
        return new.info(key)

    def open_writer(self, key: str, *, if_absent: bool = True) -> ObjectWriter:
        """Collect the data beside the store; ``commit`` puts it there."""
        return MemoryWriter(self, key, IfAbsent() if if_absent else None)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        """Open the bytes as they are now; a later overwrite does not reach them."""
        data = self._find(key, version).data
        return io.BytesIO(data[offset:] if length is None else data[offset : offset + length])

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object."""
        stored = self._objects.get(key)
        return stored.info(key) if stored else None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects of one moment, sorted by key."""
        with _lock:
            found = sorted(self._objects.items())
        yield from (stored.info(key) for key, stored in found if key.startswith(prefix))

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """Put the same bytes at a second key."""
        return self.put(target, self._find(source.key, source.version).data, condition=IfAbsent())

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Compare and remove under the lock."""
        with _lock:
            stored = self._objects.get(key)
            if stored and version in (None, stored.version):
                del self._objects[key]

    def check(self) -> Iterator[Check]:
        """Say how much is there."""
        sizes = [info.size_bytes for info in self.list()]
        yield Check("memory", "ok", f"{len(sizes)} objects, {sum(sizes)} bytes; they go when this process ends")

    def _find(self, key: str, version: str | None) -> Stored:
        stored = self._objects.get(key)
        if stored is None or version not in (None, stored.version):
            raise NotFound(f"{self.uri}{key} is gone or was changed")
        return stored


class MemoryWriter(ObjectWriter):
    """Nothing is at the key before ``commit``, everything after it."""

    def __init__(self, destination: MemoryDestination, key: str, condition: Condition | None) -> None:
        self._destination, self._key, self._condition = destination, key, condition
        self._buffer = io.BytesIO()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append ``data``."""
        return self._buffer.write(data)

    def commit(self) -> ObjectInfo:
        """Make the object visible in one step; a writer can be committed once."""
        with self._buffer as buffer:
            return self._destination.put(self._key, buffer.getvalue(), condition=self._condition)

    def abort(self) -> None:
        """Forget the data."""
        self._buffer.close()
