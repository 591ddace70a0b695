"""Every operation of a destination, one at a time, seen through the plugin and with raw access."""

from __future__ import annotations

from rivet_core.api import Destination
from rivet_core.testing.catalog import proves
from rivet_core.testing.harness import Harness


class UnitTests:
    """What every destination must do, whatever it claims."""

    @proves(
        "D-PUT-1",
        breaks="manifests and markers would not say what Rivet wrote",
        hint="put writes exactly the bytes that it gets, and returns key and size of the object",
    )
    def test_put_writes_the_bytes(self, store: Destination, harness: Harness, prefix: str) -> None:
        info = store.put("manifest.json", b"{}")
        assert (info.key, info.size_bytes) == ("manifest.json", 2)
        assert harness.get(prefix, "manifest.json") == b"{}"

    @proves(
        "D-WRITE-1",
        breaks="a reader could load half a part",
        hint="nothing is visible at the key before commit: write to a temporary place, or to an upload that is "
        "completed by commit",
    )
    def test_writer_shows_nothing_before_commit(self, store: Destination, harness: Harness, prefix: str) -> None:
        with store.open_writer("part-000001.parquet") as writer:
            writer.write(b"x" * 1_000_000)
            assert harness.get(prefix, "part-000001.parquet") is None, "raw access sees the object before commit"
            assert store.head("part-000001.parquet") is None, "head sees the object before commit"
            assert [info.key for info in store.list()] == [], "list sees the object before commit"
            writer.commit()
        assert harness.get(prefix, "part-000001.parquet") == b"x" * 1_000_000

    @proves(
        "D-LIST-1",
        breaks="a run would take the files of another export for strays and move them away",
        hint="end the prefix with / before it is compared: orders/ is not a prefix of orders_archive/",
    )
    def test_list_knows_no_sibling_prefix(self, store: Destination, harness: Harness, prefix: str) -> None:
        harness.put(prefix, "a", b"1")
        harness.put(f"{prefix}_archive", "b", b"2")
        assert [info.key for info in store.list()] == ["a"]
        assert [info.key for info in store.list("")] == ["a"]
