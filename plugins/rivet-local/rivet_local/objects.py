"""Reading one file, and writing one so that it appears whole and durable or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from rivet_core.api import (
    DestinationError,
    IfAbsent,
    IfVersion,
    IntegrityError,
    ObjectInfo,
    ObjectWriter,
    PreconditionFailed,
)
from rivet_local.errors import os_errors
from rivet_local.tree import TEMPORARY_PREFIX, split_key, status_of, sync, sync_directory, version_of

if TYPE_CHECKING:
    from rivet_core.api import Condition
    from rivet_local.tree import Tree

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_DIGITS: Final = 16
_BLOCK_BYTES: Final = 1 << 20
#: What ``link`` says on FAT, some FUSE and network file systems, and for files of another owner.
_NO_HARD_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
#: What ``copy_file_range`` says where the kernel or the file system has no such copy.
_NO_KERNEL_COPY: Final = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}


def info_of(key: str, status: os.stat_result) -> ObjectInfo:
    """Return the description of a file."""
    return ObjectInfo(key, status.st_size, version_of(status), modified=modified_of(status))


def modified_of(status: os.stat_result) -> datetime | None:
    """Return the modification time, or ``None`` for one outside of the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    except OverflowError:
        return None


def target_of(temporary_name: str) -> str:
    """Return the name under which the unfinished write ``temporary_name`` was to appear."""
    return temporary_name[len(TEMPORARY_PREFIX) + _RANDOM_DIGITS + 1 :]


@dataclass(frozen=True)
class Place:
    """A name in an open directory; ``shown`` is its path for messages."""

    directory: int
    name: str
    shown: str


def link(source: Place, target: Place) -> bool:
    """Give a file a second name, atomically and only if that name is free.

    Returns:
        ``False`` where the file system has no hard links; then ``rename`` under the prefix's lock is the way, atomic
        for every reader and between all writers of Rivet, but not against other programs that write there.

    Raises:
        PreconditionFailed: the name is taken.
        DestinationError: it is taken by something that is no file.
    """
    try:
        os.link(
            source.name,
            target.name,
            src_dir_fd=source.directory,
            dst_dir_fd=target.directory,
            follow_symlinks=False,
        )
    except FileExistsError as error:
        _refuse_other_kinds(target, status_of(target.name, target.directory))
        raise PreconditionFailed(f"{target.shown} exists already") from error
    except OSError as error:
        if error.errno in _NO_HARD_LINKS:
            return False
        raise
    return True


def rename(source: Place, target: Place, condition: Condition | None) -> None:
    """Move a file to a name if ``condition`` holds there. The caller holds the prefix's lock.

    Raises:
        PreconditionFailed: ``condition`` does not hold; nothing changed.
        DestinationError: the name belongs to something that is no file.
    """
    current = status_of(target.name, target.directory)
    _refuse_other_kinds(target, current)
    if isinstance(condition, IfAbsent) and current is not None:
        raise PreconditionFailed(f"{target.shown} exists already")
    if isinstance(condition, IfVersion) and (current is None or version_of(current) != condition.version):
        verb = "deleted" if current is None else "changed"
        raise PreconditionFailed(f"{target.shown} was {verb} by another writer")
    os.rename(source.name, target.name, src_dir_fd=source.directory, dst_dir_fd=target.directory)


def _refuse_other_kinds(target: Place, status: os.stat_result | None) -> None:
    """Refuse a directory or a device in an object's place: no other writer has put it there, and no retry helps."""
    if status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        raise DestinationError(
            f"{target.shown} is no file, so nothing can be written there", hint="move what is in the way aside"
        )


class LocalWriter(ObjectWriter):
    """Writes to a temporary file beside the target, which ``commit`` makes durable and gives its name.

    The temporary name carries the target's, so that an interrupted write can be reported under its key.
    """

    def __init__(self, tree: Tree, key: str, condition: Condition | None) -> None:
        self._tree = tree
        self._key = key
        self._condition = condition
        directories, self._name = split_key(key)
        self._shown = str(tree.root / key)
        self._temporary = f"{TEMPORARY_PREFIX}{secrets.token_hex(_RANDOM_DIGITS // 2)}-{self._name}"
        self._open = False
        with os_errors(f"write {self._shown}"):
            self._directory = tree.open(directories, create=True)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._fd = os.open(self._temporary, flags, 0o666, dir_fd=self._directory)
            except BaseException:
                os.close(self._directory)
                raise
        self._open = True

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append ``data``; it goes straight to the file."""
        self._check_open()
        with memoryview(data) as view, view.cast("B") as rest, os_errors(f"write {self._shown}"):
            size = rest.nbytes
            written = os.write(self._fd, rest)
            while written < size:  # a signal or the last free block cut the call short
                written += os.write(self._fd, rest[written:])
            return size

    def copy_from(self, source: int, size_bytes: int) -> None:
        """Append the whole file open at ``source``, inside the kernel where it can (a clone on btrfs and XFS).

        Raises:
            IntegrityError: it did not have ``size_bytes`` bytes.
        """
        self._check_open()
        with os_errors(f"write {self._shown}"):
            copied = _kernel_copy(source, self._fd)
            while block := os.read(source, _BLOCK_BYTES):
                copied += self.write(block)
        if copied != size_bytes:
            raise IntegrityError(
                f"{copied} of {size_bytes} bytes arrived at {self._shown}",
                hint="the original was left in place; another program is changing it",
            )

    def commit(self) -> ObjectInfo:
        """Flush the file, give it its name, flush the directory."""
        self._check_open()
        try:
            with os_errors(f"write {self._shown}"):
                sync(self._fd)
                info = info_of(self._key, os.fstat(self._fd))
                temporary = Place(self._directory, self._temporary, self._shown)
                target = Place(self._directory, self._name, self._shown)
                if isinstance(self._condition, IfAbsent) and link(temporary, target):
                    os.unlink(temporary.name, dir_fd=self._directory)
                else:
                    with self._tree.lock():
                        rename(temporary, target, self._condition)
                sync_directory(self._directory)
        except BaseException:
            self.abort()
            raise
        self._close()
        return info

    def abort(self) -> None:
        """Remove the temporary file."""
        if self._open:
            # Gone after a commit whose last flush failed; and what cannot be removed is harmless and listed as pending.
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._directory)
            self._close()

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the writer of {self._key} is closed")

    def _close(self) -> None:
        self._open = False
        os.close(self._directory)
        os.close(self._fd)


class LocalReader(io.RawIOBase):
    """A seekable view of ``length`` bytes from ``offset`` of an open file, of which it becomes the owner."""

    def __init__(self, fd: int, offset: int, length: int, shown: str) -> None:
        self._fd = fd
        self._offset = offset
        self._length = length
        self._position = 0
        self._shown = shown

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed: Buffer
        """Fill ``buffer`` from the current position and return the number of bytes."""
        with memoryview(buffer).cast("B") as view:
            wanted = max(0, min(view.nbytes, self._length - self._position))
            with os_errors(f"read {self._shown}"):
                count = os.preadv(self._fd, [view[:wanted]], self._offset + self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move within the view and return the new position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if start + offset < 0:
            raise ValueError("seek before the beginning")
        self._position = start + offset
        return self._position

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._fd)
        super().close()


def _kernel_copy(source: int, target: int) -> int:
    """Copy as much as the kernel does by itself, both files at their positions; return the number of bytes."""
    copied = 0
    if hasattr(os, "copy_file_range"):
        try:
            while count := os.copy_file_range(source, target, 1 << 30):
                copied += count
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
    return copied
