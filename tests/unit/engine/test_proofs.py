"""How deep a look at a part goes: version, checksum, HEAD, and the bytes only where nothing cheaper tells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from rivet_core.api import ObjectInfo
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.manifest import Part, decode
from rivet_core.engine.proof import Comparison, compare_part, prove_part
from rivet_core.engine.verify import Depth, VerifyReport, verify_store
from rivet_local.destination import LocalDestination
from rivet_local.objects import LocalWriter
from unit.engine.shop import Shop

CONTENT = b"forty-two rows"
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA1 = hashlib.sha1(CONTENT).hexdigest()
KEY = "part-000001.csv"


class Store(LocalDestination):
    """A directory whose listing and HEAD say what the test lets them say, and which counts what it is asked.

    Attributes:
        listed: what LIST says of every object instead of the truth; ``headed`` the same of HEAD.
        asked: what else it was asked for.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listed: Mapping[str, Any] = {}
        self.headed: Mapping[str, Any] = {}
        self.asked: list[str] = []

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return (replace(info, **self.listed) for info in super().list(prefix))

    def head(self, key: str) -> ObjectInfo | None:
        self.asked.append(f"head {key}")
        found = super().head(key)
        return None if found is None else replace(found, **self.headed)

    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
    ) -> BinaryIO:
        self.asked.append(f"read {key}")
        return super().open_reader(key, offset=offset, length=length)  # the version may be one of the test's


@pytest.fixture
def counted(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.put(KEY, CONTENT)
    return store


def part(**fields: Any) -> Part:
    return Part(
        part_id=1,
        path=KEY,
        rows=42,
        size_bytes=len(CONTENT),
        content_fingerprint=fingerprint(CONTENT),
        **{"version": "written", "checksums": {"md5": MD5}, **fields},
    )


def prove(store: Store, recorded: Part, *, reread: bool = False) -> tuple[Comparison, list[str]]:
    (listed,) = store.list()
    store.asked.clear()
    found = prove_part(store, recorded, listed, reread=reread)
    asked = [operation.partition(" ")[0] for operation in store.asked]
    assert compare_part(store, recorded, listed, reread=reread) == found.finding
    return found, asked


@pytest.mark.parametrize(
    ("listed", "headed", "proof", "asked"),
    [
        ({"version": "written"}, {}, "version", []),
        ({"version": "written", "checksums": {"md5": "0" * 32}}, {}, "version", []),
        ({"checksums": {"md5": MD5}}, {}, "checksum:md5", []),
        ({"checksums": {"md5": MD5, "sha1": SHA1, "crc32c": "00000000"}}, {}, "checksum:md5+sha1", []),
        ({}, {"checksums": {"md5": MD5}}, "checksum:md5", ["head"]),
        ({"checksums": {"crc32c": "00000000"}}, {"checksums": {"sha1": SHA1}}, "checksum:sha1", ["head"]),
        ({}, {"version": "written"}, "version", ["head"]),
        ({}, {"checksums": {"crc32c": "00000000"}}, "content", ["head", "read"]),
        ({}, {}, "content", ["head", "read"]),
    ],
)
def test_the_cheapest_look_that_tells_is_the_proof(
    counted: Store, listed: Mapping[str, Any], headed: Mapping[str, Any], proof: str, asked: list[str]
) -> None:
    counted.listed, counted.headed = listed, headed
    recorded = part(checksums={"md5": MD5, "sha1": SHA1})
    assert prove(counted, recorded) == (Comparison("same", proof, len(CONTENT)), asked)
    assert prove(counted, recorded, reread=True) == (Comparison("same", "content", len(CONTENT)), ["read"])


@pytest.mark.parametrize(
    ("listed", "headed", "finding", "asked"),
    [
        ({"size_bytes": 3}, {}, "size differs", []),
        ({"checksums": {"md5": "0" * 32}}, {}, "content differs", []),
        ({}, {"checksums": {"md5": "0" * 32}}, "content differs", ["head"]),
        ({}, {"size_bytes": 3}, "size differs", ["head"]),
    ],
)
def test_a_difference_is_found_by_the_same_look(
    counted: Store, listed: Mapping[str, Any], headed: Mapping[str, Any], finding: str, asked: list[str]
) -> None:
    counted.listed, counted.headed = listed, headed
    found, operations = prove(counted, part())
    assert (found.finding, found.proof, operations) == (finding, None, asked)


def test_other_bytes_of_the_same_size_are_found_by_reading(counted: Store) -> None:
    recorded = part(checksums={})
    counted.put(KEY, CONTENT.upper())
    assert prove(counted, recorded) == (Comparison("content differs", None, len(CONTENT)), ["head", "read"])


def test_a_part_that_goes_after_the_listing_is_missing(counted: Store) -> None:
    (listed,) = counted.list()
    counted.delete(KEY)
    for reread in (False, True):
        assert prove_part(counted, part(), listed, reread=reread) == Comparison("missing")
    assert prove_part(counted, part(), None) == Comparison("missing")


@pytest.fixture
def checksummed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A published prefix in a store that says an MD5 after a write and in HEAD, not in LIST, as S3 does."""
    commit = LocalWriter.commit
    digests: dict[str, str] = {}

    def commit_with_checksum(self: LocalWriter) -> ObjectInfo:
        info = commit(self)
        digests[info.key] = hashlib.md5((shop.out / info.key).read_bytes()).hexdigest()
        return replace(info, checksums={"md5": digests[info.key]})

    with monkeypatch.context() as patch:
        patch.setattr(LocalWriter, "commit", commit_with_checksum)
        shop.configure("{name: orders, table: orders, max_file_size: 1KiB, destination: {type: local, path: out}}")
        shop.source(
            "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n LIMIT 2000)"
            " INSERT INTO orders SELECT i, hex(randomblob(20)) FROM n"
        )
        shop.publish()
    recorded = {part.path: dict(part.checksums) for part in decode((shop.out / "manifest.json").read_bytes()).parts}
    assert recorded == {key: {"md5": digest} for key, digest in digests.items() if key.startswith("part-")}
    assert len(recorded) > 2

    class Checksummed(Store):
        def head(self, key: str) -> ObjectInfo | None:
            info = super().head(key)
            return None if info is None or key not in digests else replace(info, checksums={"md5": digests[key]})

    return Checksummed(shop.out)


def verify(store: Store, depth: Depth = "parts") -> VerifyReport:
    store.asked.clear()
    return verify_store(
        store, export="orders", depth=depth, rehash=False, format_of=lambda name: pytest.fail("nothing is decoded")
    )


def test_the_checksums_of_written_parts_reach_the_manifest_and_prove_a_moved_dataset(checksummed: Store) -> None:
    manifest = decode((Path(checksummed.uri.removeprefix("file://")) / "manifest.json").read_bytes())
    parts = [part.path for part in manifest.parts]
    report = verify(checksummed)
    assert report.proofs == {"version": len(parts)}
    assert not [asked for asked in checksummed.asked if "part-" in asked]

    checksummed.listed = checksummed.headed = {"version": "of the copy"}
    report = verify(checksummed)
    assert report.verdict.value == "verified"
    assert report.proofs == {"checksum:md5": len(parts)}
    assert report.to_json()["checks"] == [{"path": key, "proof": "checksum:md5"} for key in parts]
    assert sorted(asked for asked in checksummed.asked if "part-" in asked) == sorted(f"head {key}" for key in parts)

    assert verify(checksummed, "light").checks == ()
    assert not [asked for asked in checksummed.asked if "part-" in asked]
