"""Nights of a chunked, parallel export of PostgreSQL, killed anywhere and resumed, while a consumer watches."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crash.places import Address
from crash.shop import Shop, Site, check_settled, local_site, s3_site
from crash.watcher import Watcher
from crash.zygote import Outcome, Zygote
from servers.postgres import Postgres
from servers.seaweedfs import SeaweedFS

#: For each destination so many kills at random instants, and so many at operations, of each kind at least one. Several
#: hundred prove more and take their time.
KILLS = int(os.environ.get("RIVET_KILLS", "6"))
CHUNKED = {"mode": "chunked", "max_file_size": "64KiB"}


class Nights:
    """Nights at one site. Each writes the source anew, is killed once or more often, and ends with its dataset.

    Attributes:
        counts: what happened.
        chance: draws what is random, in every test run the same.
    """

    def __init__(self, shop: Shop, site: Site, zygote: Zygote, watcher: Watcher) -> None:
        self.counts: Counter[str] = Counter()
        self._shop = shop
        self._site = site
        self._zygote = zygote
        self._watcher = watcher
        self.chance = random.Random(5)
        self._prefixes = 0
        self._digests = [shop.digest()]
        self._move_on()

    def whole(self) -> tuple[str, ...]:
        """Run one night without any harm and return the points that it passed."""
        self._digests.append(self._shop.change())
        outcome = self._run()
        assert outcome.exit_code == 0
        self._check()
        (result,) = outcome.results
        self._seconds = result["duration_seconds"]
        return outcome.points

    def instant(self) -> float:
        """Return a random instant of a run, in seconds after its start; a few are after its end."""
        return self.chance.random() * self._seconds * 1.1

    def night(self, **kill: Any) -> None:
        """Kill a run, resume it, killed again at times, and look at what it leaves."""
        if self.chance.random() < 0.25:
            self._move_on()
        self._digests.append(self._shop.change())
        before = self._watcher.report()
        self._kill(**kill)
        for _ in range(self.chance.choice((0, 0, 0, 1, 2))):
            self._kill(kill_after=self.instant(), resume=True, force=True)
        self._finish()
        self.counts["nights"] += 1
        after = self._check()
        assert after.polls > before.polls, "nobody has watched"

    def _kill(self, **options: Any) -> None:
        outcome = self._run(**options)
        if outcome.exit_code is None:
            self.counts["kills"] += 1
            self.counts["killed resumes"] += "resume" in options
        else:
            assert outcome.exit_code == 0, outcome
            self.counts["ended before the kill"] += 1
        report = self._watcher.report()
        assert report.violation is None, (report.violation, options, outcome.points[-3:])
        is_new = report.current is not None and report.shown[report.current] == self._digests[-1]
        self.counts["killed after the commit" if is_new else "killed before the commit"] += outcome.exit_code is None

    def _finish(self) -> None:
        """Resume until the night's dataset is there; by force where the prefix has a dataset of another night."""
        if self.chance.random() < 0.1:
            self.counts["plain runs"] += 1
            assert self._run().exit_code == 0
            return
        outcome = self._run(resume=True, force=self.chance.random() < 0.7)
        if outcome.exit_code == 5:
            assert outcome.error_code == "R701", outcome
            self.counts["refused without force"] += 1
            outcome = self._run(resume=True, force=True)
        assert outcome.exit_code == 0, outcome
        self.counts["resumes"] += 1
        (result,) = outcome.results
        self.counts["parts kept"] += sum(item["decision"] == "skip" for item in result["decisions"])
        if result["run_id"] == result["resumes"]:
            self.counts["published what was written"] += 1

    def _check(self) -> Any:
        """The prefix is the source, and the watcher has seen it; returns the watcher's report."""
        with self._at().open() as place:
            manifest = check_settled(place, self._digests[-1])
        report = self._watcher.report()
        assert report.violation is None, report.violation
        assert report.current == manifest["run_id"]
        assert set(report.shown.values()) <= set(self._digests), "a dataset was shown that no source ever was"
        return report

    def _run(self, **options: Any) -> Outcome:
        return self._zygote.run(self._config, self._site.directory / "trace", **options)

    def _at(self) -> Address:
        return self._site.at(f"nights-{self._prefixes}/")

    def _move_on(self) -> None:
        """Begin an empty prefix."""
        self._prefixes += 1
        self._config = self._site.configure(self._shop, f"nights-{self._prefixes}/")
        self._watcher.watch(self._at().to_json())


def steps(points: tuple[str, ...], chance: random.Random) -> list[int]:
    """Return the numbers of the points to kill at."""
    drawn = chance.sample(range(1, len(points) + 1), len(points))
    first = {points[number - 1]: number for number in reversed(drawn)}
    others = [number for number in drawn if number not in first.values()]
    return [*first.values(), *others[: max(0, KILLS - len(first))]]


@pytest.fixture
def local(memory_disk: Path) -> Site:
    return local_site(memory_disk, export={**CHUNKED, "chunk_size": 50, "parallel": 3})


@pytest.fixture
def s3(memory_disk: Path, seaweedfs: SeaweedFS, postgres: Postgres) -> Site:
    """A bucket; the state is in PostgreSQL, as where several machines share it."""
    export = {**CHUNKED, "chunk_size": 50, "parallel": 2}
    return s3_site(memory_disk, seaweedfs, state_url=postgres.create_database().url, export=export)


@pytest.mark.parametrize("name", ["local", "s3"])
def test_whatever_is_killed_the_night_ends_with_the_source(
    request: pytest.FixtureRequest, shop: Shop, name: str, record_property: Callable[[str, object], None]
) -> None:
    site: Site = request.getfixturevalue(name)
    zygote = Zygote(site.configure(shop, "warm-up/"), environment=site.environment)
    with Watcher() as watcher:
        nights = Nights(shop, site, zygote, watcher)
        nights.whole()
        points = nights.whole()  # with a dataset to replace and to move aside
        for number in steps(points, nights.chance):
            nights.night(kill_at=number)
        for _ in range(KILLS):
            nights.night(kill_after=nights.instant())
        seen = watcher.report()
    zygote.close()
    counts = {
        **nights.counts,
        "polls": seen.polls,
        "datasets shown": len(seen.shown),
        "replaced while read": seen.replaced,
    }
    record_property("counts", f"kill sweep, {name}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    assert len(seen.shown) >= counts["nights"]
    assert counts["kills"] > counts["nights"] / 2
    for what in ("killed after the commit", "killed before the commit", "killed resumes", "parts kept"):
        assert counts[what] > 0, counts
