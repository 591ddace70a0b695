"""Entry module of a plugin of destinations broken on purpose, each in one way, and the sound one below them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from typing import ClassVar
from urllib.parse import unquote

from pydantic import SecretStr

from rivet_core.api import (
    Capabilities,
    Condition,
    DestinationContext,
    DestinationSpec,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    ObjectWriter,
    PermissionDenied,
    PreconditionFailed,
    Transient,
)
from rivet_core.hookspecs import hookimpl
from rivet_core.testing import Fault
from rivet_memory.store import PLACES, MemoryConfig, MemoryDestination, MemoryWriter, Stored

PAGE = 1000
PIECE_BYTES = 8_000_000


class Server:
    """What is between the plugin and its objects: it can be made to fail, and it wants a token."""

    fault: ClassVar[Fault | None] = None

    @classmethod
    @contextmanager
    def failing(cls, fault: Fault) -> Iterator[None]:
        """Behave badly for a while."""
        cls.fault = fault
        try:
            yield
        finally:
            cls.fault = None

    @classmethod
    def receive(cls, request: str) -> None:
        """Take a request, or refuse it."""
        if cls.fault == "unavailable":
            raise Transient(f"{request}: the server does not answer")
        if cls.fault == "denied":
            raise PermissionDenied(f"{request}: forbidden", hint="ask for the access")

    @classmethod
    def answer(cls, request: str) -> None:
        """Answer a write that was carried out, unless this answer is to be lost."""
        if cls.fault == "lose_answer":
            cls.fault = None
            raise Transient(f"{request}: the connection broke before the answer came")


class ServedConfig(MemoryConfig):
    """Objects in memory, behind a server."""

    token: SecretStr


class Served(MemoryDestination):
    """The sound one: the example's destination, behind a server."""

    claims: ClassVar = Capabilities(
        conditional_put=True, conditional_writer=True, pending="self_expiring", rehash_on_validate=True
    )

    def __init__(self, config: ServedConfig, context: DestinationContext) -> None:
        self._prefix = config.prefix
        self._token = config.token
        super().__init__(config, context)

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        Server.receive(f"put {key}")
        info = super().put(key, data, condition=condition)
        Server.answer(f"put {key}")
        return info

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BytesIO:
        Server.receive(f"read {key}")
        return super().open_reader(key, offset=offset, length=length, version=version)

    def head(self, key: str) -> ObjectInfo | None:
        Server.receive(f"head {key}")
        return super().head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        Server.receive(f"list {prefix}")
        return super().list(prefix)

    def delete(self, key: str, *, version: str | None = None) -> None:
        Server.receive(f"delete {key}")
        super().delete(key, version=version)
        Server.answer(f"delete {key}")


class VisibleBeforeCommit(Served):
    """An unfinished write can be read."""

    def open_writer(self, key: str, *, if_absent: bool = True) -> ObjectWriter:
        return _VisibleWriter(self, key, IfAbsent() if if_absent else None)


class _VisibleWriter(MemoryWriter):
    shown: Stored | None = None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        size = super().write(data)
        objects = self._destination._objects
        if objects.get(self._key) is self.shown:
            objects[self._key] = self.shown = Stored(self._buffer.getvalue())
        return size

    def commit(self) -> ObjectInfo:
        self._hide()
        return super().commit()

    def abort(self) -> None:
        self._hide()
        super().abort()

    def _hide(self) -> None:
        if self.shown is not None and self._destination._objects.get(self._key) is self.shown:
            del self._destination._objects[self._key]
        self.shown = None


class CommitsOnAbort(Served):
    """What was to be discarded appears."""

    def open_writer(self, key: str, *, if_absent: bool = True) -> ObjectWriter:
        return _CommittingWriter(self, key, IfAbsent() if if_absent else None)


class _CommittingWriter(MemoryWriter):
    def abort(self) -> None:
        if not self._buffer.closed:
            with suppress(PreconditionFailed):
                self.commit()


class LosesTheTail(Served):
    """Of an object that is sent in pieces the last one does not arrive."""

    def open_writer(self, key: str, *, if_absent: bool = True) -> ObjectWriter:
        return _TailLosingWriter(self, key, IfAbsent() if if_absent else None)


class _TailLosingWriter(MemoryWriter):
    def commit(self) -> ObjectInfo:
        size = self._buffer.tell()
        if size > PIECE_BYTES:
            self._buffer.truncate((size - 1) // PIECE_BYTES * PIECE_BYTES)
        return replace(super().commit(), size_bytes=size)


class ListMissesPageTwo(Served):
    """A listing ends where the server's first page does."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for _, info in zip(range(PAGE), super().list(prefix), strict=False):
            yield info


class ListLeaksSiblings(Served):
    """The listing of ``orders`` asks for what begins with ``orders`` and not with ``orders/``."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from super().list(prefix)
        for place, objects in list(PLACES.items()):
            if place.startswith(self._prefix) and place != self._prefix:
                for key, stored in sorted(objects.items()):
                    leaked = f"{place}/{key}"[len(self._prefix) + 1 :]
                    if leaked.startswith(prefix):
                        yield stored.info(leaked)


class OverwritesDespiteCondition(Served):
    """Conditions are sent to nobody."""

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        return super().put(key, data)


class LooksThenWrites(Served):
    """A condition is checked, and then the write is made without it: two writers can both win."""

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        current = self.head(key)
        if isinstance(condition, IfAbsent) and current is not None:
            raise PreconditionFailed(f"{key} exists already")
        if isinstance(condition, IfVersion) and (current is None or current.version != condition.version):
            raise PreconditionFailed(f"{key} was changed")
        time.sleep(0.002)  # the way to the server and back
        return super().put(key, data)


class IgnoresUndeclaredCondition(Served):
    """A store that cannot compare versions takes ``IfVersion`` all the same, and does nothing about it."""

    claims: ClassVar = replace(Served.claims, conditional_put=False)

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        return super().put(key, data, condition=None if isinstance(condition, IfVersion) else condition)


class StaleRead(Served):
    """An object that was read once is read from a cache ever after."""

    def __init__(self, config: ServedConfig, context: DestinationContext) -> None:
        super().__init__(config, context)
        self._cache: dict[str, bytes] = {}

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BytesIO:
        with super().open_reader(key, version=version) as reader:
            data = self._cache.setdefault(key, reader.read())
        return BytesIO(data[offset:] if length is None else data[offset : offset + length])


class MoveDeletesFirst(Served):
    """A move removes the source and then tries to write the target."""

    def move(self, source: ObjectInfo, target: str) -> ObjectInfo:
        with self.open_reader(source.key, version=source.version) as reader:
            data = reader.read()
        self.delete(source.key, version=source.version)
        return self.put(target, data, condition=IfAbsent())


class MoveDeletesInBetween(Served):
    """A move looks whether its target is free, and still removes the source before it writes the target."""

    def move(self, source: ObjectInfo, target: str) -> ObjectInfo:
        with self.open_reader(source.key, version=source.version) as reader:
            data = reader.read()
        if self.head(target):
            raise PreconditionFailed(f"{target} exists already")
        self.delete(source.key, version=source.version)
        return self.put(target, data, condition=IfAbsent())


class HeadRoundsUp(Served):
    """The size is that of the disk blocks in use."""

    def head(self, key: str) -> ObjectInfo | None:
        info = super().head(key)
        return replace(info, size_bytes=-(-info.size_bytes // 512) * 512) if info else None


class SwallowsDenial(Served):
    """What may not be looked at is reported as absent."""

    def head(self, key: str) -> ObjectInfo | None:
        with suppress(PermissionDenied):
            return super().head(key)
        return None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with suppress(PermissionDenied):
            yield from super().list(prefix)


class LeaksSecret(Served):
    """A refusal quotes the request with its token."""

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        try:
            return super().put(key, data, condition=condition)
        except (PermissionDenied, Transient) as error:
            raise type(error)(f"{error.message} (authorization: {self._token.get_secret_value()})") from error


class ShowsSecret(Served):
    """A ``repr`` for debugging shows everything."""

    def __repr__(self) -> str:
        return f"ShowsSecret(uri={self.uri!r}, token={self._token.get_secret_value()!r})"


class IgnoresOffset(Served):
    """A part of an object is read from its beginning."""

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BytesIO:
        return super().open_reader(key, length=length, version=version)


class DeletesAnyVersion(Served):
    """A delete does not look which version it removes."""

    def delete(self, key: str, *, version: str | None = None) -> None:
        super().delete(key)


class CopyOverwrites(Served):
    """A copy replaces what is at its target."""

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        with self.open_reader(source.key, version=source.version) as reader:
            return self.put(target, reader.read())


class CopyTakesWhatIsThere(Served):
    """A copy is not pinned to the version that was looked at."""

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        with self.open_reader(source.key) as reader:
            return self.put(target, reader.read(), condition=IfAbsent())


class DecodesKeys(Served):
    """Keys arrive at the store percent-decoded: ``a%2Fb`` and ``a/b`` are one object."""

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        return replace(super().put(unquote(key), data, condition=condition), key=key)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BytesIO:
        return super().open_reader(unquote(key), offset=offset, length=length, version=version)

    def head(self, key: str) -> ObjectInfo | None:
        info = super().head(unquote(key))
        return replace(info, key=key) if info else None

    def delete(self, key: str, *, version: str | None = None) -> None:
        super().delete(unquote(key), version=version)


class SkipsEmptyObjects(Served):
    """A writer to which nothing was written has nothing to send."""

    def open_writer(self, key: str, *, if_absent: bool = True) -> ObjectWriter:
        return _SkippingWriter(self, key, IfAbsent() if if_absent else None)


class _SkippingWriter(MemoryWriter):
    def commit(self) -> ObjectInfo:
        if self._buffer.tell():
            return super().commit()
        self.abort()
        return Stored(b"").info(self._key)


class RaisesKeyError(Served):
    """The store's own exception comes through."""

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BytesIO:
        Server.receive(f"read {key}")
        self._objects[key]
        return super().open_reader(key, offset=offset, length=length, version=version)


class MoveKeepsSource(Served):
    """A move is a copy."""

    def move(self, source: ObjectInfo, target: str) -> ObjectInfo:
        return self.copy(source, target)


class DeleteTakesDirectory(Served):
    """With an object goes what is named as if it were below it."""

    def delete(self, key: str, *, version: str | None = None) -> None:
        super().delete(key, version=version)
        for below in [name for name in list(self._objects) if name.startswith(f"{key}/")]:
            super().delete(below)


class CachesListing(Served):
    """An instance that has listed once goes by what it has written and deleted itself since then."""

    def __init__(self, config: ServedConfig, context: DestinationContext) -> None:
        super().__init__(config, context)
        self._listed: list[ObjectInfo] | None = None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if self._listed is None:
            self._listed = list(super().list())
        return iter([info for info in self._listed if info.key.startswith(prefix)])

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        self._listed = None
        return super().put(key, data, condition=condition)

    def delete(self, key: str, *, version: str | None = None) -> None:
        self._listed = None
        super().delete(key, version=version)


class RetriesBlindly(Served):
    """A write whose answer was lost is sent again, and its own first copy is taken for another writer's object."""

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        try:
            return super().put(key, data, condition=condition)
        except Transient:
            return super().put(key, data, condition=condition)


class VersionsRepeat(Served):
    """The version is the size: it stays the same under another content."""

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        info = super().put(key, data, condition=condition)
        with suppress(KeyError):
            self._objects[key] = replace(self._objects[key], version=str(info.size_bytes))
        return replace(info, version=str(info.size_bytes))


class VersionsStartAnew(Served):
    """Versions are counted in the instance, and the next instance counts from 1 again."""

    def __init__(self, config: ServedConfig, context: DestinationContext) -> None:
        super().__init__(config, context)
        self._writes: Counter[str] = Counter()

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        info = super().put(key, data, condition=condition)
        self._writes[key] += 1
        version = f"v{self._writes[key]}"
        self._objects[key] = replace(self._objects[key], version=version)
        return replace(info, version=version)


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register the sound destination and each broken one under the name of its class."""
    return [
        DestinationSpec(
            type=cls.__name__,
            kind="store",
            summary=(cls.__doc__ or "").partition("\n")[0],
            config=f"{__name__}:ServedConfig",
            factory=f"{__name__}:{cls.__name__}",
            capabilities=cls.claims,
        )
        for cls in [Served, *Served.__subclasses__()]
    ]
