"""How objects come to be: ``put`` and ``open_writer``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from rivet_core.api import Destination, NotFound, PreconditionFailed
from rivet_core.contract.keys import check_key
from rivet_core.testing.catalog import proves
from rivet_core.testing.destination.objects import content, digest, keys, read, write
from rivet_core.testing.harness import Harness

PART = "part-000001.parquet"

#: Keys that Rivet lets through. Each name says what is odd about it.
ODD_KEYS = {
    "unicode": "ünï/日本/😀.csv",
    "decomposed": "u\u0308ber.csv",
    "spaces": "with space/ leading and trailing .csv",
    "percent": "%2F/%2e%2e/a%00b/100%",
    "plus": "a+b/c%2Bd",
    "url": "a?b=c&d#e;f,g@h:i!$'()*[]",
    "shell": "-rf/--/`$(x)`/'\"|<>{}~^",
    "dots": "..a/b../.hidden/...",
    "looks_like_two": "a/b.c/a/b.c",
    "upper": "A/a/É",
}
LONG_KEYS = {
    "segment": "a" * 200 + "/" + "é" * 100,
    "whole": "/".join(["k" * 99] * 9),
}
for _key in (*ODD_KEYS.values(), *LONG_KEYS.values()):
    check_key(_key)


class WriteTests:
    """``put``, ``open_writer`` and the keys that both take."""

    @proves(
        "D-KEY-1",
        breaks="a table or a partition whose name is not plain ASCII could not be exported, or would land elsewhere",
        hint="encode the key once where your SDK wants a URL, and never decode one that Rivet gave you",
    )
    @pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS)
    def test_odd_keys_work_in_every_operation(
        self, store: Destination, harness: Harness, prefix: str, key: str
    ) -> None:
        _use_everywhere(store, harness, prefix, key)

    @proves(
        "D-KEY-2",
        breaks="long but valid names would fail in the middle of a run",
        hint="segments have up to 200 bytes and keys up to 900; keep names that you add to them short",
    )
    @pytest.mark.parametrize("key", LONG_KEYS.values(), ids=LONG_KEYS)
    def test_long_keys_work_in_every_operation(
        self, store: Destination, harness: Harness, prefix: str, key: str
    ) -> None:
        _use_everywhere(store, harness, prefix, key)

    @proves(
        "D-PUT-1",
        breaks="manifests and markers would not say what Rivet wrote",
        hint="put writes exactly the bytes that it gets, and returns key and size of the object",
    )
    @pytest.mark.parametrize("data", [b"{}\n", b"", bytes(range(256)) * 4096], ids=["text", "empty", "1_MiB"])
    def test_put_writes_the_bytes(self, store: Destination, harness: Harness, prefix: str, data: bytes) -> None:
        info = store.put("manifest.json", data)
        assert (info.key, info.size_bytes) == ("manifest.json", len(data))
        assert digest(harness.get(prefix, "manifest.json")) == digest(data)
        assert digest(read(store, "manifest.json")) == digest(data)

    @proves(
        "D-PUT-2",
        breaks="a run could not replace the manifest of the run before, or readers would go on with the old one",
        hint="put without a condition overwrites, and every later read sees the new object: no cache may be in between",
    )
    def test_put_overwrites_and_is_seen_at_once(self, store: Destination, harness: Harness, prefix: str) -> None:
        old = store.put("_SUCCESS", b"a longer old content")
        assert read(store, "_SUCCESS") == b"a longer old content"
        new = store.put("_SUCCESS", b"new")
        assert harness.get(prefix, "_SUCCESS") == b"new"
        assert read(store, "_SUCCESS") == b"new", "a read after the overwrite returned stale bytes"
        assert store.head("_SUCCESS") == new, "a head after the overwrite was stale"
        assert list(store.list()) == [new], "a listing after the overwrite was stale"
        assert new.version != old.version, "objects with different content have the same version"

    @proves(
        "D-PUT-3",
        breaks="two states of an object could not be told apart, and one writer would overwrite another's",
        hint="the version is the store's own token of this state: ETag, generation, or inode, time and size",
    )
    def test_put_of_another_content_is_another_version(self, store: Destination) -> None:
        versions = [store.put("manifest.json", data).version for data in (b"1", b"2", b"3")]
        assert len(set(versions)) == 3, f"three contents, versions {versions}"

    @proves(
        "D-WRITE-1",
        breaks="a reader could load half a part",
        hint="nothing is visible at the key before commit: write to a temporary place, or to an upload that is "
        "completed by commit",
    )
    def test_writer_shows_nothing_before_commit(self, store: Destination, harness: Harness, prefix: str) -> None:
        data = content(1_000_000)
        with store.open_writer(PART) as writer:
            for visible in (False, True):
                assert harness.get(prefix, PART) is None, "raw access sees the object before commit"
                assert store.head(PART) is None, "head sees the object before commit"
                assert keys(store) == [], "list sees the object before commit"
                if not visible:
                    writer.write(data)
            writer.commit()
        assert digest(harness.get(prefix, PART)) == digest(data)

    @proves(
        "D-WRITE-2",
        breaks="parts would be damaged where the encoder's pieces happen to have an unusual size or type",
        hint="take bytes, bytearray and memoryview of any length; copy what you keep, the caller reuses its buffer "
        "as soon as write returns; return the length in bytes",
    )
    def test_writer_takes_any_piece(self, store: Destination, harness: Harness, prefix: str) -> None:
        written = bytearray()
        with store.open_writer(PART) as writer:
            for size in (1, 0, 91, 65_536, 1_000_003):
                buffer = bytearray(content(size, seed=size))
                written += buffer
                assert writer.write(buffer) == size
                buffer[:] = bytes(size)
            assert writer.write(memoryview(b"view")) == 4
            assert writer.write(memoryview(bytes(8)).cast("Q")) == 8, "write returns bytes, not items"
            info = writer.commit()
        written += b"view" + bytes(8)
        assert info.size_bytes == len(written)
        assert digest(harness.get(prefix, PART)) == digest(bytes(written))

    @proves(
        "D-WRITE-3",
        breaks="large tables would lose rows at the seams or at the end of an upload in several requests",
        hint="send the last piece, whatever its size, before you complete the upload, and the pieces in order",
    )
    def test_writer_keeps_every_byte_of_a_large_object(self, store: Destination, harness: Harness, prefix: str) -> None:
        data = content(harness.large_bytes + 12_345)
        info = write(store, PART, (data[start : start + 700_001] for start in range(0, len(data), 700_001)))
        assert digest(harness.get(prefix, PART)) == digest(data)
        assert (info.key, info.size_bytes) == (PART, len(data))
        assert store.head(PART) == info, "head differs from what commit returned"

    @proves(
        "D-WRITE-4",
        breaks="an export without rows, or one whose size is exactly that of a request, would fail",
        hint="commit completes an upload without any piece, and one whose last piece was just sent",
    )
    @pytest.mark.parametrize("size", [0, 1, 1 << 20, 5 << 20, 8 << 20], ids=["0", "1", "1_MiB", "5_MiB", "8_MiB"])
    def test_writer_takes_any_size(self, store: Destination, harness: Harness, prefix: str, size: int) -> None:
        data = content(size)
        assert write(store, PART, [data]).size_bytes == size
        assert digest(harness.get(prefix, PART)) == digest(data)

    @proves(
        "D-WRITE-5",
        breaks="a run that failed would leave a part that looks complete",
        hint="leaving the writer without commit aborts the upload: never complete it in close, __exit__ or __del__",
    )
    def test_writer_left_without_commit_leaves_nothing(self, store: Destination, harness: Harness, prefix: str) -> None:
        with store.open_writer("left") as writer:
            writer.write(content(100_000))
        with suppress(ZeroDivisionError), store.open_writer("raised") as writer:
            writer.write(content(100_000))
            raise ZeroDivisionError
        aborted = store.open_writer("aborted")
        aborted.write(content(100_000))
        aborted.abort()
        aborted.abort()
        assert keys(store) == [], "objects are visible that were never committed"
        assert list(harness.list(prefix)) == [], "raw access sees objects that were never committed"
        assert list(store.pending_uploads()) == [], "an abort has left its upload behind"

    @proves(
        "D-WRITE-6",
        breaks="a finished part would be deleted when its writer is closed",
        hint="abort does nothing after commit; leaving the with block calls it",
    )
    def test_abort_after_commit_does_nothing(self, store: Destination, harness: Harness, prefix: str) -> None:
        with store.open_writer(PART) as writer:
            writer.write(b"x")
            writer.commit()
            writer.abort()
        assert harness.get(prefix, PART) == b"x"

    @proves(
        "D-WRITE-7",
        breaks="two runs could overwrite each other's parts, and a certified dataset would change",
        hint="with if_absent a key that is taken is PreconditionFailed, at open_writer or at commit, and the object "
        "at the key stays as it is",
    )
    def test_writer_never_takes_over_a_key(self, store: Destination, harness: Harness, prefix: str) -> None:
        harness.put(prefix, PART, b"theirs")
        with pytest.raises(PreconditionFailed):
            write(store, PART, [b"ours"])
        assert harness.get(prefix, PART) == b"theirs"
        assert list(store.pending_uploads()) == [], "the upload that was refused is still pending"

    @proves(
        "D-WRITE-8",
        breaks="a writer that may replace an object would fail, or show a mixture of old and new",
        hint="with if_absent=False commit replaces the object, and until then the old one is there",
    )
    def test_writer_replaces_on_request(self, store: Destination, harness: Harness, prefix: str) -> None:
        harness.put(prefix, PART, b"the old one")
        with store.open_writer(PART, if_absent=False) as writer:
            writer.write(b"new")
            assert harness.get(prefix, PART) == b"the old one"
            writer.commit()
        assert harness.get(prefix, PART) == b"new"
        assert read(store, PART) == b"new"

    @proves(
        "D-WRITE-9",
        breaks="parallel workers would write into each other's parts",
        hint="keep the state of an upload in its writer, not in the destination",
    )
    def test_writers_do_not_mix(self, store: Destination, harness: Harness, prefix: str) -> None:
        data = {f"part-{number:06d}.parquet": content(2_000_000, seed=number) for number in (1, 2, 3)}
        writers = {key: store.open_writer(key) for key in data}
        for start in range(0, 2_000_000, 250_000):
            for key, writer in writers.items():
                writer.write(data[key][start : start + 250_000])
        for key, writer in reversed(writers.items()):
            assert writer.commit().key == key
        for key, expected in data.items():
            assert digest(harness.get(prefix, key)) == digest(expected)

    @proves(
        "D-WRITE-10",
        breaks="what a killed run has left would block the next one, or be taken for a part",
        hint="an upload that was begun and never completed is no object, and its key stays free",
    )
    def test_abandoned_writer_leaves_its_key_free(
        self, store: Destination, open_store: Callable[[str], Destination], harness: Harness, prefix: str
    ) -> None:
        abandoned = store.open_writer(PART)
        abandoned.write(content(harness.large_bytes))
        later = open_store(prefix)
        assert harness.get(prefix, PART) is None
        assert later.head(PART) is None
        assert keys(later) == []
        with pytest.raises(NotFound):
            later.open_reader(PART).close()
        write(later, PART, [b"the next run's"])
        assert harness.get(prefix, PART) == b"the next run's"
        abandoned.abort()
        assert harness.get(prefix, PART) == b"the next run's", "aborting the old upload has damaged the new object"


def _use_everywhere(store: Destination, harness: Harness, prefix: str, key: str) -> None:
    """Use one key in every operation, between siblings that differ from it in a byte at most."""
    store.put("sibling", b"sibling")
    info = store.put(key, b"put")
    assert info.key == key
    assert harness.get(prefix, key) == b"put"
    assert store.head(key) == info
    assert read(store, key) == b"put"
    assert keys(store) == sorted([key, "sibling"])
    assert keys(store, key) == [key]
    store.delete(key)
    assert harness.get(prefix, key) is None
    written = write(store, key, [b"written"])
    assert written.key == key
    assert harness.get(prefix, key) == b"written"
    assert store.copy(written, "copied").key == "copied"
    moved = store.move(written, "moved")
    assert store.move(moved, key).key == key
    assert sorted(harness.list(prefix)) == sorted([key, "sibling", "copied"])
