"""What is done with objects that exist: read, ``head``, ``list``, ``copy``, ``move`` and ``delete``."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from rivet_core.api import Destination, NotFound, PreconditionFailed
from rivet_core.testing.catalog import proves
from rivet_core.testing.destination.objects import at_once, content, digest, keys, read, write
from rivet_core.testing.harness import Harness


class ObjectTests:
    """Objects are described as they are, and each operation touches the one object that is meant."""

    @proves(
        "D-READ-1",
        breaks="the footer of a Parquet file, and every range of a part, would be read from a wrong place",
        hint="offset counts from the start of the object and length ends the range; both together, too, and beyond "
        "the end there is nothing",
    )
    @pytest.mark.parametrize(
        ("offset", "length"),
        [(0, None), (5, 7), (0, 1), (0, 0), (99_990, 100), (99_999, None), (100_000, 5), (100_005, None), (1, 99_999)],
    )
    def test_reader_honours_ranges(
        self, store: Destination, harness: Harness, prefix: str, offset: int, length: int | None
    ) -> None:
        data = content(100_000)
        harness.put(prefix, "part", data)
        expected = data[offset:] if length is None else data[offset : offset + length]
        assert digest(read(store, "part", offset=offset, length=length)) == digest(expected)

    @proves(
        "D-READ-2",
        breaks="a part that is missing would look like one that cannot be read, or like an empty one",
        hint="a missing object is NotFound, raised by open_reader itself",
    )
    def test_reader_of_nothing_is_refused(self, store: Destination) -> None:
        with pytest.raises(NotFound):
            store.open_reader("absent").close()
        store.put("directory/below", b"x")
        with pytest.raises(NotFound):
            store.open_reader("directory").close()

    @proves(
        "D-READ-3",
        breaks="a manifest could be judged by bytes of the object that has replaced it",
        hint="with a version, open exactly that one (If-Match, generation), and raise NotFound if it is another now",
    )
    def test_reader_is_pinned_to_a_version(self, store: Destination) -> None:
        old = store.put("manifest.json", b"old")
        assert read(store, "manifest.json", version=old.version) == b"old"
        new = store.put("manifest.json", b"new")
        with pytest.raises(NotFound):
            store.open_reader("manifest.json", version=old.version).close()
        assert read(store, "manifest.json", version=new.version, offset=1) == b"ew"

    @proves(
        "D-READ-4",
        breaks="validating a large part would take as much memory as the part has",
        hint="read(n) returns at most n bytes and b'' at the end; a reader may be closed before its end",
    )
    def test_reader_reads_in_pieces(self, store: Destination, harness: Harness, prefix: str) -> None:
        data = content(3_000_000)
        harness.put(prefix, "part", data)
        with store.open_reader("part") as reader:
            pieces = list(iter(lambda: reader.read(65_521), b""))
        assert max(map(len, pieces)) <= 65_521
        assert digest(b"".join(pieces)) == digest(data)
        with store.open_reader("part") as reader:
            assert reader.read(10) == data[:10]

    @proves(
        "D-READ-5",
        breaks="damage done by somebody else would not be found",
        hint="look at the store at each call; a cache cannot know what others do",
    )
    def test_changes_by_others_are_seen(self, store: Destination, harness: Harness, prefix: str) -> None:
        store.put("part", b"ours")
        assert read(store, "part") == b"ours"
        before = store.head("part")
        harness.put(prefix, "part", b"their longer one")
        harness.put(prefix, "another", b"x")
        assert read(store, "part") == b"their longer one"
        after = store.head("part")
        assert after is not None
        assert after.size_bytes == 16
        assert before is not None
        assert after.version != before.version
        assert keys(store) == ["another", "part"]
        harness.delete(prefix, "part")
        assert store.head("part") is None
        assert keys(store) == ["another"]

    @proves(
        "D-HEAD-1",
        breaks="Rivet would find objects that are not there, or fail where it only asks",
        hint="head returns None for what is absent, for the directory of a key and for a key's beginning, and raises "
        "for nothing else but a failure",
    )
    def test_head_of_nothing_is_none(self, store: Destination) -> None:
        store.put("a/b/part", b"x")
        for absent in ("absent", "a", "a/b", "a/b/par", "a/b/part2", "part"):
            assert store.head(absent) is None, f"head({absent!r}) found something"

    @proves(
        "D-HEAD-2",
        breaks="a truncated part would pass for a complete one",
        hint="size_bytes is the size of the content as it is stored, of an empty object 0",
    )
    def test_sizes_are_right(self, store: Destination, harness: Harness, prefix: str) -> None:
        sizes = {"empty": 0, "small": 3, "large": 3_000_001}
        for key, size in sizes.items():
            harness.put(prefix, key, content(size))
        assert {key: info.size_bytes for key in sizes if (info := store.head(key))} == sizes
        assert {info.key: info.size_bytes for info in store.list()} == sizes

    @proves(
        "D-HEAD-3",
        breaks="Rivet would think that an object has changed which has not, and refuse to publish",
        hint="the version of an object is the same wherever it comes from: put, commit, head, list; its form, too "
        "(quotes around an ETag)",
    )
    def test_versions_are_the_same_everywhere(self, store: Destination) -> None:
        put, written = store.put("put", b"x"), write(store, "written", [b"y"])
        for made in (put, written, store.copy(put, "copied")):
            head = store.head(made.key)
            assert head is not None
            (listed,) = store.list(made.key)
            assert made.version == head.version == listed.version
            assert made.version
            assert head.modified is None or head.modified.tzinfo is not None, "modified has no time zone"
        assert store.head("put") == store.head("put")

    @proves(
        "D-HEAD-4",
        breaks="a checksum that is not the content's would let a damaged part pass, or refuse a good one",
        hint="report only checksums of the whole content: the ETag of an upload in several parts is no MD5; digests "
        "are lower-case hex, not base64",
    )
    def test_checksums_are_those_of_the_content(self, store: Destination, harness: Harness) -> None:
        data = content(harness.large_bytes)
        infos = [write(store, "written", [data]), store.put("put", data[:1000])]
        infos += [info for info in (store.head("written"), store.head("put")) if info] + list(store.list())
        for info in infos:
            for algorithm, value in info.checksums.items():
                if algorithm in hashlib.algorithms_available:
                    stored = data if info.key == "written" else data[:1000]
                    expected = hashlib.new(algorithm, stored, usedforsecurity=False).hexdigest()
                    assert value == expected, f"{algorithm} of {info.key}"

    @proves(
        "D-LIST-1",
        breaks="a run would take the files of another export for strays and move them away",
        hint="end the prefix with / before it is compared: orders/ is not a prefix of orders_archive/",
    )
    def test_list_knows_no_sibling_prefix(self, store: Destination, harness: Harness, prefix: str) -> None:
        harness.put(prefix, "a", b"1")
        for sibling in (f"{prefix}_archive", f"{prefix}.old", f"{prefix} 2", prefix[:-1]):
            harness.put(sibling, "b", b"2")
        assert keys(store) == ["a"]
        assert keys(store, "b") == []

    @proves(
        "D-LIST-2",
        breaks="a dataset of more than a thousand parts would be published incomplete, or strays overlooked",
        hint="follow the continuation token until there is none",
    )
    def test_list_is_complete_beyond_a_page(self, store: Destination, harness: Harness, prefix: str) -> None:
        expected = sorted([f"part-{number:06d}.csv" for number in range(1, 1002)] + ["z/last"])
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: harness.put(prefix, key, b"x"), expected))
        listed = [info.key for info in store.list()]
        missing = sorted(set(expected) - set(listed))
        assert not missing, f"{len(missing)} of {len(expected)} objects are missing, from {missing[0]} on"
        assert sorted(listed) == expected, "list yields objects twice, or too many of them"
        assert len(keys(store, "part-")) == 1001

    @proves(
        "D-LIST-3",
        breaks="parts in quarantine would be overlooked, or the parts of one export taken for another's",
        hint="list is recursive, and its argument is the beginning of the key as text: no directory, no pattern",
    )
    def test_list_is_recursive_and_by_text(self, store: Destination, harness: Harness, prefix: str) -> None:
        everything = ["_quarantine/r_1/part-1", "a/b/c", "a/bc", "ab", "part-1", "part-2", "x[1]", "x1"]
        for key in everything:
            harness.put(prefix, key, b"x")
        assert keys(store) == sorted(everything)
        for beginning in ("a", "a/", "a/b", "part-", "_quarantine/", "x[1]", "part-1", "absent/", "A"):
            assert keys(store, beginning) == sorted(key for key in everything if key.startswith(beginning)), beginning

    @proves(
        "D-COPY-1",
        breaks="an object would be lost or damaged when it is copied",
        hint="copy on the server, in several requests where one is not enough, and return when the copy is complete",
    )
    def test_copy_is_complete(self, store: Destination, harness: Harness, prefix: str) -> None:
        data = content(harness.large_bytes)
        source = write(store, "part", [data])
        copied = store.copy(source, "deep/er/copy")
        assert (copied.key, copied.size_bytes) == ("deep/er/copy", len(data))
        assert digest(harness.get(prefix, "deep/er/copy")) == digest(data)
        assert digest(harness.get(prefix, "part")) == digest(data), "the original was changed"
        assert store.head("deep/er/copy") == copied

    @proves(
        "D-COPY-2",
        breaks="putting an object aside would destroy another one",
        hint="copy and move never overwrite: a target that is taken is PreconditionFailed, and both objects stay",
    )
    @pytest.mark.parametrize("operation", ["copy", "move"])
    def test_copy_and_move_never_overwrite(
        self, store: Destination, harness: Harness, prefix: str, operation: str
    ) -> None:
        source = store.put("part", b"source")
        store.put("taken", b"target")
        with pytest.raises(PreconditionFailed):
            getattr(store, operation)(source, "taken")
        assert harness.get(prefix, "taken") == b"target", "the target was overwritten"
        assert harness.get(prefix, "part") == b"source", "the source was deleted before it was copied"

    @proves(
        "D-COPY-3",
        breaks="somebody's new object would be moved away in place of the old one that was meant",
        hint="pin the copy to source.version (copy-source-if-match, source generation), and raise NotFound if it is "
        "another now",
    )
    @pytest.mark.parametrize("operation", ["copy", "move"])
    def test_copy_and_move_are_pinned_to_the_version(
        self, store: Destination, harness: Harness, prefix: str, operation: str
    ) -> None:
        old = store.put("part", b"old")
        harness.put(prefix, "part", b"somebody's new one")
        with pytest.raises(NotFound):
            getattr(store, operation)(old, "target")
        harness.delete(prefix, "part")
        with pytest.raises(NotFound):
            getattr(store, operation)(old, "target")
        assert harness.get(prefix, "target") is None

    @proves(
        "D-MOVE-1",
        breaks="an object would be in two places, or in none",
        hint="copy, verify, then delete exactly the version that was copied",
    )
    def test_move_moves(self, store: Destination, harness: Harness, prefix: str) -> None:
        data = content(1_000_000)
        source = write(store, "part", [data])
        moved = store.move(source, "_quarantine/r_1/part")
        assert (moved.key, moved.size_bytes) == ("_quarantine/r_1/part", len(data))
        assert digest(harness.get(prefix, "_quarantine/r_1/part")) == digest(data)
        assert harness.get(prefix, "part") is None, "the source is still there"
        assert keys(store) == ["_quarantine/r_1/part"]
        assert store.head("_quarantine/r_1/part") == moved

    @proves(
        "D-DELETE-1",
        breaks="cleaning up would fail, or take more than was meant",
        hint="delete exactly this key; what is absent is fine",
    )
    def test_delete_takes_one_object(self, store: Destination, harness: Harness, prefix: str) -> None:
        others = ["a/b", "ab", "a.b"]
        for key in others:
            harness.put(prefix, key, b"x")
        for absent in ("a", "absent", "a/b/c"):
            store.delete(absent)
        assert sorted(harness.list(prefix)) == sorted(others)
        store.delete("ab")
        store.delete("ab")
        assert sorted(harness.list(prefix)) == ["a.b", "a/b"]
        assert keys(store) == ["a.b", "a/b"]

    @proves(
        "D-DELETE-2",
        breaks="somebody's new object would be deleted in place of the old one that was meant",
        hint="with a version, delete only that one; leave another one where it is, without an error",
    )
    def test_delete_is_pinned_to_the_version(self, store: Destination, harness: Harness, prefix: str) -> None:
        old = store.put("part", b"old")
        new = store.put("part", b"new")
        store.delete("part", version=old.version)
        assert harness.get(prefix, "part") == b"new"
        store.delete("part", version=new.version)
        assert harness.get(prefix, "part") is None
        store.delete("part", version=new.version)

    @proves(
        "D-THREAD-1",
        breaks="parallel workers would fail or damage each other's parts",
        hint="a destination is used from several threads at once: share only what your SDK says is thread-safe",
    )
    def test_threads_share_a_destination(self, store: Destination, harness: Harness, prefix: str) -> None:
        def work(number: int) -> str:
            data = content(300_000, seed=number)
            info = write(store, f"part-{number}", [data[:1000], data[1000:]])
            assert digest(read(store, info.key, version=info.version)) == digest(data)
            moved = store.move(store.copy(info, f"copy-{number}"), f"moved-{number}")
            assert store.head(moved.key) == moved
            store.delete(info.key)
            assert info.key not in keys(store)
            return digest(data)

        results = at_once(8, work)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise failures[0]
        assert [digest(harness.get(prefix, f"moved-{number}")) for number in range(8)] == results
