"""Links that lead out, directories that cannot be written, disks that are full, file systems that lack operations."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rivet_core.api import (
    Condition,
    ConfigError,
    DestinationContext,
    DestinationError,
    IfAbsent,
    IfVersion,
    InvalidKey,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    StorageFull,
    Transient,
)
from rivet_local.config import LocalConfig
from rivet_local.destination import LocalDestination, open_local
from rivet_local.errors import translate

Spawn = Callable[..., "subprocess.Popen[str]"]  # of conftest.py


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "secret").write_bytes(b"secret")
    return directory


def bind(path: Path) -> LocalDestination:
    return open_local(LocalConfig(path=str(path)), DestinationContext(Path("/")))


# ---- symbolic links


@pytest.mark.parametrize("key", ["link/secret", "link/new", "link", "d/file"])
def test_no_operation_follows_a_link_out_of_the_root(
    destination: LocalDestination, root: Path, outside: Path, key: str
) -> None:
    source = destination.put("d/x", b"x")
    (root / "link").symlink_to(outside)
    (root / "d" / "file").symlink_to(outside / "secret")
    for operation in (lambda: destination.open_reader(key), lambda: destination.head(key)):
        with pytest.raises(PermissionDenied, match="symbolic link"):
            operation()
    for write in (
        lambda: destination.put(key, b"evil", condition=IfAbsent()),
        lambda: destination.put(key, b"evil", condition=IfVersion("1-2-3")),
        lambda: destination.open_writer(key).commit(),
        lambda: destination.copy(source, key),
        lambda: destination.move(source, key),
    ):
        with pytest.raises((PermissionDenied, PreconditionFailed)):
            write()
    assert [info.key for info in destination.list()] == ["d/x"]
    assert [info.key for info in destination.list("link/")] == []
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret": b"secret"}


def test_links_inside_the_root_are_not_followed_either(destination: LocalDestination, root: Path) -> None:
    destination.put("d/x", b"x")
    (root / "inside").symlink_to("d")
    with pytest.raises(PermissionDenied, match="symbolic link"):
        destination.open_reader("inside/x")


def test_writing_over_a_link_replaces_the_link_itself(destination: LocalDestination, root: Path, outside: Path) -> None:
    destination.put("x", b"")
    (root / "manifest.json").symlink_to(outside / "secret")
    destination.put("manifest.json", b"{}")
    assert not (root / "manifest.json").is_symlink()
    assert (outside / "secret").read_bytes() == b"secret"


def test_deleting_a_link_leaves_what_it_points_to(destination: LocalDestination, root: Path, outside: Path) -> None:
    destination.put("x", b"")
    (root / "link").symlink_to(outside / "secret")
    destination.delete("link")
    assert (outside / "secret").exists()
    assert not (root / "link").is_symlink()


def test_directory_swapped_for_a_link_while_a_writer_is_open(
    destination: LocalDestination, root: Path, outside: Path
) -> None:
    with destination.open_writer("d/x") as writer:
        writer.write(b"data")
        (root / "d").rename(root / "moved")
        (root / "d").symlink_to(outside)
        writer.commit()
    assert (root / "moved" / "x").read_bytes() == b"data"
    assert not (outside / "x").exists()


def test_root_may_be_a_link_and_is_resolved_once(tmp_path: Path, outside: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    link = tmp_path / "link"
    link.symlink_to(target)
    destination = bind(link)
    assert destination.uri == f"file://{target}/"
    link.unlink()
    link.symlink_to(outside)
    destination.put("x", b"x")
    assert (target / "x").exists()
    assert not (outside / "x").exists()


def test_loop_of_links_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises((ConfigError, PermissionDenied)):
        bind(tmp_path / "a")


# ---- what the operating system refuses


WRITE = """
try:
    writer = destination.open_writer("part-000001.parquet")
    with writer:
        for _ in range(200):
            writer.write(os.urandom(1 << 14))
        writer.commit()
except RivetError as error:
    print(type(error).__name__, error.message, error.hint, sep="|")
print(len(list(destination.list())), len(list(destination.pending_uploads())))
print([check.name for check in destination.check() if check.status == "failed"])
"""


def refusal(process: subprocess.Popen[str]) -> tuple[list[str], str, str]:
    """Return the error that ``WRITE`` printed, its count of objects and pending uploads, and the failed checks."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    error, counts, checks = out.splitlines()
    return error.split("|"), counts, checks


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that any user can reach; the parents of ``tmp_path`` are closed to others."""
    directory = Path(f"/tmp/rivet-local-test-{os.getpid()}")
    directory.mkdir(mode=0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_directory_of_another_user_is_permission_denied(open_directory: Path, spawn: Spawn) -> None:
    become_nobody = "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    for path in (open_directory, open_directory / "new"):
        error, counts, checks = refusal(spawn(become_nobody + WRITE, path=path))
        assert error[0] == "PermissionDenied"
        assert str(path) in error[1]
        assert "owner and mode" in error[2]
        assert counts == "0 0"
        assert checks == "['directory']"
    assert list(open_directory.iterdir()) == []


def in_mount(*commands: str) -> list[str]:
    """Return a command that runs its arguments after ``commands`` in a mount name space of its own."""
    probe = ["unshare", "--mount", "sh", "-c", " && ".join((*commands, "true"))]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user cannot mount")
    return ["unshare", "--mount", "sh", "-c", " && ".join((*commands, 'exec "$@"')), "sh"]


def test_read_only_file_system_is_permission_denied(tmp_path: Path, spawn: Spawn) -> None:
    read_only = in_mount(f"mount -t tmpfs -o ro tmpfs {tmp_path}")
    error, counts, checks = refusal(spawn(WRITE, path=tmp_path, inside=read_only))
    assert error[0] == "PermissionDenied"
    assert "read-only" in error[2]
    assert (counts, checks) == ("0 0", "['directory']")


def test_full_disk_is_storage_full_and_leaves_nothing(tmp_path: Path, spawn: Spawn) -> None:
    small = in_mount(f"mount -t tmpfs -o size=1m tmpfs {tmp_path}")
    error, counts, checks = refusal(spawn(WRITE, path=tmp_path / "new", inside=small))
    assert error[0] == "StorageFull"
    assert "No space left" in error[1]
    assert (counts, checks) == ("0 0", "[]")


def test_file_size_limit_is_storage_full(root: Path, spawn: Spawn) -> None:
    limit = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
"""
    error, counts, _ = refusal(spawn(limit + WRITE))
    assert error[0] == "StorageFull"
    assert "ulimit -f" in error[2]
    assert counts == "0 0"


def test_file_in_the_way_of_the_root_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        destination = bind(path)
        with pytest.raises(DestinationError, match="cannot write"):
            destination.put("x", b"")
        assert any(check.status == "failed" for check in destination.check())


@pytest.mark.parametrize("condition", [None, IfAbsent(), IfVersion("1-2-3")])
def test_directory_in_place_of_an_object_is_no_lost_race(
    destination: LocalDestination, root: Path, condition: Condition | None
) -> None:
    (root / "manifest.json").mkdir(parents=True)
    with pytest.raises(DestinationError, match="is no file") as caught:
        destination.put("manifest.json", b"{}", condition=condition)
    assert not isinstance(caught.value, PreconditionFailed)
    assert (root / "manifest.json").is_dir()
    assert list(destination.pending_uploads()) == []


def test_path_that_is_too_long_is_an_invalid_key(destination: LocalDestination) -> None:
    with pytest.raises(InvalidKey, match="too long"):
        destination.put("é" * 200, b"")
    assert list(destination.list()) == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EFBIG, StorageFull),
        (errno.EACCES, PermissionDenied),
        (errno.EPERM, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.ENOENT, NotFound),
        (errno.EEXIST, PreconditionFailed),
        (errno.ENAMETOOLONG, InvalidKey),
        (errno.ESTALE, Transient),
        (errno.EIO, DestinationError),
        (errno.ENXIO, DestinationError),
    ],
)
def test_each_error_of_the_system_has_its_place(code: int, kind: type[DestinationError]) -> None:
    error = translate(OSError(code, "…"), "write /data/x")
    assert type(error) is kind
    assert error.message == f"cannot write /data/x: {os.strerror(code)}"


def test_failing_disk_at_commit_leaves_nothing(destination: LocalDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    writer = destination.open_writer("x")
    writer.write(b"x")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DestinationError, match="Input/output error"):
        writer.commit()
    assert destination.head("x") is None
    assert list(destination.pending_uploads()) == []


# ---- file systems that lack an operation


def refuse(code: int) -> Callable[..., None]:
    def call(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_nothing_is_overwritten_either(
    destination: LocalDestination, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(code))
    first = destination.put("a", b"1", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        destination.put("a", b"2", condition=IfAbsent())
    other = destination.put("b", b"3", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        destination.move(other, "a")
    moved = destination.move(first, "d/a")
    assert [info.key for info in destination.list()] == ["b", "d/a"]
    assert moved == destination.head("d/a")


def test_where_directories_cannot_be_locked_a_hidden_file_is(
    destination: LocalDestination, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    locked: list[str] = []

    def only_files(fd: int, operation: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_dir():
            raise OSError(errno.EBADF, "as NFS says")
        lock(fd, operation)
        locked.append(path.name)

    monkeypatch.setattr(fcntl, "flock", only_files)
    info = destination.put("a", b"1")
    destination.put("a", b"2", condition=IfVersion(info.version))
    assert locked == [".rivet-tmp-lock"] * 2
    assert [info.key for info in destination.list()] == ["a"]
    assert list(destination.pending_uploads()) == []


# ---- durability


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what reaches the disk, in order, by path; ``…`` stands for a temporary file."""
    recorded: list[str] = []

    def name(target: object, directory: object = None) -> str:
        at = target if isinstance(target, int) else directory
        path = Path(f"/proc/self/fd/{at}").readlink() if isinstance(at, int) else Path(str(target))
        last = path.name if isinstance(target, int) or directory is None else str(target)
        return "…" if ".rivet-tmp-" in last else last

    def record(function: str) -> None:
        original = getattr(os, function)

        def call(*args: object, **kwargs: object) -> object:
            directories = [kwargs.get(key) for key in ("src_dir_fd", "dst_dir_fd")]
            names = [name(arg, kwargs.get("dir_fd", at)) for arg, at in zip(args, directories, strict=False)]
            result = original(*args, **kwargs)
            recorded.append(" ".join((function, *names)))
            return result

        monkeypatch.setattr(os, function, call)

    for function in ("fsync", "link", "rename", "unlink"):
        record(function)
    return recorded


def test_order_of_a_new_object(destination: LocalDestination, calls: list[str]) -> None:
    destination.put("d/x", b"", condition=IfAbsent())
    # tmp_path exists; "exports" and "orders" are new in it, "d" in "orders".
    assert calls[1:] == ["fsync exports", "fsync orders", "fsync …", "link … x", "unlink …", "fsync d"]


def test_order_of_a_replacement(destination: LocalDestination, calls: list[str]) -> None:
    info = destination.put("x", b"")
    calls.clear()
    destination.put("x", b"1", condition=IfVersion(info.version))
    assert calls == ["fsync …", "rename … x", "fsync orders"]


def test_order_of_a_move(destination: LocalDestination, calls: list[str]) -> None:
    info = destination.put("x", b"")
    calls.clear()
    destination.move(info, "q/x")
    assert calls == ["fsync orders", "link x x", "fsync q", "unlink x", "fsync orders"]


def test_order_of_a_delete(destination: LocalDestination, calls: list[str]) -> None:
    destination.put("x", b"")
    calls.clear()
    destination.delete("x")
    assert calls == ["unlink x", "fsync orders"]


# ---- doctor


def test_checks_name_space_links_and_where_a_link_leads(
    destination: LocalDestination, root: Path, tmp_path: Path
) -> None:
    destination.put("x", b"")
    (root / "link").symlink_to("x")
    alias = tmp_path / "alias"
    alias.symlink_to(root)
    checks = {check.name: check for check in bind(alias).check()}
    assert checks["directory"].status == "ok"
    assert checks["free space"].message.endswith("GB free")
    assert checks["path"].message == f"{alias} resolves to {root}"
    assert checks["symbolic links"].status == "warning"
    assert "link" in checks["symbolic links"].message
