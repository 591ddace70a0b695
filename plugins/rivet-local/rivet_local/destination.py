"""The ``local`` destination: a directory whose files appear whole, durable and, where asked, only once."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote

from rivet_core.api import (
    Check,
    ConfigError,
    Destination,
    IfAbsent,
    InvalidKey,
    NotFound,
    ObjectInfo,
    PendingUpload,
)
from rivet_local.errors import os_errors
from rivet_local.filesystem import describe_filesystem
from rivet_local.objects import LocalReader, LocalWriter, Place, info_of, link, modified_of, rename, target_of
from rivet_local.tree import (
    TEMPORARY_PREFIX,
    Tree,
    is_temporary,
    refuse_link,
    split_key,
    split_path,
    status_of,
    sync_directory,
    version_of,
)

if TYPE_CHECKING:
    from rivet_core.api import Condition, DestinationContext
    from rivet_local.config import LocalConfig

_READ_BUFFER_BYTES = 1 << 20


def open_local(config: LocalConfig, context: DestinationContext) -> LocalDestination:
    """Bind a destination to ``config.path``, whose placeholders were filled in. Creates nothing.

    Raises:
        ConfigError: the path begins with ``~`` and there is no such home directory, or it is a loop of links.
    """
    try:
        with os_errors(f"resolve {config.path}"):
            return LocalDestination(context.base_dir.absolute() / Path(config.path).expanduser())
    except RuntimeError as error:  # how pathlib reports both
        raise ConfigError(f"path {config.path}: {error}", hint="write the directory that is meant") from error


class LocalDestination(Destination):
    """A directory on a local disk.

    Keeps no state between calls but the resolved root, so any number of threads and processes may use it at once.
    Wherever a key's directory or the key itself is a symbolic link, the call is refused with ``PermissionDenied``.

    Args:
        root: absolute path; it may be a symbolic link, which is resolved here and once.
    """

    def __init__(self, root: Path) -> None:
        self._configured = root
        resolved = root.resolve()
        if resolved.is_symlink():  # since Python 3.13 a loop of links is not an error, but stays one
            raise RuntimeError("it is a loop of symbolic links")
        self._tree = Tree(resolved)
        self.uri = f"file://{quote(os.fsencode(self._tree.root).rstrip(b'/'))}/"

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        """Write a file whole: to a temporary one, flushed, then linked or renamed to ``key``."""
        with LocalWriter(self._tree, key, condition) as writer:
            writer.write(data)
            return writer.commit()

    def open_writer(self, key: str, *, if_absent: bool = True) -> LocalWriter:
        """Start a temporary file beside ``key``."""
        return LocalWriter(self._tree, key, IfAbsent() if if_absent else None)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        """Open a file, seekable; the content stays the opened one's even if the key is replaced meanwhile."""
        shown = self._shown(key)
        with os_errors(f"read {shown}"):
            fd, status = self._open_file(key)
        if version is not None and version_of(status) != version:
            os.close(fd)
            raise NotFound(f"{shown} is not the expected version any more")
        available = max(0, status.st_size - offset)
        reader = LocalReader(fd, offset, available if length is None else min(length, available), shown)
        return cast(BinaryIO, io.BufferedReader(reader, _READ_BUFFER_BYTES))

    def head(self, key: str) -> ObjectInfo | None:
        """Describe a regular file; a directory is no object."""
        directories, name = split_key(key)
        with os_errors(f"read {self._shown(key)}"):
            try:
                with self._tree.directory(directories) as directory:
                    status = status_of(name, directory)
            except FileNotFoundError:
                return None
        refuse_link(status, self._tree.root / key)
        return info_of(key, status) if status is not None and stat.S_ISREG(status.st_mode) else None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the regular files, each directory's sorted by name, without unfinished writes and symbolic links."""
        directories, _ = split_path(prefix)
        with os_errors(f"list {self._shown(prefix)}"):
            for key, status in self._tree.files(directories):
                if key.startswith(prefix) and not key.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
                    yield info_of(key, status)

    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """Copy inside the file system: a clone where it can, else a copy in the kernel."""
        with os_errors(f"read {self._shown(source.key)}"):
            fd, status = self._open_file(source.key)
        try:
            self._check_version(status, source)
            writer = self.open_writer(target)
            with writer:
                writer.copy_from(fd, source.size_bytes)
                self._check_version(os.fstat(fd), source)
                return writer.commit()
        finally:
            os.close(fd)

    def move(self, source: ObjectInfo, target: str) -> ObjectInfo:
        """Link the file to ``target`` and unlink its old name, under the prefix's lock; no byte is copied."""
        from_directories, from_name = split_key(source.key)
        to_directories, to_name = split_key(target)
        with (
            os_errors(f"move {self._shown(source.key)} to {self._shown(target)}"),
            self._tree.directory(from_directories) as from_directory,
            self._tree.directory(to_directories, create=True) as to_directory,
            self._tree.lock(),
        ):
            old = Place(from_directory, from_name, self._shown(source.key))
            new = Place(to_directory, to_name, self._shown(target))
            self._check_version(status_of(from_name, from_directory), source)
            if link(old, new):
                # The new name is durable before the old one goes, or a power cut could lose both.
                sync_directory(to_directory)
                os.unlink(from_name, dir_fd=from_directory)
            else:
                rename(old, new, IfAbsent())
                sync_directory(to_directory)
            sync_directory(from_directory)
        return ObjectInfo(target, source.size_bytes, source.version, modified=source.modified)

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Unlink the file, under the prefix's lock."""
        directories, name = split_key(key)
        with os_errors(f"delete {self._shown(key)}"):
            try:
                with self._tree.directory(directories) as directory, self._tree.lock():
                    status = status_of(name, directory)
                    if status is None or stat.S_ISDIR(status.st_mode):
                        return  # a directory is no object
                    if version is not None and version_of(status) != version:
                        return
                    os.unlink(name, dir_fd=directory)
                    sync_directory(directory)
            except FileNotFoundError:
                return

    def pending_uploads(self) -> Iterator[PendingUpload]:
        """Yield the temporary files of writers that died, and of those that are at work.

        ``started`` is the time of the last write, so that age tells the two apart.
        """
        with os_errors(f"list {self._tree.root}"):
            for path, status in self._tree.files():
                directory, _, name = path.rpartition("/")
                if is_temporary(name):
                    key = f"{directory}/{target_of(name)}" if directory else target_of(name)
                    yield PendingUpload(key, path, modified_of(status), status.st_size)

    def abort_upload(self, upload: PendingUpload) -> None:
        """Remove a temporary file."""
        directories, name = split_path(upload.upload_id)
        if not is_temporary(name):
            raise InvalidKey(f"{upload.upload_id!r} is no unfinished write")
        with os_errors(f"delete {self._shown(upload.upload_id)}"):
            try:
                with self._tree.directory(directories) as directory:
                    os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                return

    def check(self) -> Iterator[Check]:
        """Yield whether the directory can be written, its file system and free space, and what links are in the way."""
        yield from describe_filesystem(self._configured, self._tree.root)

    def _shown(self, key: str) -> str:
        return str(self._tree.root / key)

    def _open_file(self, key: str) -> tuple[int, os.stat_result]:
        """Open a regular file for reading; the descriptor is the caller's."""
        directories, name = split_key(key)
        try:
            with self._tree.directory(directories) as directory:
                refuse_link(status_of(name, directory), self._tree.root / key)
                # Without O_NONBLOCK a named pipe would block until somebody writes to it.
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError as error:
            raise NotFound(f"there is no {self._shown(key)}") from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise NotFound(f"{self._shown(key)} is no regular file")
        return fd, status

    def _check_version(self, status: os.stat_result | None, expected: ObjectInfo) -> None:
        if status is None or version_of(status) != expected.version:
            raise NotFound(f"{self._shown(expected.key)} is gone or was changed")
