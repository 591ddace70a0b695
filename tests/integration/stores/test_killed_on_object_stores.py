"""Chunked, parallel exports to real object stores, killed at many instants and resumed: never a wrong dataset."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crash import observer
from servers.azurite import Azurite, azurite_server
from servers.fake_gcs import fake_gcs_server
from servers.gcs import GcsServer
from servers.required import serve
from servers.seaweedfs import SeaweedFS, seaweedfs_server

RIVET = str(Path(sys.executable).with_name("rivet"))
PREFIX = "exports/orders/"
ROWS = 4000
KILLS = 6


@dataclass(frozen=True)
class Store:
    """A place for an export, and every object there by its key, read without Rivet."""

    destination: dict[str, object]
    objects: Callable[[], dict[str, bytes]]
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seaweedfs() -> Iterator[SeaweedFS]:
    yield from serve(seaweedfs_server())


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    yield from serve(azurite_server())


@pytest.fixture(scope="module")
def gcs() -> Iterator[GcsServer]:
    yield from serve(fake_gcs_server())


@pytest.fixture
def s3_store(seaweedfs: SeaweedFS) -> Store:
    bucket = seaweedfs.create_bucket()

    def objects() -> dict[str, bytes]:
        with closing(seaweedfs.client()) as client:
            listed = client.list_objects_v2(Bucket=bucket, Prefix=PREFIX).get("Contents", [])
            return {item["Key"]: client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read() for item in listed}

    keys = {"KEY": seaweedfs.admin.access_key, "SECRET": seaweedfs.admin.secret_key}
    fields = {"endpoint": seaweedfs.endpoint, "access_key_env": "KEY", "secret_key_env": "SECRET"}
    return Store({"type": "s3", "bucket": bucket, **fields}, objects, keys)


@pytest.fixture
def gcs_store(gcs: GcsServer) -> Store:
    bucket = gcs.create_bucket()

    def objects() -> dict[str, bytes]:
        with closing(gcs.client()) as client:
            return {blob.name: blob.download_as_bytes() for blob in client.list_blobs(bucket, prefix=PREFIX)}

    return Store({"type": "gcs", "bucket": bucket, "endpoint": gcs.endpoint, "allow_anonymous": True}, objects)


@pytest.fixture
def azure_store(azurite: Azurite) -> Store:
    bucket = azurite.create_container()

    def objects() -> dict[str, bytes]:
        with azurite.client() as client, client.get_container_client(bucket) as container:
            names = [blob.name for blob in container.list_blobs(name_starts_with=PREFIX)]
            return {name: container.download_blob(name).readall() for name in names}

    fields = {"account_name": azurite.account_name, "endpoint": azurite.endpoint, "account_key_env": "KEY"}
    return Store({"type": "azure", "bucket": bucket, **fields}, objects, {"KEY": azurite.account_key})


class Export:
    """A table and its export in a directory of its own."""

    def __init__(self, directory: Path, store: Store) -> None:
        self._directory = directory
        self._store = store
        export = {"name": "orders", "table": "orders", "mode": "chunked", "chunk_size": 500, "parallel": 2}
        destination = {**store.destination, "prefix": PREFIX}
        content = {
            "source": {"type": "sqlite", "database": "shop.db"},
            "exports": [{**export, "destination": destination}],
        }
        (directory / "rivet.yaml").write_text(json.dumps(content))  # JSON is YAML

    def change_rows(self, generation: int) -> list[dict[str, object]]:
        """Write every row anew and return them."""
        rows = [(number, f"{generation} {number} " + "x" * 50) for number in range(ROWS)]
        with closing(sqlite3.connect(self._directory / "shop.db")) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, note TEXT)")
            connection.execute("DELETE FROM orders")
            connection.executemany("INSERT INTO orders VALUES (?, ?)", rows)
        return [{"id": number, "note": note} for number, note in rows]

    def run(self, *options: str, kill_after: float | None = None) -> int:
        """Run it, or kill it after so many seconds; returns the exit code."""
        process = subprocess.Popen(
            [RIVET, "run", *options],
            cwd=self._directory,
            env={**os.environ, **self._store.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            out, _ = process.communicate(timeout=60 if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
        if kill_after is None:
            assert process.returncode == 0, out
        return process.returncode

    def certified(self, mirror: Path) -> observer.Dataset | None:
        """Copy the prefix to a directory and prove what ``_SUCCESS`` certifies there."""
        for key, data in self._store.objects().items():
            path = mirror / key.removeprefix(PREFIX)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return observer.check(mirror)


@pytest.mark.parametrize("name", ["s3_store", "gcs_store", "azure_store"])
def test_a_killed_export_is_resumed(request: pytest.FixtureRequest, tmp_path: Path, name: str):
    store: Store = request.getfixturevalue(name)
    export = Export(tmp_path, store)
    before = export.change_rows(0)
    export.run()
    started = time.monotonic()
    export.run()
    whole = time.monotonic() - started
    killed: list[int] = []
    for number in range(1, KILLS + 1):
        rows = export.change_rows(number)
        killed.append(export.run(kill_after=whole * (0.25 + 0.75 * number / KILLS)))
        found = export.certified(tmp_path / f"killed-{number}")
        assert found is not None
        assert found.rows() in (before, rows), f"after kill {number}"
        export.run("--resume", "--force")
        final = export.certified(tmp_path / f"resumed-{number}")
        assert final is not None
        assert final.rows() == rows, f"resumed after kill {number}"
        left = {path.name for path in (tmp_path / f"resumed-{number}").glob("part-*")}
        assert left == {part.name for part in final.parts}, f"after kill {number} parts of no dataset are left"
        before = rows
    assert -9 in killed, "no run was killed"


def test_the_witness_sees_a_missing_part(tmp_path: Path, s3_store: Store):
    export = Export(tmp_path, s3_store)
    export.change_rows(0)
    export.run()

    def without_a_part() -> dict[str, bytes]:
        objects = s3_store.objects()
        objects.pop(next(key for key in objects if "part-" in key))
        return objects

    lossy: Any = Export(tmp_path, Store(s3_store.destination, without_a_part))
    with pytest.raises(AssertionError, match=r"M[15]: "):
        lossy.certified(tmp_path / "mirror")


@pytest.mark.parametrize("name", ["s3_store", "gcs_store", "azure_store"])
@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_an_incremental_export_reads_its_parts_back(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, format_: str
):
    store: Store = request.getfixturevalue(name)
    export = {"name": "orders", "table": "orders", "mode": "incremental", "cursor_column": "version", "format": format_}
    content = {
        "source": {"type": "sqlite", "database": "shop.db"},
        "exports": [{**export, "lag": 5, "destination": {**store.destination, "prefix": PREFIX}}],
    }
    (tmp_path / "rivet.yaml").write_text(json.dumps(content))

    def run(*rows: tuple[int, str, int]) -> tuple[int, bool]:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, note TEXT, version INTEGER)")
            connection.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", rows)
        done = subprocess.run(
            [RIVET, "run", "--validate", "--json"],
            cwd=tmp_path,
            env={**os.environ, **store.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done
        (result,) = json.loads(done.stdout)["runs"]
        return result["new_rows"], result["unchanged"]

    assert run((1, "a", 10), (2, "b", 20)) == (2, False)
    assert run((3, "tied", 20), (4, "late", 16), (1, "changed", 30)) == (3, False)
    before = store.objects()
    assert run() == (0, True)
    (tmp_path / ".rivet_state.db").unlink()
    assert run() == (0, True)
    assert store.objects() == before
    assert run((5, "tied", 30)) == (1, False)
