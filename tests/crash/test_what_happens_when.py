"""The page ``what-happens-when.md`` is true: each row of its tables is made to happen, and each cell compared."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crash import harms, observer
from crash.test_killed_anywhere import write_config, write_source
from crash.zygote import Outcome, Zygote
from rivet_core.cli.main import main

PAGE = Path(__file__).parents[2] / "docs/how-to/what-happens-when.md"
Walk = tuple[tuple[str, int], ...]
_MARKUP = re.compile(r"`|\*\*")


@dataclass(frozen=True)
class Moment:
    """When something befalls a run, and what is done afterwards.

    Attributes:
        walk: the way to the point: each step to the n-th point of that name after the step before.
        harm: what happens there; by default the process is killed.
        afterwards: what happens before the next run.
    """

    walk: Walk
    harm: str | None = None
    afterwards: Callable[[Path], object] = field(default=lambda directory: None)

    def number(self, points: tuple[str, ...]) -> int:
        position = 0
        for name, count in self.walk:
            for _ in range(count):
                position = points.index(name, position) + 1
        return position


def newest_part(directory: Path) -> Path:
    return max((directory / "out").glob("part-*"))


SECOND_PART = ("after writer.commit", 2)
THIRD_PART = (("before open_writer", 3),)
BETWEEN_CHUNKS = (SECOND_PART, ("after state write", 3))
MOMENTS = {
    "is killed before its chunks are planned": Moment((("before state write", 4),)),
    "is killed before its first part": Moment((("before open_writer", 1),)),
    "is killed in its second part": Moment((("after writer.write", 2),)),
    "is killed between its second part and the record of the part": Moment((SECOND_PART,)),
    "is killed between that record and the record of its chunk": Moment((SECOND_PART, ("after state write", 1))),
    "is killed between its second chunk and its third": Moment(BETWEEN_CHUNKS),
    "is killed before its manifest": Moment((("before put", 1),)),
    "is killed between its manifest and manifest.json": Moment((("after put", 1),)),
    "is killed between manifest.json and _SUCCESS": Moment((("after put", 2),)),
    "is killed between _SUCCESS and the record of it": Moment((("after put", 3),)),
    "is killed while it moves the old parts aside": Moment((("after move", 2),)),
    "is interrupted in its third part": Moment(THIRD_PART, "interrupt"),
    "finds the disk full in its third part": Moment(THIRD_PART, "fill_disk"),
    "loses its source before its third chunk": Moment(
        (SECOND_PART, ("after head", 1)), "lose_source", harms.restore_source
    ),
    "loses the state database in its third part": Moment(THIRD_PART, "lose_state", harms.restore_state),
    "loses its lease in its third part": Moment(THIRD_PART, "lose_lease"),
    "is killed between two chunks, then a part is damaged": Moment(
        BETWEEN_CHUNKS, afterwards=lambda directory: newest_part(directory).write_bytes(b"damage")
    ),
    "is killed between two chunks, then a part is deleted": Moment(
        BETWEEN_CHUNKS, afterwards=lambda directory: newest_part(directory).unlink()
    ),
    "is killed between two chunks, then the state database is lost": Moment(
        BETWEEN_CHUNKS, afterwards=lambda directory: (directory / harms.STATE).unlink()
    ),
}


def tables() -> list[list[dict[str, str]]]:
    """The rows of the page's tables that are about a run."""
    found: list[list[dict[str, str]]] = []
    head: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [_MARKUP.sub("", cell).strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            head = []
        elif not head:
            head = cells
            if head[0] == "the run …":
                found.append([])
        elif head[0] == "the run …" and not cells[0].startswith("---"):
            found[-1].append(dict(zip(head, cells, strict=True)))
    return found


EMPTY, PUBLISHED = tables()


class Site:
    """A directory to make things happen in.

    Args:
        published: there is a dataset already.
    """

    def __init__(self, parent: Path, zygote: Zygote, *, published: bool) -> None:
        self._template = parent / "template"
        self._directory = parent / "run"
        self._zygote = zygote
        self._template.mkdir()
        write_config(self._template, mode="chunked", chunk_size=100, max_file_size=None)
        self.old_rows = write_source(self._template / "shop.db", "old") if published else []
        if published:
            assert zygote.run(self._template / "rivet.yaml", self._template / "trace").exit_code == 0
        self.new_rows = write_source(self._template / "shop.db", "new")
        self._points: tuple[str, ...] = ()
        self._points = self._happens(None).points
        assert "after writer.commit" in self._points

    def row(self, row: dict[str, str], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
        """Make a row happen, anew for each run that follows, and return the row that it should be."""
        name, *columns = row
        moment = MOMENTS[row[name]]
        happened: Outcome | None = None
        found = {name: row[name]}
        for column in columns:
            happened = happened or self._happens(moment)
            if column.startswith("rivet run"):
                found[column] = self._follows(moment, resume="--resume" in column, force="--force" in column)
                happened = None
            else:
                found[column] = self._looks(column, happened, capsys)
        return found

    def _looks(self, column: str, happened: Outcome, capsys: pytest.CaptureFixture[str]) -> str:
        match column:
            case "exit code":
                return "" if happened.exit_code is None else str(happened.exit_code)
            case "is left at the prefix":
                return self._left()
            case "consumers see":
                return self._seen()
            case "rivet validate":
                capsys.readouterr()
                main(["validate", "-c", str(self._directory / "rivet.yaml"), "--json"])
                return str(json.loads(capsys.readouterr().out)["reports"][0]["verdict"])
        raise AssertionError(f"what is {column}?")

    def _happens(self, moment: Moment | None) -> Outcome:
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.copytree(self._template, self._directory)
        number = moment.number(self._points) if moment else None
        return self._run(kill_at=number, harm=moment.harm if moment else None)

    def _run(self, **options: object) -> Outcome:
        return self._zygote.run(self._directory / "rivet.yaml", self._directory / "trace", **options)  # type: ignore[arg-type]

    def _left(self) -> str:
        names = observer.Directory(self._directory / "out").names()
        parts = sum(name.startswith("part-") for name in names)
        found = [f"{parts} parts" if parts > 1 else "1 part"] if parts else []
        found += ["its manifest"] if any(name.startswith("manifest-") for name in names) else []
        found += [name for name in ("manifest.json", "_SUCCESS") if name in names]
        return ", ".join(found) or "nothing"

    def _seen(self) -> str:
        found = observer.check(self._directory / "out")
        assert found is not None
        assert found.rows() in (self.old_rows, self.new_rows)
        return "the old dataset" if found.rows() == self.old_rows else "the new dataset"

    def _follows(self, moment: Moment, **options: bool) -> str:
        moment.afterwards(self._directory)
        before = observer.Directory(self._directory / "out").read("_SUCCESS")
        outcome = self._run(**options)
        (result,) = outcome.results
        if result["error"]:
            assert observer.Directory(self._directory / "out").read("_SUCCESS") == before
            return f"exit code {outcome.exit_code}"
        final = observer.check(self._directory / "out")
        assert final is not None
        assert final.rows() == self.new_rows
        left = {path.name for path in (self._directory / "out").glob("part-*")}
        assert left == {part.name for part in final.parts}, "parts of no dataset are left"
        parts: Any = final.manifest["parts"]
        own = sum(part["run_id"] == result["run_id"] for part in parts)
        if "before put" not in outcome.points:
            done = ["completes the record"]
        elif result["resumes"] == result["run_id"]:
            done = ["publishes that manifest"]
        else:
            counts = {"keeps": len(parts) - own, "writes": own}
            done = [f"{verb} {count}" for verb, count in counts.items() if count]
        aside = len(result["quarantined"])
        return ", ".join([*done, f"sets {aside} aside"] if aside else done)


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    directory = tmp_path_factory.mktemp("warm-up")
    write_source(directory / "shop.db", "warm-up")
    zygote = Zygote(write_config(directory))
    yield zygote
    zygote.close()


def test_each_moment_is_on_the_page() -> None:
    for table in (EMPTY, PUBLISHED):
        assert {row["the run …"] for row in table} <= set(MOMENTS)
    assert {row["the run …"] for row in EMPTY + PUBLISHED} == set(MOMENTS)


@pytest.mark.parametrize("published", [False, True], ids=["empty prefix", "published prefix"])
def test_each_row_is_what_happens(
    memory_disk: Path, zygote: Zygote, capsys: pytest.CaptureFixture[str], published: bool
) -> None:
    site = Site(memory_disk, zygote, published=published)
    page = PUBLISHED if published else EMPTY
    assert [site.row(row, capsys) for row in page] == page
