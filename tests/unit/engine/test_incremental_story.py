"""Many incremental runs in a row, with whatever happens to tables and programs in between."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings, target
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rivet_core.api import Secret, SourceUnavailable
from rivet_core.contract.manifest import Manifest, decode
from rivet_core.engine import plan
from rivet_core.engine.publish import Publisher
from rivet_core.engine.result import RunResult
from rivet_core.state import open_state
from unit.engine.shop import Shop

IDS = st.integers(1, 9)
LAG = 5
EXPORT = {"name": "orders", "table": "orders", "mode": "incremental", "cursor_column": "version"}

#: Writes of the state that fail, as those of a program that is killed before them: table, event, which rows.
REFUSED = [
    ("rivet_run", "INSERT", "1 = 1"),
    ("rivet_chunk", "INSERT", "1 = 1"),
    ("rivet_part", "INSERT", "1 = 1"),
    ("rivet_part", "UPDATE", "1 = 1"),
    ("rivet_chunk", "UPDATE", "1 = 1"),
    ("rivet_run", "UPDATE", "NEW.status = 'publishing'"),
    ("rivet_run", "UPDATE", "NEW.status IN ('succeeded', 'failed')"),
    ("rivet_cursor", "INSERT", "1 = 1"),
]
#: Steps of publishing that fail, before or after their work.
STEPS = [(step, after) for step in ("_prove_parts", "_put_manifest", "_put_success") for after in (False, True)]


class Kind:
    """How the table and the export are made: the cursor's type, whether rows may be late, and the prefix."""

    def __init__(self, name: str, column: str, path: str = "out", **options: Any) -> None:
        self.name = name
        self.column = column
        self.path = path
        self.options = options

    def __repr__(self) -> str:
        return self.name

    def value(self, version: int) -> str:
        """Return the cursor of a version as SQL."""
        match self.column:
            case "TEXT":
                return f"'v{version:05d}'"
            case "TIMESTAMP":
                return f"datetime('2026-01-01', '+{version} hours')"
        return str(version)


KINDS = [
    Kind("numbers with a lag", "INTEGER", lag=LAG),
    Kind("timestamps with a lag, as CSV", "TIMESTAMP", lag=f"{LAG}h", format="csv"),
    Kind("text", "TEXT"),
    Kind("a prefix for each run", "INTEGER", "out/{run_id}", lag=LAG),
    Kind("rolling over, publishing nothing new", "INTEGER", lag=LAG, max_file_size="1KiB", empty_increment="publish"),
]


class Story(RuleBasedStateMachine):
    """A table, an export, and a model of both."""

    kinds = KINDS

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="rivet-story-"))
        self.shop = Shop(self.directory)
        self.rows: dict[int, int] = {}  # the table: version by id
        self.highest: dict[int, int] = {}  # the highest version that an id has ever had
        self.cursor = 0
        self.runs = 0

    def teardown(self) -> None:
        target(float(self.runs), label="runs")
        shutil.rmtree(self.directory)

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.kind = data.draw(st.sampled_from(self.kinds))
        export = {**EXPORT, "destination": {"type": "local", "path": self.kind.path}, **self.kind.options}
        self.shop.configure(json.dumps(export))
        self.shop.source(
            "DROP TABLE orders",
            f"CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, version {self.kind.column} NOT NULL)",
        )

    @property
    def lag(self) -> int:
        return LAG if "lag" in self.kind.options else 0

    @rule(changes=st.dictionaries(IDS, st.integers(-LAG, LAG), min_size=1))
    def write(self, changes: dict[int, int]) -> None:
        """Insert or update rows: new, tied with the last cursor, or as late as the lag allows."""
        for id_, distance in changes.items():
            version = max(self.cursor + max(distance, -self.lag), self.highest.get(id_, 0) + 1, 1)
            self.rows[id_] = self.highest[id_] = version
            value = self.kind.value(version)
            self.shop.source(f"INSERT OR REPLACE INTO orders VALUES ({id_}, 'note {id_} of {version}', {value})")

    @rule(id_=IDS)
    def delete(self, id_: int) -> None:
        self.rows.pop(id_, None)
        self.shop.source(f"DELETE FROM orders WHERE id = {id_}")

    @precondition(lambda self: "run_id" not in self.kind.path)
    @rule()
    def lose_the_state(self) -> None:
        for path in self.directory.glob(".rivet_state.db*"):
            path.unlink()

    @rule(changes=st.dictionaries(IDS, st.integers(-LAG, LAG)))
    def write_and_run(self, changes: dict[int, int]) -> None:
        self.write(changes)
        result = self.attempt(validate=True)
        assert result.error is None, result.error
        self.check_complete()

    @rule()
    def resume(self) -> None:
        """Go on with a run that died; rows written since may then be left to the next one."""
        result = self.attempt(resume=True, force=True)
        assert result.error is None, result.error

    @rule(data=st.data())
    def die_at_a_write_of_the_state(self, data: st.DataObject) -> None:
        with open_state(Secret("sqlite:///.rivet_state.db"), self.directory):
            pass  # the tables exist
        table, event, condition = data.draw(st.sampled_from(REFUSED))
        with self.shop.state_refuses(table, event, condition):
            self.attempt()

    @rule(data=st.data())
    def die_at_a_step_of_publishing(self, data: st.DataObject) -> None:
        step, after = data.draw(st.sampled_from(STEPS))
        with failing(step, after=after):
            self.attempt()

    def attempt(self, **options: Any) -> RunResult:
        """Run; afterwards the cursor is nowhere above the largest version."""
        self.runs += 1
        self.cursor = max(self.cursor, *self.rows.values()) if self.rows else self.cursor
        return self.shop.run(**options)

    @invariant()
    def nothing_is_delivered_twice(self) -> None:
        delivered = self.delivered()
        assert len(set(delivered)) == len(delivered)

    def check_complete(self) -> None:
        """The latest version per key equals the source, and every version that is there is one that was written."""
        latest: dict[int, str] = {}
        for id_, note in sorted(self.delivered(), key=lambda row: int(row[1].split()[-1])):
            latest[id_] = note
        assert {id_: latest.get(id_) for id_ in self.rows} == {
            id_: f"note {id_} of {version}" for id_, version in self.rows.items()
        }

    def delivered(self) -> list[tuple[int, str]]:
        """Every row that a certified manifest lists; the note names the version."""
        below = sorted(path for path in self.shop.out.glob("orders_*") if path.is_dir())
        return [row for prefix in (self.shop.out, *below) for row in self.rows_at(prefix)]

    def rows_at(self, prefix: Path) -> Iterator[tuple[int, str]]:
        content = certified(prefix)
        if content is None:
            return
        format_ = plan.open_named_format(content.format, self.shop.config.exports[0], self.shop.registry)
        for part in content.parts:
            with (
                (prefix / part.path).open("rb") as source,
                format_.decoder(source, content.arrow_schema(part)) as decoder,
            ):
                for batch in decoder.batches():
                    yield from zip(batch["id"].to_pylist(), batch["note"].to_pylist(), strict=True)


def certified(prefix: Path) -> Manifest | None:
    """Return the manifest that ``_SUCCESS`` certifies."""
    from rivet_core.contract.fingerprint import fingerprint

    with contextlib.suppress(FileNotFoundError):
        marker = (prefix / "_SUCCESS").read_text().strip()
        for path in (prefix / "manifest.json", *prefix.glob("manifest-*.json")):
            data = path.read_bytes()
            if fingerprint(data) == marker:
                return decode(data)
    return None


@contextmanager
def failing(step: str, *, after: bool) -> Iterator[None]:
    """Let a step of publishing fail, as that of a program that is killed there."""
    real = getattr(Publisher, step)

    def fail(self: Publisher, *args: Any) -> None:
        if after:
            real(self, *args)
        raise SourceUnavailable("the process died")

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Publisher, step, fail))
        stack.enter_context(mock.patch.object(Publisher, "is_certified", return_value=False))
        yield


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_latest_version_of_every_row_arrives_once(kind: Kind):
    story = type("Story", (Story,), {"kinds": [kind]}).TestCase
    story.settings = settings(max_examples=6, stateful_step_count=14, deadline=None)
    story().runTest()
