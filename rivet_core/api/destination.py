"""What the author of a destination implements: a store of objects under one prefix, or a byte stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Literal

from rivet_core.api.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rivet_core.api.auth import NativeAuth, Provider

CheckStatus = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True)
class ObjectInfo:
    """One object, as the store describes it. Two are equal if key, size and version are.

    Attributes:
        key: relative POSIX path under the prefix.
        size_bytes: size of the content.
        version: the store's own token (ETag, generation; locally inode, mtime and size). Equal tokens prove equal
            content; different ones prove nothing.
        checksums: lower-case hex digests that the store knows, by algorithm name (``crc32c``, ``md5``); a listing may
            lack them.
        modified: time of the last change, timezone-aware, if known; the answer to a write may lack it.
    """

    key: str
    size_bytes: int
    version: str
    checksums: Mapping[str, str] = field(default_factory=dict, compare=False)
    modified: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class IfAbsent:
    """Write only if there is no object at the key."""


@dataclass(frozen=True)
class IfVersion:
    """Write only if the object at the key still has this version."""

    version: str


Condition = IfAbsent | IfVersion


@dataclass(frozen=True)
class PendingUpload:
    """An upload that was begun and neither committed nor aborted."""

    key: str
    upload_id: str
    started: datetime | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class Check:
    """One line of ``rivet doctor``: what was checked, how it went, and what to do if it failed."""

    name: str
    status: CheckStatus
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Capabilities:
    """Guarantees of a destination, as far as its server can give them (``Destination.capabilities``).

    The conformance kit proves each one, and the refusal of each that is missing.

    Attributes:
        conditional_put: ``put`` honours ``IfAbsent`` and ``IfVersion`` atomically.
        conditional_writer: ``open_writer(if_absent=True)`` is atomic at ``commit``.
        checksum: algorithm that the store keeps for every object and whether it verifies it on upload.
        pending: whether interrupted uploads can be listed or expire by themselves.
        max_object_bytes: the largest object that the store takes, if there is a limit.
        rehash_on_validate: content is re-read to be proven at ``validate``'s default depth, because the store keeps
            no checksum and reading is cheap.
    """

    conditional_put: bool = False
    conditional_writer: bool = False
    checksum: tuple[str, Literal["verified", "declared"]] | None = None
    pending: Literal["listed", "self_expiring"] = "listed"
    max_object_bytes: int | None = None
    rehash_on_validate: bool = False


@dataclass(frozen=True)
class DestinationContext:
    """What the core hands to a destination's factory beside its configuration.

    Attributes:
        base_dir: directory of the configuration file; relative paths in the configuration start there.
        auth: the credential provider that the configuration selected, or ``None`` for a destination without any.
        upload_bytes: share of the memory budget, in bytes, that one open writer may take for pieces in flight.
    """

    base_dir: Path
    auth: Provider | NativeAuth | None = None
    upload_bytes: int = 48_000_000


class ObjectWriter(ABC):
    """A streaming write of one object, size unknown, used from one thread. Leaving it without ``commit`` aborts it."""

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append ``data`` and return its length in bytes."""

    @abstractmethod
    def commit(self) -> ObjectInfo:
        """Make the object visible: before it nothing is visible at the key, after it everything.

        Raises:
            PreconditionFailed: opened with ``if_absent`` and the key is taken; the upload is aborted.
        """

    @abstractmethod
    def abort(self) -> None:
        """Discard what was written. Does nothing after ``commit`` or a first ``abort``."""

    def __enter__(self) -> ObjectWriter:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()


class Destination(ABC):
    """A store bound to one resolved prefix; used from several threads at once.

    Keys are relative POSIX paths under the prefix and were checked by the core (``contract.keys.check_key``).
    """

    #: Where the prefix is, ending in ``/``: ``file:///…/``, ``s3://bucket/prefix/``.
    uri: str
    #: What one open writer holds in memory at most, in bytes; the core takes it off the memory budget.
    buffer_bytes: int = 0

    def capabilities(self, claimed: Capabilities) -> Capabilities:
        """Return the guarantees at this very store: ``claimed`` by the spec, less what its server cannot do.

        Called before the first write that depends on them; may ask the store.
        """
        return claimed

    def warnings(self) -> Iterable[str]:
        """Say what may go wrong later and does not stop a run now: a credential that is over soon."""
        return ()

    @abstractmethod
    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        """Write a small object in one atomic request; a reader sees the old bytes or the new ones, never a part.

        Raises:
            PreconditionFailed: ``condition`` does not hold, whichever status the store uses for that.
            Transient: the answer was lost; the outcome is unknown and the caller decides by looking.
        """

    @abstractmethod
    def open_writer(self, key: str, *, if_absent: bool = True) -> ObjectWriter:
        """Start a streaming write of unknown size."""

    @abstractmethod
    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        """Open an object, or ``length`` bytes of it from ``offset``, for reading.

        Raises:
            NotFound: no such object, or ``version`` is given and is not its version any more.
        """

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """Describe the object at ``key``, or return ``None``."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with ``prefix``, recursively and completely, pages hidden."""

    @abstractmethod
    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """Copy inside the store, any size, pinned to ``source.version``; never overwrites ``target``.

        Raises:
            NotFound: the source is gone or has another version.
            PreconditionFailed: there is an object at ``target``.
        """

    @abstractmethod
    def delete(self, key: str, *, version: str | None = None) -> None:
        """Delete the object; absent is fine; with ``version`` only that one (another one stays, silently)."""

    def move(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """Copy, verify the size, then delete exactly the copied version. A plugin may do better.

        Raises:
            NotFound: the source is gone or has another version.
            PreconditionFailed: there is an object at ``target``.
            IntegrityError: the copy's size differs; the source stays.
        """
        copied = self.copy(source, target)
        if copied.size_bytes != source.size_bytes:
            raise IntegrityError(
                f"the copy of {source.key} has {copied.size_bytes} bytes instead of {source.size_bytes}",
                hint="the original was left in place; run the command again",
            )
        self.delete(source.key, version=source.version)
        return copied

    def pending_uploads(self) -> Iterator[PendingUpload]:
        """Yield interrupted uploads, where the store can list them."""
        return iter(())

    def abort_upload(self, upload: PendingUpload) -> None:
        """Discard an interrupted upload; absent is fine."""
        raise NotImplementedError

    @abstractmethod
    def check(self) -> Iterator[Check]:
        """Yield what ``rivet doctor`` prints about this destination, beyond the core's own probe."""

    def close(self) -> None:
        """Release connections. Called once, after the last use."""


class StreamDestination(ABC):
    """A destination of kind ``stream``: bytes go out and are gone. No manifest, no state, no validate."""

    uri: str

    @abstractmethod
    def open(self) -> BinaryIO:
        """Open the stream for writing; the caller closes it."""


__all__ = [
    "Capabilities",
    "Check",
    "Condition",
    "Destination",
    "DestinationContext",
    "IfAbsent",
    "IfVersion",
    "ObjectInfo",
    "ObjectWriter",
    "PendingUpload",
    "StreamDestination",
]
