"""Proof without a download: CRC-32C where the store verifies it, else MD5 and ETag, and copies that keep it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from awscrt.checksums import crc32c

from rivet_core.api import Capabilities, DestinationError, IntegrityError, NotFound, PreconditionFailed
from rivet_s3 import copying
from servers.http_rules import Answer, CorruptUpload, Rewrite

PART = "part-000001.parquet"
CONTENT = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(12 << 15))  # 12 MiB
MIB = 1 << 20
CLAIMED = Capabilities(conditional_put=True, conditional_writer=True, checksum=("crc32c", "verified"))


def write(store: Any, content: bytes = CONTENT, key: str = PART) -> Any:
    with store.open_writer(key) as writer:
        for start in range(0, len(content), MIB):
            writer.write(content[start : start + MIB])
        return writer.commit()


@pytest.mark.parametrize("size", [0, 1000, 12 * MIB])
def test_the_checksum_is_of_the_whole_content_and_in_head(place: Any, connect: Any, size: int) -> None:
    store = connect(place, part_size="5MiB")
    info = write(store, CONTENT[:size])
    expected = {"crc32c": f"{crc32c(CONTENT[:size]):08x}"}
    assert info.checksums == expected
    assert store.head(PART).checksums == expected
    assert place.head(PART).get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_a_store_without_checksums_is_proven_by_md5_and_etag(
    moto_place: Any, moto_proxy: Any, connect: Any, size: int
) -> None:
    store = connect(moto_place, through=moto_proxy, part_size="5MiB")
    info = write(store, CONTENT[:size])
    assert moto_place.get(PART) == CONTENT[:size]
    pieces = [CONTENT[:size][start : start + 5 * MIB] for start in range(0, size, 5 * MIB)]
    md5s = [hashlib.md5(piece).digest() for piece in pieces]
    whole = hashlib.md5(b"".join(md5s)).hexdigest() + f"-{len(md5s)}" if len(md5s) > 1 else md5s[0].hex()
    assert info.version == whole
    assert info.checksums == {}
    assert store.head(PART) == info
    assert store.capabilities(CLAIMED).checksum is None
    sent = [exchange for exchange in moto_proxy.exchanges if exchange.method == "PUT" and PART in exchange.path]
    assert all("content-md5" in exchange.headers for exchange in sent)
    assert not any(name.startswith("x-amz-checksum") for exchange in sent for name in exchange.headers)


@pytest.mark.parametrize("size", [1000, 12 * MIB], ids=["small", "large"])
def test_a_store_that_keeps_other_bytes_is_found_out(moto_place: Any, moto_proxy: Any, connect: Any, size: int) -> None:
    """Moto compares neither MD5 nor checksums: it acknowledges whatever has arrived, by its ETag."""
    store = connect(moto_place, through=moto_proxy, part_size="5MiB")
    store.capabilities(CLAIMED)
    rule = moto_proxy.on(lambda exchange: exchange.method == "PUT", CorruptUpload(500))
    with pytest.raises(IntegrityError) as caught:
        write(store, CONTENT[:size])
    assert rule.fired == 1
    assert "checksum: off" in caught.value.hint or "damaged" in caught.value.hint
    assert moto_place.uploads() == []


def test_an_answer_that_tells_another_checksum_is_found_out(place: Any, connect: Any, proxy: Any) -> None:
    """As a store would that keeps other bytes than it has verified."""
    store = connect(place, through=proxy, part_size="5MiB")
    head = store.put("same", CONTENT[:1000])
    lying = Answer(200, {"ETag": f'"{head.version}"', "x-amz-checksum-crc32c": "AAAAAA=="})
    rule = proxy.on(lambda exchange: exchange.method == "PUT", lying)
    with pytest.raises(IntegrityError, match="acknowledges other bytes"):
        store.put("other", CONTENT[:1000])
    assert rule.fired == 1


def test_checksum_required_refuses_a_store_without(moto_place: Any, connect: Any) -> None:
    store = connect(moto_place, checksum="required")
    with pytest.raises(DestinationError, match="CRC-32C") as caught:
        write(store)
    assert "checksum: auto" in caught.value.hint
    assert moto_place.names() == []


def test_checksum_off_compares_the_size_only(place: Any, proxy: Any, connect: Any) -> None:
    store = connect(place, through=proxy, part_size="5MiB", checksum="off")
    write(store)
    write(store, CONTENT[:1000], "small")
    assert place.get(PART) == CONTENT
    assert store.capabilities(CLAIMED).checksum is None
    sent = {name for exchange in proxy.exchanges for name in exchange.headers}
    assert not {name for name in sent if name.startswith("x-amz-checksum-crc") or name == "content-md5"}


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_what_is_found_out_about_a_store_leaves_nothing(place: Any, moto_place: Any, connect: Any, server: str) -> None:
    there = place if server == "seaweedfs" else moto_place
    found = connect(there).capabilities(CLAIMED)
    assert there.names() == []
    assert found.conditional_put
    assert (found.checksum is not None) == (server == "seaweedfs")
    assert not found.conditional_writer  # which no request shows that leaves nothing
    assert connect(there, conditional_writes="required").capabilities(CLAIMED).conditional_writer
    assert not connect(there, conditional_writes="off").capabilities(CLAIMED).conditional_put


@pytest.mark.parametrize("large", [False, True], ids=["one request", "parts"])
def test_a_copy_keeps_bytes_checksum_and_metadata(
    place: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """A real limit of 5 GiB would take minutes, so it is lowered: the requests are the same."""
    if large:
        monkeypatch.setattr(copying, "LARGEST_SINGLE_COPY", 6 * MIB)
        monkeypatch.setattr(copying, "COPIED_PART_BYTES", 5 * MIB)
    store = connect(place, part_size="5MiB", metadata={"owner": "exports"})
    source = write(store)
    copied = store.copy(source, "copied")
    assert place.get("copied") == CONTENT
    assert copied.checksums == source.checksums
    assert store.head("copied") == copied
    assert place.head("copied")["Metadata"] == {"owner": "exports"}
    assert place.uploads() == []
    with pytest.raises(PreconditionFailed):
        store.copy(source, "copied")
    place.put(PART, b"another")
    with pytest.raises(NotFound):
        store.copy(source, "again")


def test_a_copy_in_parts_that_fails_leaves_nothing(
    place: Any, proxy: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> None:
    monkeypatch.setattr(copying, "LARGEST_SINGLE_COPY", 6 * MIB)
    monkeypatch.setattr(copying, "COPIED_PART_BYTES", 5 * MIB)
    store = connect(place, through=proxy)
    source = write(store)
    rule = proxy.always(lambda exchange: exchange.query.get("partNumber") == "2", Answer(500))
    with pytest.raises(DestinationError):
        store.copy(source, "copied")
    assert rule.fired
    assert place.names() == [PART]
    assert place.uploads() == []


def test_a_source_that_changes_during_a_copy_in_parts_is_not_found(
    place: Any, proxy: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "LARGEST_SINGLE_COPY", 6 * MIB)
    monkeypatch.setattr(copying, "COPIED_PART_BYTES", 5 * MIB)
    store = connect(place, through=proxy)
    source = write(store)

    def change(headers: dict[str, str]) -> dict[str, str]:
        place.put(PART, b"another")
        return headers

    rule = proxy.on(lambda exchange: exchange.query.get("partNumber") == "1", Rewrite(change))
    with pytest.raises(NotFound):
        store.copy(source, "copied")
    assert rule.fired == 1
    assert place.names() == [PART]
    assert place.uploads() == []
