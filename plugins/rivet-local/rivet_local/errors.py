"""The one place where errors of the operating system become Rivet's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rivet_core.api import (
    DestinationError,
    InvalidKey,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    StorageFull,
    Transient,
)

_MODE = "check owner and mode of the directory (`ls -ld`)"
_IN_THE_WAY = "a directory is where a file must be; move it away"
_LACKING = "the file system lacks an operation that atomic writes need"

_KINDS: Final[dict[int, tuple[type[DestinationError], str]]] = {
    errno.ENOSPC: (StorageFull, "free some space or export to another disk"),
    errno.EDQUOT: (StorageFull, "the user's quota on this file system is used up"),
    errno.EFBIG: (StorageFull, "the file system or `ulimit -f` allows no larger file; set max_file_size below that"),
    errno.EACCES: (PermissionDenied, _MODE),
    errno.EPERM: (PermissionDenied, f"{_MODE}, and its attributes (`lsattr -d`)"),
    errno.EROFS: (PermissionDenied, "the file system is mounted read-only"),
    errno.ELOOP: (PermissionDenied, "symbolic links below an export's directory are not followed"),
    errno.ENOENT: (NotFound, ""),
    errno.EEXIST: (PreconditionFailed, ""),
    errno.ENAMETOOLONG: (InvalidKey, "shorten the path or the export's name"),
    errno.EAGAIN: (Transient, ""),
    errno.EBUSY: (Transient, ""),
    errno.ESTALE: (Transient, ""),
    errno.ETIMEDOUT: (Transient, ""),
    errno.EIO: (DestinationError, "the disk reports a failure; look at the kernel's log"),
    errno.EMFILE: (DestinationError, "too many open files in this process; raise `ulimit -n` or lower `parallel`"),
    errno.ENFILE: (DestinationError, "too many open files on this machine"),
    errno.ENOTDIR: (DestinationError, "a file is where a directory must be; move it away"),
    errno.EISDIR: (DestinationError, _IN_THE_WAY),
    errno.ENOTEMPTY: (DestinationError, _IN_THE_WAY),
    errno.ENOLCK: (DestinationError, "the file system cannot lock; mount it with locks enabled"),
    errno.EOPNOTSUPP: (DestinationError, _LACKING),
    errno.ENOSYS: (DestinationError, _LACKING),
}


def translate(error: OSError, action: str) -> DestinationError:
    """Return the error of Rivet's family for ``error``.

    Args:
        action: what was tried, to follow "cannot": ``write /data/orders/part-000001.parquet``.
    """
    kind, hint = _KINDS.get(error.errno or 0, (DestinationError, ""))
    return kind(f"cannot {action}: {os.strerror(error.errno) if error.errno else error}", hint=hint)


@contextmanager
def os_errors(action: str) -> Iterator[None]:
    """Raise every ``OSError`` of the block as ``translate`` names it."""
    try:
        yield
    except OSError as error:
        raise translate(error, action) from error
