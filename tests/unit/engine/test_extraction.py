"""From rows to committed parts: memory, numbers, names that are taken meanwhile, uploads that are lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rivet_core.api import StorageFull, Transient
from rivet_core.builtin.parquet import ParquetEncoder
from rivet_core.engine import dataset, run
from rivet_core.engine.writing.memory import MemoryPlan
from rivet_core.engine.writing.rows import RowSteps
from rivet_core.engine.writing.upload import BUFFER_BYTES, QUEUE_PIECES
from rivet_local.objects import LocalWriter
from unit.engine.shop import Shop


@pytest.mark.parametrize("budget", [1, 100_000_000, 200_000_000, 256_000_000, 10**12])
@pytest.mark.parametrize("max_file_size", [None, 1, 1_000_000, 256_000_000])
@pytest.mark.parametrize("workers", [1, 2, 16])
@pytest.mark.parametrize("writer_bytes", [0, 40_000_000])
@pytest.mark.parametrize("read_overhead", [3, 10])
def test_memory_is_divided_within_the_budget(
    budget: int, max_file_size: int | None, workers: int, writer_bytes: int, read_overhead: int
) -> None:
    plan = MemoryPlan.divide(
        budget, max_file_size, workers=workers, writer_bytes=writer_bytes, read_overhead=read_overhead
    )
    assert 0 < plan.batch_bytes <= plan.group_bytes <= 64_000_000
    # The least that works is not less for a budget below what the interpreter alone takes.
    one = 2 * plan.group_bytes + plan.ahead_batches * plan.batch_bytes + QUEUE_PIECES * BUFFER_BYTES + writer_bytes
    one += read_overhead * plan.batch_bytes
    assert plan.group_bytes <= 1_000_000 or workers * one < budget


def test_the_default_budget_gives_groups_worth_compressing() -> None:
    assert MemoryPlan.divide(256_000_000, None).group_bytes > 30_000_000
    assert MemoryPlan.divide(256_000_000, 8_000_000).group_bytes == 1_000_000


def test_batches_are_as_large_as_their_reading_allows() -> None:
    sizes = [MemoryPlan.divide(300_000_000, None, workers=2, read_overhead=times).batch_bytes for times in (3, 10, 30)]
    assert sizes == [8_000_000, 3_166_666, 1_055_555]


def test_rows_are_read_while_earlier_ones_are_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder holds its first batch until the second one was read: whoever encodes where it reads waits in vain."""
    read = threading.Event()
    apply, write = RowSteps.apply, ParquetEncoder.write
    batches: list[pa.RecordBatch] = []
    encoded_early: list[bool] = []

    def watch(self: RowSteps, batch: pa.RecordBatch) -> pa.RecordBatch:
        batches.append(batch)
        if len(batches) == 2:
            read.set()
        return apply(self, batch)

    def wait(self: ParquetEncoder, batch: pa.RecordBatch) -> None:
        encoded_early.append(read.wait(30))
        write(self, batch)

    monkeypatch.setattr(RowSteps, "apply", watch)
    monkeypatch.setattr(ParquetEncoder, "write", wait)
    shop = Shop(tmp_path)
    shop.source(
        "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 400000)"
        " INSERT INTO orders (id) SELECT i FROM n"
    )
    shop.configure("{name: orders, query: 'SELECT id FROM orders', destination: {type: local, path: out}}")
    assert shop.run().error is None
    assert len(batches) > 1
    assert all(encoded_early)


def first_calls(method: Any, count: int, instead: Callable[[LocalWriter], object]) -> Any:
    """Return ``method``, whose first calls do something else before they go on."""
    calls = 0

    def called(self: LocalWriter, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= count:
            instead(self)
        return method(self, *args)

    return called


def lose_uploads(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    def lose(writer: LocalWriter) -> None:
        raise Transient("the connection was reset")

    monkeypatch.setattr(LocalWriter, "write", first_calls(LocalWriter.write, count, lose))


def attempts(shop: Shop) -> list[tuple[str, int | None]]:
    return shop.state("SELECT key, attempt FROM rivet_part ORDER BY number")


def test_a_name_that_is_taken_at_the_commit_costs_a_fresh_read_under_a_higher_number(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_the_name(writer: LocalWriter) -> None:
        (shop.out / "part-000001.parquet").write_bytes(b"of another writer")

    monkeypatch.setattr(LocalWriter, "commit", first_calls(LocalWriter.commit, 1, take_the_name))
    result = shop.publish()
    assert result.rows == shop.rows() == 2
    assert shop.parts() == ["part-000002.parquet"]
    assert attempts(shop) == [("part-000001.parquet", None), ("part-000002.parquet", 2)]
    (aside,) = (shop.out / "_quarantine").rglob("part-*")
    assert aside.read_bytes() == b"of another writer"
    assert "the rows are read again" in result.warnings[0]


def test_another_writer_that_takes_every_next_name_is_left_behind(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = count(1)

    def take_the_next_name(writer: LocalWriter) -> None:
        path = shop.out / f"part-{next(theirs):06}.parquet"
        if not path.exists():
            path.write_bytes(b"of another writer")

    monkeypatch.setattr(LocalWriter, "commit", first_calls(LocalWriter.commit, 5, take_the_next_name))
    result = shop.publish()
    assert result.rows == 2
    assert attempts(shop)[-1][1] == 3


def test_an_upload_that_is_lost_as_a_whole_costs_a_fresh_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_uploads(monkeypatch, 1)
    result = shop.publish()
    assert result.rows == shop.rows() == 2
    assert attempts(shop) == [("part-000001.parquet", None), ("part-000002.parquet", 2)]
    assert result.warnings == ["the rows are read again: the connection was reset"]


def test_a_store_that_loses_every_upload_fails_the_run_and_nothing_is_left(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_uploads(monkeypatch, 1000)
    result = shop.run()
    assert result.error is not None
    assert (result.status, result.error.code, result.exit_code) == ("failed", "R407", 1)
    assert len(attempts(shop)) == 5
    assert list(shop.out.iterdir()) == []
    assert "rivet-upload" not in {thread.name for thread in threading.enumerate()}


def test_clean_up_that_fails_hides_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(writer: LocalWriter) -> None:
        raise StorageFull("no space left")

    def unreachable(writer: LocalWriter) -> None:
        abort(writer)
        raise Transient("the abort was not answered")

    abort = LocalWriter.abort
    monkeypatch.setattr(LocalWriter, "write", first_calls(LocalWriter.write, 1, full))
    monkeypatch.setattr(LocalWriter, "abort", unreachable)
    result = shop.run()
    assert result.error is not None
    assert result.error.code == "R410"
    assert "part-000001.parquet was not cleaned up after it failed: the abort was not answered" in caplog.text


def test_numbers_go_on_above_everything_that_ever_had_one(shop: Shop) -> None:
    shop.publish()
    (shop.out / "_quarantine" / "somebody").mkdir(parents=True)
    (shop.out / "_quarantine" / "somebody" / "part-000041.parquet.2").write_bytes(b"")
    shop.publish()
    assert shop.parts() == ["part-000042.parquet"]
    (shop.out / "part-000042.parquet").unlink()  # the manifest and the state still know it
    shop.publish()
    assert shop.parts() == ["part-000043.parquet"]


def test_an_absurd_number_does_not_use_up_all_others(shop: Shop) -> None:
    shop.out.mkdir()
    (shop.out / f"part-{10**18 - 1}.parquet").write_bytes(b"")
    shop.publish()
    assert shop.parts() == ["part-000001.parquet"]


@pytest.mark.parametrize(
    ("mode", "writers"), [("full", 1), ("chunked, chunk_column: id, chunk_size: 1", 2)], ids=["full", "chunked"]
)
def test_memory_is_divided_by_what_reads_at_the_same_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, mode: str, writers: int
):
    """SQLite is read in one piece, whatever ``parallel`` allows; there are two chunks."""
    shares: dict[str, int] = {}
    open_store, gates = run.open_store, dataset.Gates

    def opened(*args: Any, upload_bytes: int) -> Any:
        shares["upload"] = upload_bytes
        return open_store(*args, upload_bytes=upload_bytes)

    def gated(*args: Any, workers: int, **options: Any) -> Any:
        shares["gates"] = workers
        return gates(*args, workers=workers, **options)

    monkeypatch.setattr(run, "open_store", opened)
    monkeypatch.setattr(dataset, "Gates", gated)
    shop.configure(
        f"{{name: orders, table: orders, mode: {mode}, parallel: 2, destination: {{type: local, path: out}}}}"
    )
    shop.publish()
    budget = shop.config.memory_budget
    assert shares == {"upload": MemoryPlan.upload_bytes(budget, writers), "gates": writers}
