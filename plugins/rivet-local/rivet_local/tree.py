"""The directories below one root: opened segment by segment, without following a symbolic link, and durably created."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rivet_core.api import InvalidKey, PermissionDenied

#: Names that begin so are unfinished writes: no key, never listed.
TEMPORARY_PREFIX: Final = ".rivet-tmp-"
_LOCK_NAME: Final = ".rivet-tmp-lock"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def split_path(path: str) -> tuple[tuple[str, ...], str]:
    """Return the directories of a relative path and what follows them, which may be empty.

    Raises:
        InvalidKey: a segment would leave the root.
    """
    *directories, name = path.split("/")
    if name in (".", "..") or any(segment in ("", ".", "..") for segment in directories):
        raise InvalidKey(f"{path!r} is no relative path below the destination")
    return tuple(directories), name


def split_key(key: str) -> tuple[tuple[str, ...], str]:
    """Return the directories and the file name of ``key``.

    The core has checked the key; this is the second look of the code that would open the file.

    Raises:
        InvalidKey: a segment would leave the root, or the name is reserved for unfinished writes.
    """
    directories, name = split_path(key)
    if not name or name.startswith(TEMPORARY_PREFIX):
        raise InvalidKey(f"{key!r} is no name for an object; {TEMPORARY_PREFIX}… marks unfinished writes")
    return directories, name


def is_temporary(name: str) -> bool:
    """Tell whether a file of this name is an unfinished write."""
    return name.startswith(TEMPORARY_PREFIX) and name != _LOCK_NAME


def version_of(status: os.stat_result) -> str:
    """Return the version token of a file: inode, modification time in nanoseconds and size."""
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


def sync(fd: int) -> None:
    """Flush a file to the medium; macOS flushes the drive's cache only on ``F_FULLFSYNC``."""
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, full_sync)


def sync_directory(fd: int) -> None:
    """Flush a directory's entries; a file system without that operation (EINVAL) keeps them durable by itself."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


class Tree:
    """The directories below ``root``. Holds no descriptors, so any number of threads may use it.

    Every path is walked with ``openat(O_NOFOLLOW)`` from the root's descriptor: a link that is put in the way at any
    moment is refused, never followed. The root itself was resolved before and may be a link.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, segments: Sequence[str] = (), *, create: bool = False) -> int:
        """Open a directory below the root and return its descriptor, which is the caller's.

        Args:
            create: make what is missing, the root included, and flush the parent of each new directory.

        Raises:
            PermissionDenied: a segment is a symbolic link.
            FileNotFoundError: there is no such directory; without ``create`` also where a segment is a file.
            OSError: as the operating system says.
        """
        if create:
            self._create_root()
        fd = os.open(self.root, _DIRECTORY)
        try:
            for depth, segment in enumerate(segments, 1):
                try:
                    child = os.open(segment, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                except FileNotFoundError:
                    if not create:
                        raise
                    # Who loses this race flushes too: the winner may not have done it yet.
                    with suppress(FileExistsError):
                        os.mkdir(segment, dir_fd=fd)
                    sync_directory(fd)
                    child = os.open(segment, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                except OSError as error:
                    refuse_link(status_of(segment, fd), self.root.joinpath(*segments[:depth]))
                    if isinstance(error, NotADirectoryError) and not create:
                        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
                    raise
                os.close(fd)
                fd = child
        except BaseException:
            os.close(fd)
            raise
        return fd

    @contextmanager
    def directory(self, segments: Sequence[str] = (), *, create: bool = False) -> Iterator[int]:
        """Open a directory as ``open`` does and close it at the end of the block."""
        fd = self.open(segments, create=create)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the prefix's exclusive lock, across threads and processes.

        The lock is on the root directory. Network file systems lock only what is open for writing (EBADF); there a
        hidden file in the root is locked instead. The kernel releases it when its holder dies.
        """
        fd = os.open(self.root, _DIRECTORY)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise
                directory = fd
                fd = os.open(_LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=fd)
                os.close(directory)
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def files(self, segments: Sequence[str] = ()) -> Iterator[tuple[str, os.stat_result]]:
        """Yield path below the root and status of every regular file in a directory and below it, sorted by name.

        Symbolic links are neither followed nor yielded, names that are not UTF-8 cannot be keys and are left out, and
        what disappears meanwhile is left out too.
        """
        pending = [tuple(segments)]
        while pending:
            parents = pending.pop()
            try:
                fd = self.open(parents)
            except (FileNotFoundError, PermissionDenied):
                continue
            children: list[tuple[str, ...]] = []
            try:
                for name in sorted(os.listdir(fd)):  # noqa: PTH208  the open directory, not a path
                    status = status_of(name, fd)
                    if status is None or not _is_utf8(name):
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        children.append((*parents, name))
                    elif stat.S_ISREG(status.st_mode):
                        yield "/".join((*parents, name)), status
            finally:
                os.close(fd)
            pending.extend(reversed(children))

    def _create_root(self) -> None:
        missing = []
        directory = self.root
        while not directory.exists():
            missing.append(directory)
            directory = directory.parent
        for directory in reversed(missing):
            with suppress(FileExistsError):
                directory.mkdir()
            parent = os.open(directory.parent, _DIRECTORY)
            try:
                sync_directory(parent)
            finally:
                os.close(parent)


def status_of(name: str, directory: int) -> os.stat_result | None:
    """Return the status of a directory's entry itself (no link is followed), or ``None`` if there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def refuse_link(status: os.stat_result | None, path: Path) -> None:
    """Raise ``PermissionDenied`` if ``status`` is that of a symbolic link at ``path``."""
    if status is not None and stat.S_ISLNK(status.st_mode):
        raise PermissionDenied(
            f"{path} is a symbolic link, and links below an export's directory are not followed",
            hint="replace the link by what it points to, or point the destination's path there",
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
