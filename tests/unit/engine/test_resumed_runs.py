"""Resumed runs: what is kept of a run that ended early, what is done anew, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from rivet_core.api import ObjectInfo, PermissionDenied, SourceUnavailable
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.cli.main import main
from rivet_core.engine.publish import Publisher
from rivet_core.engine.result import RunResult
from rivet_core.engine.run import ExportRun
from rivet_local.destination import LocalDestination
from unit.engine.shop import ROWS, Shop, large_shop

CHUNKED = "{name: orders, table: orders, mode: chunked, %s, destination: {type: local, path: %s}}"
READ = SqlalchemySource.read


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = large_shop(tmp_path)
    configure(shop)
    return shop


def configure(shop: Shop, chunking: str = "chunk_size: 100", path: str = "out") -> None:
    shop.configure(CHUNKED % (chunking, path))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reads of chunks, as they happen; ``fail_after`` lets them end."""
    seen: list[str] = []
    monkeypatch.setattr(SqlalchemySource, "read", reading(seen, None))
    return seen


def reading(seen: list[str], most: int | None) -> Callable[..., Any]:
    @contextmanager
    def read(self: SqlalchemySource, query: Any, **kwargs: Any) -> Iterator[Any]:
        if most is not None and len(seen) >= most:
            raise SourceUnavailable("the database went away")
        seen.append(query.text)
        with READ(self, query, **kwargs) as stream:
            yield stream

    return read


def fail_after(monkeypatch: pytest.MonkeyPatch, seen: list[str], most: int) -> None:
    seen.clear()
    monkeypatch.setattr(SqlalchemySource, "read", reading(seen, most))


def fail(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str], most: int, **options: Any) -> RunResult:
    """Run until ``most`` chunks were read."""
    fail_after(monkeypatch, reads, most)
    result = shop.run(**options)
    assert result.error is not None
    fail_after(monkeypatch, reads, ROWS)
    return result


def rows(shop: Shop) -> list[int]:
    """Read what is certified; every part once, in order."""
    parts = manifest(shop)["parts"]
    assert len({part["path"] for part in parts}) == len(parts)
    return [row for part in parts for row in pyarrow.parquet.read_table(shop.out / part["path"])["id"].to_pylist()]


def manifest(shop: Shop) -> dict[str, Any]:
    return json.loads((shop.out / "manifest.json").read_bytes())


def check(shop: Shop, result: RunResult) -> None:
    """The dataset is the table, and there is nothing else at the prefix."""
    assert result.error is None, result.error
    assert rows(shop) == list(range(1, ROWS + 1))
    assert result.rows == ROWS
    found = {path.name for path in shop.out.iterdir() if path.name.startswith("part-")}
    assert found == {part["path"] for part in manifest(shop)["parts"]}
    assert shop.run(resume=True, dry_run=True).resumes is None


def decisions(result: RunResult) -> dict[str, int]:
    names = [item["decision"] for item in result.decisions]
    return {name: names.count(name) for name in sorted(set(names))}


def test_what_was_exported_is_not_read_again(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    first = fail(shop, monkeypatch, reads, 4)
    result = shop.run(resume=True, validate=True)
    assert len(reads) == 6
    assert result.resumes == first.run_id
    assert decisions(result) == {"skip": 4, "write": 6}
    check(shop, result)
    assert [part["run_id"] for part in manifest(shop)["parts"]] == [first.run_id] * 4 + [result.run_id] * 6
    assert result.quarantined == []


def test_a_resume_of_a_resume_of_a_resume(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    configure(shop, "chunk_size: 100, parallel: 2")
    fail(shop, monkeypatch, reads, 3)
    for _ in range(2):
        fail(shop, monkeypatch, reads, 2, resume=True)
    result = shop.run(resume=True)
    assert len(reads) < 10
    check(shop, result)


@pytest.mark.parametrize("damage", ["changed", "cut", "deleted"])
def test_a_damaged_part_is_exported_again(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str], damage: str):
    fail(shop, monkeypatch, reads, 4)
    part = shop.out / "part-000002.parquet"
    data = part.read_bytes()
    if damage == "deleted":
        part.unlink()
    else:
        part.write_bytes(data[:-1] if damage == "cut" else data[:100] + bytes([data[100] ^ 1]) + data[101:])
    result = shop.run(resume=True)
    assert len(reads) == 7
    check(shop, result)
    assert decisions(result) == {"rewrite" if damage == "deleted" else "replace": 1, "skip": 3, "write": 6}
    assert result.quarantined == ([] if damage == "deleted" else ["part-000002.parquet"])


def test_what_nobody_lists_goes_to_quarantine(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    fail(shop, monkeypatch, reads, 4)
    (shop.out / "part-000077.parquet").write_bytes(b"of nobody")
    result = shop.run(resume=True)
    check(shop, result)
    assert decisions(result) == {"quarantine": 1, "skip": 4, "write": 6}
    assert result.quarantined == ["part-000077.parquet"]


def test_a_dry_run_decides_and_does_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    first = fail(shop, monkeypatch, reads, 4)
    before = sorted(path.name for path in shop.out.iterdir())
    planned = shop.run(resume=True, dry_run=True)
    assert planned.status == "planned"
    assert planned.exit_code == 0
    assert planned.resumes == first.run_id
    assert decisions(planned) == {"skip": 4, "write": 6}
    assert reads == []
    assert sorted(path.name for path in shop.out.iterdir()) == before
    check(shop, shop.run(resume=True))


def test_a_published_prefix_is_refused_without_force(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    shop.publish()
    published = (shop.out / "_SUCCESS").read_bytes()
    fail(shop, monkeypatch, reads, 4)
    refused = shop.run(resume=True)
    assert refused.error is not None
    assert refused.error.exit_code == 5
    assert "--force" in refused.error.hint
    assert (shop.out / "_SUCCESS").read_bytes() == published
    result = shop.run(resume=True, force=True)
    assert len(reads) == 6
    check(shop, result)


def test_after_somebody_else_has_published_everything_is_exported_anew(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]
):
    fail(shop, monkeypatch, reads, 4)
    (shop.directory / ".rivet_state.db").rename(shop.directory / "kept.db")
    shop.publish()  # by another host, which knows nothing of the first run
    for path in shop.directory.glob(".rivet_state.db*"):
        path.unlink()
    (shop.directory / "kept.db").rename(shop.directory / ".rivet_state.db")
    reads.clear()
    result = shop.run(resume=True, force=True)
    assert len(reads) == 10
    check(shop, result)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda shop: configure(shop, "chunk_size: 200"), "chunk_size (was 100, is 200)"),
        (lambda shop: configure(shop, "chunk_size: 100, compression: gzip"), "compression (was zstd, is gzip)"),
        (lambda shop: shop.source("ALTER TABLE orders ADD COLUMN more TEXT"), "columns"),
    ],
)
def test_a_changed_export_is_refused_with_the_difference(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str], change: Callable[[Shop], None], named: str
):
    fail(shop, monkeypatch, reads, 4)
    change(shop)
    result = shop.run(resume=True)
    assert result.error is not None
    assert result.error.exit_code == 2
    assert result.error.message.endswith(f": {named}")
    assert not (shop.out / "_SUCCESS").exists()
    configure(shop)
    if named != "columns":
        again = shop.run(resume=True)
        assert decisions(again) == {"skip": 4, "write": 6}
        check(shop, again)


def test_a_manifest_that_was_written_is_published_as_it_is(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    def die(self: Publisher, *args: Any) -> None:
        raise SourceUnavailable("the process died")

    put = Publisher._put_manifest
    monkeypatch.setattr(Publisher, "_put_manifest", die)
    first = shop.run()
    assert first.error is not None
    (copy,) = shop.out.glob("manifest-*.json")
    written = copy.read_bytes()
    monkeypatch.setattr(Publisher, "_put_manifest", put)
    shop.source("DELETE FROM orders WHERE id > 500")  # nothing is read any more
    result = shop.run(resume=True)
    assert result.run_id == first.run_id
    assert (shop.out / "manifest.json").read_bytes() == written
    check(shop, result)


def test_a_run_that_was_published_before_it_died_is_complete(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(ExportRun, "_succeed", lambda self, *args: None)
        first = shop.publish()
    assert shop.state("SELECT status FROM rivet_run") == [("publishing",)]
    result = shop.run(resume=True)
    assert (result.run_id, result.status, result.rows) == (first.run_id, "succeeded", ROWS)
    assert shop.state("SELECT status FROM rivet_run") == [("succeeded",)]
    check(shop, result)


def test_past_midnight_the_run_goes_on_where_it_began(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    shop.out = shop.directory / "1999-12-31"
    configure(shop, path="'1999-12-31'")
    first = fail(shop, monkeypatch, reads, 4)
    configure(shop, path="'{date}'")
    result = shop.run(resume=True)
    assert result.resumes == first.run_id
    assert result.prefix.endswith("/1999-12-31/")
    check(shop, result)


def test_one_statement_is_one_chunk(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    shop.configure("{name: orders, table: orders, destination: {type: local, path: out}}")
    with monkeypatch.context() as patch:
        patch.setattr(ExportRun, "_publish", lambda self, *args: 1 / 0)
        assert shop.run().error is not None
    reads.clear()
    result = shop.run(resume=True)
    assert reads == []
    assert decisions(result) == {"skip": 1}
    check(shop, result)


def test_without_anything_to_resume_everything_is_exported(shop: Shop, reads: list[str]):
    result = shop.run(resume=True)
    assert result.resumes is None
    assert len(reads) == 10
    check(shop, result)


def test_a_plain_run_after_a_failed_one_starts_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    fail(shop, monkeypatch, reads, 4)
    result = shop.run()
    assert len(reads) == 10
    assert sorted(result.quarantined) == [f"part-00000{number}.parquet" for number in range(1, 5)]
    check(shop, result)


def test_parts_that_rolled_over_stay_in_order(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    shop.source("UPDATE orders SET note = hex(randomblob(200))")
    configure(shop, "chunk_size: 500, max_file_size: 64KiB, compression: none")
    fail(shop, monkeypatch, reads, 1)
    result = shop.run(resume=True)
    assert result.decisions[1]["path"] == "part-000001-02.parquet"
    check(shop, result)


def test_what_could_not_be_moved_is_a_warning_and_tried_again_by_the_next_resume(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]
):
    fail(shop, monkeypatch, reads, 4)
    (shop.out / "part-000077.parquet").write_bytes(b"of nobody")

    def copy_and_keep(self: LocalDestination, source: ObjectInfo, target: str) -> ObjectInfo:
        self.copy(source, target)
        raise PermissionDenied(f"{source.key} cannot be deleted")

    with monkeypatch.context() as patch:
        patch.setattr(LocalDestination, "move", copy_and_keep)
        result = shop.run(resume=True)
    assert result.error is None
    assert result.quarantined == []
    assert result.warnings == [
        "part-000077.parquet could not be moved to quarantine: part-000077.parquet cannot be deleted"
    ]
    assert (shop.out / "part-000077.parquet").read_bytes() == b"of nobody"

    again = fail(shop, monkeypatch, reads, 4)
    result = shop.run(resume=True, force=True)
    assert result.resumes == again.run_id
    assert "part-000077.parquet" in result.quarantined
    kept = [path.read_bytes() for path in (shop.out / "_quarantine").rglob("part-000077*")]
    assert kept == [b"of nobody", b"of nobody"], "the copy of the first try and the object itself"
    check(shop, result)


def test_a_resume_touches_no_other_prefix(shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str]):
    archive = CHUNKED.replace("name: orders", "name: archive") % ("chunk_size: 100", "out_archive")
    shop.configure(CHUNKED % ("chunk_size: 100", "out"), archive)
    fail_after(monkeypatch, reads, 4)
    failed = shop.run_all()
    fail_after(monkeypatch, reads, ROWS)
    assert [result.exit_code for result in failed] == [1, 1]
    sibling = shop.directory / "out_archive"
    sibling.mkdir(exist_ok=True)
    (sibling / "part-000077.parquet").write_bytes(b"of nobody")
    before = {path.name: path.read_bytes() for path in sibling.iterdir()}
    configure(shop)
    (shop.out / "part-000077.parquet").write_bytes(b"of nobody")
    result = shop.run(resume=True)
    assert result.quarantined == ["part-000077.parquet"]
    assert {path.name: path.read_bytes() for path in sibling.iterdir()} == before
    check(shop, result)


def test_the_decisions_are_printed_and_the_same_in_json(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, reads: list[str], capsys: pytest.CaptureFixture[str]
):
    died = fail(shop, monkeypatch, reads, 8)
    (shop.out / "part-000002.parquet").unlink()
    (shop.out / "part-000003.parquet").write_bytes(b"damaged")
    (shop.out / "part-000077.parquet").write_bytes(b"of nobody")
    command = ["run", "--config", str(shop.directory / "rivet.yaml"), "--resume", "--dry-run"]
    capsys.readouterr()
    assert main(command) == 0
    printed = capsys.readouterr().out.splitlines()
    assert main([*command, "--json"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)["runs"]
    assert planned["resumes"] == died.run_id
    decided = [(item["decision"], item["path"] or f"chunk {item['chunk']}") for item in planned["decisions"]]
    assert [line for line in printed if line.startswith("    ")] == [f"    {what}: {path}" for what, path in decided]
    assert printed[1] == f"  resumes {died.run_id}: 1 quarantine, 1 replace, 1 rewrite, 6 skip, 2 write"
    result = shop.run(resume=True)
    assert result.decisions == planned["decisions"]
    check(shop, result)
