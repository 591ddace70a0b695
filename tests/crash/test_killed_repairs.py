"""Repairs are killed before and after everything that they change, while a consumer watches the prefix all along."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crash.shop import Shop, Site, local_site, s3_site
from crash.watched import Watched
from crash.watcher import Watcher
from crash.zygote import Zygote
from servers.seaweedfs import SeaweedFS

#: Every point instead of some.
EVERY_STEP = "RIVET_KILLS" in os.environ
PREFIX = "repairs/"
CHUNKED = {"mode": "chunked", "chunk_count": 4}
#: Rows by their key, one in each of the chunks of the table.
TOGGLED = (-992, 300, 1420, 2500)


class Repairs(Watched):
    """Repairs at one site; each has one range to mend."""

    def whole(self) -> tuple[str, ...]:
        """Repair without any harm and return the points that were passed."""
        self._change()
        outcome = self.run(repair=True, changes=True)
        self.check(outcome)
        (result,) = outcome.results
        assert (result["parts"], len(result["quarantined"])) == (4, 1)
        return outcome.points

    def killed(self, kill_at: int) -> None:
        """Kill a repair at a point, and finish it."""
        self._change()
        committed = self.check_killed(self.run(repair=True, kill_at=kill_at, changes=True))
        if committed:
            self._change()  # or nothing would be left to repair, and nobody to tidy up
        resumed = not committed and self.chance.random() < 0.25
        self.counts["resumed" if resumed else "repaired again"] += 1
        self.check(self.run(resume=True, force=True) if resumed else self.run(repair=True))

    def _change(self) -> None:
        """Let a row of one chunk come or go."""
        key = self.chance.choice(TOGGLED)
        with self.shop.database.connect() as connection:
            if connection.execute("DELETE FROM orders WHERE id = %s", (key,)).rowcount == 0:
                connection.execute("INSERT INTO orders (id, generation, at) VALUES (%s, 0, now())", (key,))
            connection.commit()
        self.digests.append(self.shop.digest())


@pytest.fixture
def local(memory_disk: Path) -> Site:
    return local_site(memory_disk, export=CHUNKED)


@pytest.fixture
def s3(memory_disk: Path, seaweedfs: SeaweedFS) -> Site:
    return s3_site(memory_disk, seaweedfs, export=CHUNKED)


@pytest.mark.parametrize("name", ["local", "s3"])
def test_a_consumer_sees_the_old_dataset_or_the_repaired_one_whatever_is_killed(
    request: pytest.FixtureRequest,
    shop: Shop,
    name: str,
    record_property: Callable[[str, object], None],
) -> None:
    site: Site = request.getfixturevalue(name)
    zygote = Zygote(site.configure(shop, "warm-up/"), environment=site.environment)
    with Watcher() as watcher:
        repairs = Repairs(shop, site, zygote, watcher, PREFIX)
        before = watcher.report()
        points = repairs.whole()
        todo = _points(points, 1 if EVERY_STEP else 3 if name == "local" else len(points))
        for number in todo:
            repairs.killed(number)
        seen = watcher.report()
    zygote.close()
    assert seen.nothing == before.nothing, "there was an instant without a dataset"
    counts = {**repairs.counts, "polls": seen.polls, "datasets shown": len(seen.shown)}
    record_property("counts", f"repairs, {name}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    assert (
        min(repairs.counts[what] for what in ("killed before the commit", "killed after the commit", "repaired again"))
        > 0
    )
    assert len(seen.shown) > len(todo)


def _points(points: tuple[str, ...], step: int) -> list[int]:
    """Return the numbers of the points to kill at: every so many, and the last one of each kind."""
    last = {point: number for number, point in enumerate(points, start=1)}
    return sorted({*range(1, len(points) + 1, step), *last.values()})
