"""The ``memory`` destination: a dictionary that keeps the promises of an object store."""

import io
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic import BaseModel, Field

from rivet_core import api

_lock = threading.Lock()


class MemoryConfig(BaseModel, extra="forbid", frozen=True):
    """Objects in the memory of this process."""

    prefix: str = Field(min_length=1, description="The export's place. May hold placeholders such as `{export}`.")


@dataclass(frozen=True)
class Stored:
    """An object. Each one that is made gets a version of its own, so equal versions mean equal content."""

    data: bytes
    version: str = field(default_factory=lambda: uuid.uuid4().hex)

    def info(self, key: str) -> api.ObjectInfo:
        """Describe the object as the one at ``key``."""
        return api.ObjectInfo(key, len(self.data), self.version)


#: The store itself: the objects by prefix and key.
PLACES: dict[str, dict[str, Stored]] = {}


class MemoryDestination(api.Destination):
    """The objects of one prefix; every instance for it shows the same ones, until the process ends."""

    def __init__(self, config: MemoryConfig, context: api.DestinationContext) -> None:
        self.uri = f"memory://{quote(config.prefix.strip('/'))}/"
        self._objects = PLACES.setdefault(config.prefix.strip("/"), {})

    def put(self, key: str, data: bytes, *, condition: api.Condition | None = None) -> api.ObjectInfo:
        """Compare and replace under one lock, so that of two writers exactly one wins."""
        with _lock:
            version = self._objects[key].version if key in self._objects else None
            expected = condition.version if isinstance(condition, api.IfVersion) else None
            if condition and version != expected:
                raise api.PreconditionFailed(f"{self.uri}{key} was written, changed or deleted by another writer")
            new = self._objects[key] = Stored(bytes(data))
        return new.info(key)

    def open_writer(self, key: str, *, if_absent: bool = True) -> api.ObjectWriter:
        """Collect the data beside the store; ``commit`` puts it there."""
        return MemoryWriter(self, key, api.IfAbsent() if if_absent else None)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> io.BytesIO:
        """Open the bytes as they are now; a later overwrite does not reach them."""
        stored = self._objects.get(key)
        if stored is None or version not in (None, stored.version):
            raise api.NotFound(f"{self.uri}{key} is gone or was changed")
        return io.BytesIO(stored.data[offset:] if length is None else stored.data[offset : offset + length])

    def head(self, key: str) -> api.ObjectInfo | None:
        """Describe an object."""
        stored = self._objects.get(key)
        return stored.info(key) if stored else None

    def list(self, prefix: str = "") -> Iterator[api.ObjectInfo]:
        """Yield the objects of one moment, sorted by key."""
        with _lock:
            found = sorted(self._objects.items())
        yield from (stored.info(key) for key, stored in found if key.startswith(prefix))

    def copy(self, source: api.ObjectInfo, target: str) -> api.ObjectInfo:
        """Put the same bytes at a second key."""
        with self.open_reader(source.key, version=source.version) as data:
            return self.put(target, data.read(), condition=api.IfAbsent())

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Compare and remove under the lock."""
        with _lock:
            if key in self._objects and version in (None, self._objects[key].version):
                del self._objects[key]

    def check(self) -> Iterator[api.Check]:
        """Say how much is there."""
        yield api.Check("memory", "ok", f"{len(self._objects)} objects; they go when this process ends")


class MemoryWriter(api.ObjectWriter):
    """Nothing is at the key before ``commit``, everything after it."""

    def __init__(self, destination: MemoryDestination, key: str, condition: api.Condition | None) -> None:
        self._destination, self._key, self._condition = destination, key, condition
        self._buffer = io.BytesIO()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append ``data``."""
        return self._buffer.write(data)

    def commit(self) -> api.ObjectInfo:
        """Make the object visible in one step; a writer can be committed once."""
        with self._buffer as buffer:
            return self._destination.put(self._key, buffer.getvalue(), condition=self._condition)

    def abort(self) -> None:
        """Forget the data."""
        self._buffer.close()
