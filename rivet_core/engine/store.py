"""Opens destinations, and decides lost answers by looking: the only way in which the engine touches a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from rivet_core.api.destination import (
    Capabilities,
    Check,
    Condition,
    Destination,
    DestinationContext,
    ObjectInfo,
    ObjectWriter,
    PendingUpload,
    StreamDestination,
)
from rivet_core.api.errors import DestinationError, IntegrityError, NotFound, PreconditionFailed, Transient
from rivet_core.contract.fingerprint import Fingerprint
from rivet_core.contract.keys import check_key

if TYPE_CHECKING:
    from rivet_core.api.auth import NativeAuth, Provider
    from rivet_core.config import DestinationChoice
    from rivet_core.plugins import Registry

READ_BYTES = 1 << 20
# A control object that changes under every single read is no store to publish to.
_READ_ATTEMPTS = 5


class CheckedDestination(Destination):
    """Passes every call on to a plugin's destination, its keys checked first."""

    def __init__(self, inner: Destination) -> None:
        self._inner = inner
        self.uri = inner.uri
        self.buffer_bytes = inner.buffer_bytes

    def capabilities(self, claimed: Capabilities) -> Capabilities:
        """See ``Destination.capabilities``."""
        return self._inner.capabilities(claimed)

    def warnings(self) -> Iterable[str]:
        """See ``Destination.warnings``."""
        return self._inner.warnings()

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        """See ``Destination.put``; a lost answer is settled by reading the object back."""
        check_key(key)
        try:
            return self._inner.put(key, data, condition=condition)
        except (PreconditionFailed, Transient):
            # The bytes name their run, so equal bytes can only be ours.
            stored = read_object(self._inner, key, limit=len(data))
            if stored is not None and stored[0] == data:
                return stored[1]
            raise

    def open_writer(self, key: str, *, if_absent: bool = True) -> ObjectWriter:
        """See ``Destination.open_writer``."""
        check_key(key)
        return self._inner.open_writer(key, if_absent=if_absent)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        """See ``Destination.open_reader``."""
        check_key(key)
        return self._inner.open_reader(key, offset=offset, length=length, version=version)

    def head(self, key: str) -> ObjectInfo | None:
        """See ``Destination.head``."""
        check_key(key)
        return self._inner.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ``Destination.list``."""
        return self._inner.list(prefix)

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """See ``Destination.copy``."""
        check_key(source.key)
        check_key(target)
        return self._inner.copy(source, target)

    def move(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """See ``Destination.move``."""
        check_key(source.key)
        check_key(target)
        return self._inner.move(source, target)

    def delete(self, key: str, *, version: str | None = None) -> None:
        """See ``Destination.delete``."""
        check_key(key)
        self._inner.delete(key, version=version)

    def pending_uploads(self) -> Iterator[PendingUpload]:
        """See ``Destination.pending_uploads``."""
        return self._inner.pending_uploads()

    def abort_upload(self, upload: PendingUpload) -> None:
        """See ``Destination.abort_upload``."""
        self._inner.abort_upload(upload)

    def check(self) -> Iterator[Check]:
        """See ``Destination.check``."""
        return self._inner.check()

    def close(self) -> None:
        """See ``Destination.close``."""
        self._inner.close()


def open_store(
    choice: DestinationChoice, registry: Registry, base_dir: Path, *, upload_bytes: int | None = None
) -> CheckedDestination:
    """Open the store that a configuration names, its prefix resolved.

    Args:
        upload_bytes: what one open writer may hold in memory; the default is the context's.

    Raises:
        PluginError: the plugin's factory cannot be loaded, or its result is no ``Destination``.
        DestinationError: the store refuses.
    """
    opened = open_unchecked(choice, registry, base_dir, upload_bytes=upload_bytes)
    if not isinstance(opened, Destination):
        raise DestinationError(f"the destination type {choice.spec.type!r} is no store", hint="report it to its author")
    return CheckedDestination(opened)


def open_stream(choice: DestinationChoice, registry: Registry, base_dir: Path) -> StreamDestination:
    """Open the stream that a configuration names."""
    opened = open_unchecked(choice, registry, base_dir)
    if not isinstance(opened, StreamDestination):
        raise DestinationError(
            f"the destination type {choice.spec.type!r} is no stream", hint="report it to its author"
        )
    return opened


def open_unchecked(
    choice: DestinationChoice, registry: Registry, base_dir: Path, *, upload_bytes: int | None = None
) -> object:
    """Call the factory of the plugin that a configuration names and return what it returns, whatever that is."""
    context = DestinationContext(base_dir=base_dir, auth=_open_auth(choice, registry, base_dir))
    if upload_bytes is not None:
        context = replace(context, upload_bytes=upload_bytes)
    factory = cast("Callable[[object, DestinationContext], object]", registry.load(choice.spec, "factory"))
    return factory(choice.model, context)


def _open_auth(choice: DestinationChoice, registry: Registry, base_dir: Path) -> Provider | NativeAuth | None:
    if choice.auth is None:
        return None
    factory = cast(
        "Callable[[Mapping[str, object], str], Provider | NativeAuth]", registry.load(choice.auth.resolver, "factory")
    )
    files = {
        name: str(base_dir.absolute() / Path(str(value)).expanduser())
        for name, value in choice.auth.fields.items()
        if name in choice.auth.resolver.files
    }
    return factory({**choice.auth.fields, **files}, choice.spec.type)


def read_object(destination: Destination, key: str, *, limit: int) -> tuple[bytes, ObjectInfo] | None:
    """Read a control object whole, bytes and version of one and the same state, or return ``None`` if it is absent.

    Args:
        limit: most bytes to read; a larger object gives its first ``limit + 1`` bytes, so that the caller can tell.
    """
    for _ in range(_READ_ATTEMPTS):
        info = destination.head(key)
        if info is None:
            return None
        try:
            with destination.open_reader(key, length=limit + 1, version=info.version) as reader:
                data = _read_all(reader, limit + 1)
        except NotFound:
            continue  # replaced or deleted between the two requests
        if len(data) >= min(info.size_bytes, limit + 1):
            return data, info
    raise Transient(f"{key} changes faster than it can be read", hint="another process writes at this prefix")


def fingerprint_object(destination: Destination, info: ObjectInfo) -> tuple[int, str]:
    """Read an object through and return its size in bytes and its content fingerprint.

    Raises:
        NotFound: the object is gone or has another version than ``info``.
    """
    digest = Fingerprint()
    size = 0
    with destination.open_reader(info.key, version=info.version) as reader:
        while piece := reader.read(READ_BYTES):
            digest.update(piece)
            size += len(piece)
    return size, digest.value()


def commit_writer(
    destination: Destination, writer: ObjectWriter, key: str, *, size_bytes: int, content_fingerprint: str
) -> ObjectInfo:
    """Commit a part, and decide a lost answer by looking at the object: equal content is success.

    Raises:
        PreconditionFailed: another writer's object is at the key.
        IntegrityError: the store reports another size than was written.
    """
    try:
        info = writer.commit()
    except (PreconditionFailed, Transient):
        found = destination.head(key)
        if found is None or found.size_bytes != size_bytes:
            raise
        if fingerprint_object(destination, found) != (size_bytes, content_fingerprint):
            raise
        info = found
    if info.size_bytes != size_bytes:
        raise IntegrityError(
            f"{key} has {info.size_bytes} bytes at the destination, {size_bytes} were written",
            hint="nothing was published; run the export again",
        )
    return info


def _read_all(reader: BinaryIO, length: int) -> bytes:
    pieces = []
    while length > 0 and (piece := reader.read(min(length, READ_BYTES))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)
