"""Two writers publish at one prefix in every possible order of their steps, and each step's answer is lost once."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crash import observer
from crash.baton import Baton, Stepwise, run_writers
from rivet_core.api import DestinationError, LostRace, SafetyError
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.manifest import (
    Extraction,
    Manifest,
    ManifestDestination,
    ManifestSource,
    Part,
    Writer,
    encode,
)
from rivet_core.engine.prefix import look
from rivet_core.engine.publish import Baseline, Publisher
from rivet_core.engine.store import CheckedDestination
from rivet_core.engine.tidy import plan_tidying, tidy
from rivet_local.destination import LocalDestination


@dataclass
class Race:
    """Two writers at one prefix, and what became of them."""

    prefix: Path
    lose: dict[str, tuple[str, str]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    seen: set[str | None] = field(default_factory=set)

    def publish_earlier(self) -> None:
        """Publish a dataset that both writers will want to supersede."""
        self._publish(LocalDestination(self.prefix), "earlier", number=1, whole=True)
        self.outcomes.clear()

    def run(self, choose: Callable[[list[str]], str], *, whole: bool) -> None:
        """Let A and B race.

        Args:
            whole: with the look at the prefix before and the tidying after; else the publishing steps alone.
        """
        baton = Baton(["A", "B"], self.observe)
        stores = {name: Stepwise(LocalDestination(self.prefix), baton, name, self.lose.get(name)) for name in "AB"}
        views = None if whole else {name: look(LocalDestination(self.prefix)) for name in "AB"}
        if not whole:
            for number, name in enumerate("AB", start=2):
                self._write_part(LocalDestination(self.prefix), name, number)

        def writer(name: str, number: int) -> Callable[[], None]:
            return lambda: self._publish(
                stores[name], name, number=number, whole=whole, view=views[name] if views else None
            )

        run_writers(baton, {"A": writer("A", 2), "B": writer("B", 3)}, choose)
        self.lost = any(store.lost for store in stores.values())

    def only_winner(self) -> str:
        """Prove that exactly one writer has published and is certified, and return its name."""
        winners = [name for name, outcome in self.outcomes.items() if outcome == "published"]
        final = observer.check(self.prefix)
        assert final is not None
        assert winners == [final.run_id], self.outcomes
        return final.run_id

    def observe(self) -> None:
        """Prove the contract at this instant."""
        found = observer.check(self.prefix)
        self.seen.add(found.run_id if found else None)

    def _write_part(self, store: LocalDestination | Stepwise, name: str, number: int) -> Part:
        data = f"rows of {name}".encode()
        key = f"part-{number:06}.parquet"
        found = store.head(key)
        if found is None:
            with store.open_writer(key) as writer:
                writer.write(data)
                found = writer.commit()
        return Part(
            part_id=1,
            path=key,
            rows=1,
            size_bytes=len(data),
            content_fingerprint=fingerprint(data),
            version=found.version,
        )

    def _publish(self, store, name, *, number, whole, view=None) -> None:  # type: ignore[no-untyped-def]
        checked = CheckedDestination(store)
        try:
            view = view or look(checked)
            part = self._write_part(store, name, number)
            now = datetime.now(UTC)
            content = Manifest(
                manifest_version=1,
                status="success",
                run_id=name,
                export_name="orders",
                writer=Writer(name="rivet-core", version="0"),
                started_at=now,
                finished_at=now,
                source=ManifestSource(engine="sqlite", extraction=Extraction(strategy="full")),
                destination=ManifestDestination(kind="local", uri=checked.uri),
                format="parquet",
                compression="none",
                row_count=1,
                part_count=1,
                parts=(part,),
            )
            publisher = Publisher(checked, conditional=True, guard=lambda: None)
            listing = publisher.publish(content, encode(content), Baseline.of(view))
            self.outcomes[name] = "published"
            if whole:
                todo = plan_tidying(listing, content, view, "quarantine")
                tidy(checked, todo, name, rehash=True, guard=lambda: None)
        except LostRace:
            self.outcomes[name] = "lost the race"
        except (DestinationError, SafetyError) as error:
            self.outcomes.setdefault(name, f"failed: {error.code}")


@dataclass(frozen=True)
class Setting:
    """What a race starts from.

    Attributes:
        published: there is a dataset that both writers want to supersede.
        lose: by writer the operation and its key whose answer is lost once.
        before: changes the prefix before the race.
    """

    parent: Path
    published: bool = True
    lose: dict[str, tuple[str, str]] = field(default_factory=dict)
    before: Callable[[Path], object] = lambda prefix: None

    @contextmanager
    def race(self) -> Iterator[Race]:
        made = Race(Path(tempfile.mkdtemp(dir=self.parent)) / "orders", self.lose)
        if self.published:
            made.publish_earlier()
            self.before(made.prefix)
        yield made
        shutil.rmtree(made.prefix.parent)


def every_order(setting: Setting) -> Iterator[Race]:
    """Try all orders of the publishing steps of A and B: a depth-first search over the choices."""
    pending: list[tuple[str, ...]] = [()]
    while pending:
        forced = pending.pop()
        taken: list[str] = []

        def choose(names: list[str], forced: tuple[str, ...] = forced, taken: list[str] = taken) -> str:
            choice = forced[len(taken)] if len(taken) < len(forced) else names[0]
            if len(taken) >= len(forced):
                pending.extend((*taken, other) for other in names[1:])
            taken.append(choice)
            return choice

        with setting.race() as made:
            made.run(choose, whole=False)
            yield made


def some_orders(setting: Setting, count: int) -> Iterator[Race]:
    """Try ``count`` orders of the publishing steps, always the same ones."""
    for seed in range(count):
        chance = random.Random(seed)
        with setting.race() as made:
            made.run(chance.choice, whole=False)
            yield made


@pytest.mark.parametrize("published", [False, True], ids=["empty prefix", "published prefix"])
def test_every_interleaving_has_exactly_one_winner(memory_disk: Path, published: bool) -> None:
    count = 0
    for made in every_order(Setting(memory_disk, published)):
        count += 1
        winner = made.only_winner()
        assert made.seen <= {"earlier" if published else None, winner}
    assert count > 900  # two writers of six steps each: 924 orders


@pytest.mark.parametrize("key", ["manifest-A.json", "manifest.json", "_SUCCESS"])
def test_a_lost_answer_of_a_write_is_settled_by_looking(memory_disk: Path, key: str) -> None:
    setting = Setting(memory_disk, lose={"A": ("put", key)})
    orders = every_order(setting) if key == "_SUCCESS" else some_orders(setting, 150)
    fired = [made.only_winner() for made in orders if made.lost]
    assert "A" in fired
    # Who has replaced manifest.json on the version of its start has won, whatever became of the answers.
    assert (set(fired) == {"A"}) == (key != "manifest-A.json")


@pytest.mark.parametrize("step", [("head", "part-000002.parquet"), ("list", ""), ("head", "_SUCCESS")])
def test_a_lost_answer_of_a_read_fails_that_run_alone(memory_disk: Path, step: tuple[str, str]) -> None:
    fired = 0
    for made in some_orders(Setting(memory_disk, lose={"A": step}), 100):
        if made.lost and made.outcomes["A"] != "lost the race":
            fired += 1
            assert made.outcomes == {"A": "failed: R407", "B": "published"}
        assert made.only_winner() == "B" or not made.lost
    assert fired > 10


def test_a_dataset_without_an_immutable_manifest_gets_one_before_it_is_overwritten(memory_disk: Path) -> None:
    setting = Setting(memory_disk, before=lambda prefix: (prefix / "manifest-earlier.json").unlink())
    for made in some_orders(setting, 150):
        assert made.seen <= {"earlier", made.only_winner()}


@pytest.mark.parametrize("published", [False, True], ids=["empty prefix", "published prefix"])
def test_whole_runs_in_any_order_keep_the_contract(memory_disk: Path, published: bool) -> None:
    """Looking, writing the part, publishing and tidying: too many orders to try all, so they are drawn."""

    @settings(max_examples=150, deadline=None, database=None)
    @given(order=st.lists(st.integers(0, 1), max_size=60))
    def draw(order: list[int]) -> None:
        choices = iter(order)
        with Setting(memory_disk, published).race() as made:
            made.run(lambda names: names[next(choices, 0) % len(names)], whole=True)
            final = observer.check(made.prefix)
            assert final is not None
            # Who starts after the other has published supersedes it: then both succeed, one after the other.
            assert made.outcomes[final.run_id] == "published"
            assert set(made.outcomes.values()) <= {"published", "lost the race", "failed: R408"}

    draw()
