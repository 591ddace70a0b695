"""Objects of the local destination: written whole, read in ranges, listed, copied, moved and deleted by version."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import ValidationError

from rivet_core.api import (
    ConfigError,
    DestinationContext,
    DestinationError,
    IfAbsent,
    IfVersion,
    IntegrityError,
    InvalidKey,
    NotFound,
    ObjectInfo,
    PendingUpload,
    PreconditionFailed,
)
from rivet_local.config import LocalConfig
from rivet_local.destination import LocalDestination, open_local

ODD_KEYS = [
    "part-000001.parquet",
    "_quarantine/orders_1/part-000001.parquet",
    "ünï/日本/😀.csv",
    "with space/ leading and trailing ",
    "%2F/%2e%2e/a%00b",
    "a" * 200 + "/" + "é" * 100,
    "-rf/--/*?[x]",
    "quote'\"`$(x)\n\ttab",
    ".hidden/.file",
    "..a/b..",
]


def write(destination: LocalDestination, key: str, data: bytes, *, if_absent: bool = True) -> ObjectInfo:
    with destination.open_writer(key, if_absent=if_absent) as writer:
        writer.write(data)
        return writer.commit()


def read(destination: LocalDestination, key: str, **options: object) -> bytes:
    with destination.open_reader(key, **options) as reader:  # type: ignore[arg-type]
        return reader.read()


def keys(destination: LocalDestination, prefix: str = "") -> list[str]:
    return [info.key for info in destination.list(prefix)]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_valid_key_works_in_every_operation(destination: LocalDestination, root: Path, key: str) -> None:
    info = write(destination, key, b"content")
    assert (root / key).read_bytes() == b"content"
    assert destination.head(key) == info
    assert list(destination.list()) == [info]
    assert list(destination.list(key)) == [info]
    assert read(destination, key) == b"content"
    copied = destination.copy(info, f"copy/{key}")
    moved = destination.move(copied, f"moved/{key}")
    assert sorted(keys(destination)) == sorted([key, moved.key])
    destination.delete(key, version=info.version)
    assert keys(destination) == [moved.key]


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/x", "a//b", "", "a/", ".", "./a", ".rivet-tmp-1-x"])
def test_keys_that_leave_the_root_or_are_reserved_are_refused(
    destination: LocalDestination, root: Path, key: str
) -> None:
    for operation in (
        lambda: destination.put(key, b""),
        lambda: destination.open_writer(key),
        lambda: destination.open_reader(key),
        lambda: destination.head(key),
        lambda: destination.delete(key),
        lambda: destination.move(ObjectInfo(key, 0, ""), "target"),
    ):
        with pytest.raises(InvalidKey):
            operation()
    assert not root.exists()


def test_uri_is_the_percent_encoded_path(tmp_path: Path) -> None:
    path = tmp_path / "ü %2F?#"
    uri = open_local(LocalConfig(path=str(path)), DestinationContext(Path("/"))).uri
    assert uri.endswith("/%C3%BC%20%252F%3F%23/")
    assert unquote(urlsplit(uri).path) == f"{path}/"


def test_relative_path_starts_at_the_configuration_and_tilde_is_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    context = DestinationContext(tmp_path / "config")
    assert open_local(LocalConfig(path="../out/x"), context).uri == f"file://{tmp_path}/out/x/"
    assert open_local(LocalConfig(path="~/x"), context).uri == f"file://{tmp_path}/home/x/"
    with pytest.raises(ConfigError, match="home"):
        open_local(LocalConfig(path="~no-such-user/x"), context)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_paths_that_cannot_be_are_refused_by_the_configuration(path: str) -> None:
    with pytest.raises(ValidationError, match="path"):
        LocalConfig(path=path)


def test_nothing_is_created_before_the_first_write(destination: LocalDestination, root: Path) -> None:
    assert destination.head("a") is None
    assert keys(destination) == []
    assert list(destination.pending_uploads()) == []
    destination.delete("a")
    destination.abort_upload(PendingUpload("a", ".rivet-tmp-0123456789abcdef-a"))
    with pytest.raises(NotFound):
        destination.open_reader("a")
    assert all(check.status == "ok" for check in destination.check())
    assert not root.parent.exists()


def test_writer_shows_nothing_until_commit_and_everything_after(destination: LocalDestination) -> None:
    pieces = [os.urandom(1 << 20), memoryview(bytearray(b"tail")), b"", bytearray(b"!")]
    with destination.open_writer("a/b") as writer:
        for piece in pieces:
            assert writer.write(piece) == len(piece)
        assert destination.head("a/b") is None
        assert keys(destination) == []
        info = writer.commit()
    assert info.size_bytes == (1 << 20) + 5
    assert read(destination, "a/b") == b"".join(pieces)
    assert list(destination.pending_uploads()) == []
    assert info.modified is not None
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=1)


def test_leaving_a_writer_discards_it(destination: LocalDestination, root: Path) -> None:
    with destination.open_writer("a") as writer:
        writer.write(b"x")
    writer.abort()
    assert list(root.iterdir()) == []
    for use in (lambda: writer.write(b"x"), writer.commit):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_conditions_of_put(destination: LocalDestination) -> None:
    first = destination.put("m", b"1", condition=IfAbsent())
    with pytest.raises(PreconditionFailed, match="exists") as refused:
        destination.put("m", b"2", condition=IfAbsent())
    assert "look who else writes there" in refused.value.hint
    second = destination.put("m", b"2", condition=IfVersion(first.version))
    with pytest.raises(PreconditionFailed, match="changed"):
        destination.put("m", b"3", condition=IfVersion(first.version))
    assert read(destination, "m") == b"2"
    destination.put("m", b"4")
    assert read(destination, "m") == b"4"
    with pytest.raises(PreconditionFailed, match="deleted"):
        destination.put("gone", b"", condition=IfVersion(second.version))
    assert keys(destination) == ["m"]
    assert list(destination.pending_uploads()) == []


def test_same_bytes_written_twice_are_two_versions(destination: LocalDestination) -> None:
    first = destination.put("m", b"same")
    assert destination.put("m", b"same").version != first.version


def test_conditions_of_writers(destination: LocalDestination) -> None:
    write(destination, "a", b"1")
    with pytest.raises(PreconditionFailed):
        write(destination, "a", b"2")
    assert read(destination, "a") == b"1"
    write(destination, "a", b"3", if_absent=False)
    assert read(destination, "a") == b"3"
    assert list(destination.pending_uploads()) == []


def test_ranges_and_seeking(destination: LocalDestination) -> None:
    data = os.urandom(3 << 20)
    info = write(destination, "a", data)
    assert read(destination, "a", offset=5, length=7) == data[5:12]
    assert read(destination, "a", offset=len(data) - 3, length=100) == data[-3:]
    assert read(destination, "a", offset=len(data) + 3) == b""
    assert read(destination, "a", length=0) == b""
    assert read(destination, "a", offset=1 << 20, version=info.version) == data[1 << 20 :]
    with destination.open_reader("a", offset=10, length=100) as reader:
        assert reader.seek(-5, os.SEEK_END) == 95
        assert reader.read() == data[105:110]
        assert reader.seek(3) == 3
        assert reader.read(2) == data[13:15]
        assert reader.tell() == 5


def test_open_reader_stays_with_its_version(destination: LocalDestination) -> None:
    info = destination.put("a", b"old")
    with destination.open_reader("a", version=info.version) as reader:
        destination.put("a", b"new and longer")
        assert reader.read() == b"old"
    with pytest.raises(NotFound, match="expected version"):
        destination.open_reader("a", version=info.version)


def test_directory_and_named_pipe_are_no_objects(destination: LocalDestination, root: Path) -> None:
    write(destination, "d/x", b"")
    os.mkfifo(root / "pipe")
    assert keys(destination) == ["d/x"]
    for key in ("d", "pipe", "d/x/below"):
        assert destination.head(key) is None
        with pytest.raises(NotFound):
            destination.open_reader(key)
    for key in ("d", "pipe"):
        with pytest.raises(DestinationError, match="is no file"):
            write(destination, key, b"")
        with pytest.raises(DestinationError, match="is no file"):
            destination.put(key, b"")
    with pytest.raises(DestinationError, match="cannot write"):
        destination.put("d/x/below", b"")


def test_list_is_by_text_prefix_and_siblings_never_leak_in(destination: LocalDestination, tmp_path: Path) -> None:
    for key in ("orders/a", "orders/b/c", "orders_archive/a", "orders.txt", "part-1", "part-2"):
        destination.put(key, b"")
    sibling = open_local(LocalConfig(path=f"{tmp_path}/exports/orders_archive"), DestinationContext(Path("/")))
    sibling.put("part-9", b"")
    assert sorted(keys(destination, "orders/")) == ["orders/a", "orders/b/c"]
    assert sorted(keys(destination, "orders")) == ["orders.txt", "orders/a", "orders/b/c", "orders_archive/a"]
    assert keys(destination, "part-") == ["part-1", "part-2"]
    assert keys(destination, "orders/b/c") == ["orders/b/c"]
    assert keys(destination, "nothing/here") == []
    assert len(keys(destination)) == 6


def test_list_survives_what_disappears_meanwhile(destination: LocalDestination) -> None:
    for key in ("a", "b", "d/x", "e/y"):
        destination.put(key, b"")
    listing = destination.list()
    assert next(listing).key == "a"
    for key in ("b", "d/x"):
        destination.delete(key)
    assert [info.key for info in listing] == ["e/y"]


def test_list_hides_names_that_are_no_keys(destination: LocalDestination, root: Path) -> None:
    destination.put("a", b"")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"")
    assert keys(destination) == ["a"]


def test_copy_is_pinned_verified_and_never_overwrites(destination: LocalDestination) -> None:
    data = os.urandom(3 << 20)
    info = write(destination, "a", data)
    copied = destination.copy(info, "c/d")
    assert read(destination, "c/d") == data
    assert copied.size_bytes == info.size_bytes
    assert destination.head("c/d") == copied
    with pytest.raises(PreconditionFailed):
        destination.copy(info, "c/d")
    destination.put("a", b"other")
    for stale in (info, ObjectInfo("gone", 1, info.version)):
        with pytest.raises(NotFound):
            destination.copy(stale, "e")
    assert destination.head("e") is None
    assert list(destination.pending_uploads()) == []


def test_copy_of_a_wrong_size_is_an_integrity_error(destination: LocalDestination) -> None:
    info = destination.put("a", b"abc")
    with pytest.raises(IntegrityError, match="3 of 4 bytes"):
        destination.copy(ObjectInfo("a", 4, info.version), "b")
    assert keys(destination) == ["a"]


def test_copy_works_where_the_kernel_cannot(destination: LocalDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    data = os.urandom((1 << 20) + 1)
    destination.copy(write(destination, "a", data), "b")
    assert read(destination, "b") == data


def test_move_keeps_the_version_and_never_overwrites(destination: LocalDestination) -> None:
    info = destination.put("a", b"1")
    moved = destination.move(info, "_quarantine/run/a")
    assert moved == destination.head("_quarantine/run/a")
    assert moved.version == info.version
    assert destination.head("a") is None
    again = destination.put("a", b"2")
    with pytest.raises(PreconditionFailed):
        destination.move(again, "_quarantine/run/a")
    for stale in (info, ObjectInfo("gone", 1, info.version)):
        with pytest.raises(NotFound):
            destination.move(stale, "x")
    assert read(destination, "a") == b"2"
    assert read(destination, "_quarantine/run/a") == b"1"


def test_delete_takes_only_its_version(destination: LocalDestination) -> None:
    info = destination.put("a", b"1")
    destination.put("a", b"2")
    destination.delete("a", version=info.version)
    assert read(destination, "a") == b"2"
    destination.delete("a")
    destination.delete("a")
    assert keys(destination) == []


def test_pending_uploads_name_key_size_and_age_and_can_be_aborted(destination: LocalDestination) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    writers = [destination.open_writer("a"), destination.open_writer("d/" + "é" * 100)]
    for writer in writers:
        writer.write(b"123")
    pending = list(destination.pending_uploads())
    assert [upload.key for upload in pending] == ["a", "d/" + "é" * 100]
    assert {upload.size_bytes for upload in pending} == {3}
    assert all(upload.started is not None and upload.started > before for upload in pending)
    assert keys(destination) == []
    for upload in pending:
        destination.abort_upload(upload)
        destination.abort_upload(upload)
    assert list(destination.pending_uploads()) == []
    with pytest.raises(NotFound):
        writers[0].commit()
    writers[1].abort()
    assert keys(destination) == []


@pytest.mark.parametrize("upload_id", ["a", "../.rivet-tmp-1", ".rivet-tmp-lock", "/.rivet-tmp-1"])
def test_abort_upload_removes_nothing_else(destination: LocalDestination, root: Path, upload_id: str) -> None:
    destination.put("a", b"")
    (root.parent / ".rivet-tmp-1").write_bytes(b"")
    with pytest.raises(InvalidKey):
        destination.abort_upload(PendingUpload("a", upload_id))
    assert keys(destination) == ["a"]
    assert (root.parent / ".rivet-tmp-1").exists()


def test_modification_in_place_changes_the_version(destination: LocalDestination, root: Path) -> None:
    info = destination.put("a", b"abc")
    time.sleep(0.02)  # a clock tick of the file system
    with (root / "a").open("r+b") as file:
        file.write(b"x")
    changed = destination.head("a")
    assert changed is not None
    assert changed.version != info.version
