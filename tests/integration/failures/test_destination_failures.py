"""A disk that is full, a directory that cannot be written, links that lead out: one clear error, nothing half-done."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from integration.failures.command import Workspace, finish, mount_or_skip, sqlite_table

SOURCE = {"type": "sqlite", "database": "shop.db"}


@pytest.fixture
def large(published: Workspace) -> Workspace:
    """A published dataset, and a new one of 4 MB to put in its place."""
    sqlite_table(published.directory / "shop.db", "INSERT INTO orders VALUES (3, hex(randomblob(2000000)))")
    published.configure(SOURCE, {"table": "orders", "compression": "none"})
    return published


def test_full_disk(large: Workspace, tmp_path: Path) -> None:
    before, out, kept = large.output(), shlex.quote(str(large.out)), shlex.quote(str(tmp_path / "kept"))
    *inside, script = mount_or_skip(
        f"cp -a {out} {kept}", f"mount -t tmpfs -o size=1m tmpfs {out}", f"cp -a {kept}/. {out}", f"rm -r {kept}"
    )
    # The mount goes with the command, so what is in it afterwards is copied out.
    keep = f"{script}; cp -a {out} {kept}; exit $code"
    finish(large.start("run", inside=[*inside, keep, "sh"])).failed(1, "R410", "No space left", hint="free some space")
    large.out = tmp_path / "kept"
    assert large.output() == before


def test_full_disk_behind_a_redirection(workspace: Workspace) -> None:
    sqlite_table(workspace.directory / "shop.db", "CREATE TABLE orders (id INTEGER)", "INSERT INTO orders VALUES (1)")
    workspace.configure(SOURCE, {"table": "orders", "format": "csv", "destination": {"type": "stdout"}})
    with Path("/dev/full").open("wb") as full:
        finished = finish(workspace.start("run", stdout=full))
    assert finished.err.startswith("orders: failed in ")
    assert finished.err.count("\n") == 3
    assert "error[R410]: cannot write to the standard output: No space left on device\nhint: free" in finished.err
    assert finished.exit_code == 1


def test_read_only_mount(large: Workspace) -> None:
    before, out = large.output(), shlex.quote(str(large.out))
    *inside, script = mount_or_skip(f"mount --bind {out} {out}", f"mount -o remount,ro,bind {out}")
    refused = finish(large.start("run", inside=[*inside, f"{script}; exit $code", "sh"]))
    refused.failed(1, "R403", "Read-only file system", hint="read-only")
    assert large.output() == before


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "file").write_text("theirs")
    return directory


@pytest.mark.parametrize("name", ["_SUCCESS", "manifest.json", "part-000002.parquet"])
def test_link_out_of_the_root_is_not_followed(large: Workspace, outside: Path, name: str) -> None:
    (large.out / name).unlink(missing_ok=True)
    (large.out / name).symlink_to(outside / "file")
    before = large.output()
    large.rivet("run").failed(1, "R403", name, "symbolic link", hint="replace the link")
    assert large.output() == before
    assert [path.read_text() for path in outside.iterdir()] == ["theirs"]


def test_quarantine_that_leads_out_is_not_used(large: Workspace, outside: Path) -> None:
    (large.out / "_quarantine").symlink_to(outside)
    finished = large.rivet("run", "--json")
    assert finished.exit_code == 0
    assert finished.document["runs"][0]["quarantined"] == []
    assert "part-000001.parquet could not be moved to quarantine" in finished.document["runs"][0]["warnings"][0]
    assert "warning: " in finished.err
    assert [row["id"] for row in large.rows()] == [1, 2, 3]
    assert [path.name for path in outside.iterdir()] == ["file"]
