"""What ``rivet doctor`` says about a directory: its mount, its free space, links in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rivet_core.api import Check
from rivet_local.errors import translate

_LOW_SPACE_BYTES: Final = 1 << 30
_NETWORK: Final = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3"})


def describe_filesystem(configured: Path, root: Path) -> Iterator[Check]:
    """Yield the checks of a destination's directory, or of the nearest one that exists.

    Args:
        configured: the absolute path as configured.
        root: the same with every symbolic link resolved.
    """
    try:
        existing = next(path for path in (root, *root.parents) if path.exists())
        yield _writable(root, existing)
        yield _file_system(existing)
        yield _free_space(existing)
        if configured != root:
            yield Check("path", "ok", f"{configured} resolves to {root}")
        if root.is_dir():
            yield from _links(root)
    except OSError as error:
        refused = translate(error, f"read {root}")
        yield Check("directory", "failed", refused.message, refused.hint)


def _writable(root: Path, existing: Path) -> Check:
    if not existing.is_dir():
        return Check("directory", "failed", f"{existing} is no directory", "move the file away or choose another path")
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return Check("directory", "failed", f"{existing} cannot be written", "check owner, mode and mount (`ls -ld`)")
    state = "exists" if existing == root else "will be created"
    return Check("directory", "ok", f"{root} {state} and can be written")


def _file_system(existing: Path) -> Check:
    kind = _mount_type(existing)
    if kind in _NETWORK:
        return Check(
            "file system",
            "warning",
            f"{kind}, a network file system",
            "atomic and durable writes depend on its server; mount it with locks, and `sync` where there is a choice",
        )
    return Check("file system", "ok", kind or "unknown")


def _free_space(existing: Path) -> Check:
    status = os.statvfs(existing)
    free = status.f_bavail * status.f_frsize
    text = f"{free / 1e9:.1f} GB free"
    if free < _LOW_SPACE_BYTES:
        return Check("free space", "warning", text, "a full disk fails the export; free some space first")
    return Check("free space", "ok", text)


def _links(root: Path) -> Iterator[Check]:
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_symlink())
    if names:
        listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        yield Check(
            "symbolic links",
            "warning",
            f"{len(names)} in {root}: {listed}",
            "they are neither followed nor listed; a key that meets one is refused",
        )


def _mount_type(path: Path) -> str:
    """Return the file system's type by ``/proc/self/mountinfo`` (proc(5)), or ``""`` where that does not tell."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for mount in mounts:
        fields, _, rest = mount.partition(" - ")
        if fields.split(" ")[2] == wanted:
            return rest.split(" ")[0]
    return ""
