"""Applied plans are killed before and after everything that they change, while a consumer watches the prefix."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crash.shop import Shop, Site, check_settled, local_site
from crash.watcher import Watcher
from crash.zygote import Outcome, Zygote
from rivet_core.config import load
from rivet_core.engine.preview import PreviewOptions, preview
from rivet_core.engine.sealed_plan import write_plan
from rivet_core.plugins import Registry, load_registry

#: Every point instead of some.
EVERY_STEP = "RIVET_KILLS" in os.environ
PREFIX = "plans/"
CHUNKED = {"mode": "chunked", "chunk_count": 2}


class Plans:
    """Plans of one site, each of a source that was written anew.

    Attributes:
        counts: what happened.
    """

    def __init__(self, shop: Shop, site: Site, zygote: Zygote, watcher: Watcher, registry: Registry) -> None:
        self.counts: Counter[str] = Counter()
        self._shop = shop
        self._site = site
        self._zygote = zygote
        self._watcher = watcher
        self._registry = registry
        self._digests = [shop.digest()]
        self._config = site.configure(shop, PREFIX)
        self._plan = site.directory / "plan.json"
        watcher.watch(site.at(PREFIX).to_json())
        assert self._run().exit_code == 0

    def whole(self) -> tuple[str, ...]:
        """Apply a plan without any harm and return the points that were passed."""
        self._approve()
        outcome = self._apply()
        assert outcome.exit_code == 0, outcome
        self._check()
        return outcome.points

    def killed(self, kill_at: int) -> None:
        """Kill a plan's run at a point, and have the plan's dataset published all the same."""
        self._approve()
        old, new = self._digests[-2:]
        outcome = self._apply(kill_at=kill_at)
        assert outcome.exit_code is None, outcome
        report = self._watcher.report()
        assert report.violation is None, (report.violation, outcome.points[-2:])
        assert report.current is not None
        committed = report.shown[report.current] == new
        assert committed or report.shown[report.current] == old
        self.counts["killed after the commit" if committed else "killed before the commit"] += 1
        again = self._apply()
        if again.exit_code == 0:
            assert not committed, "a plan was applied twice"
            self.counts["applied again"] += 1
        else:
            assert (again.exit_code, again.error_code) == (5, "R704"), again
            self.counts["resumed"] += 1
            finished = self._run(resume=True, force=True)
            assert finished.exit_code == 0, finished
        self._check()

    def _approve(self) -> None:
        """Write the source anew, and plan its export."""
        self._digests.append(self._shop.change())
        now = datetime.now(UTC)
        loaded = load(self._config, self._registry)
        (export,) = loaded.exports
        write_plan(self._plan, [preview(loaded, export, self._registry, now, PreviewOptions({}))], now)

    def _check(self) -> None:
        with self._site.at(PREFIX).open() as place:
            manifest = check_settled(place, self._digests[-1])
        report = self._watcher.report()
        assert report.violation is None, report.violation
        assert report.current == manifest["run_id"]
        assert set(report.shown.values()) <= set(self._digests), "a dataset was shown that no source ever was"

    def _apply(self, kill_at: int | None = None) -> Outcome:
        return self._run(plan=self._plan, kill_at=kill_at, changes=True)

    def _run(self, **options: Any) -> Outcome:
        return self._zygote.run(self._config, self._site.directory / "trace", **options)


def deaths(points: tuple[str, ...]) -> list[int]:
    """Return few points to kill at: the first one, that before the commit point, and the last one after each change."""
    last = {point: number for number, point in enumerate(points, start=1)}
    return sorted({1, last["before put"], *(number for point, number in last.items() if point.startswith("after"))})


def test_a_plan_is_applied_once_whatever_is_killed(
    memory_disk: Path, shop: Shop, record_property: Callable[[str, object], None]
) -> None:
    site = local_site(memory_disk, export=CHUNKED)
    zygote = Zygote(site.configure(shop, "warm-up/"))
    with Watcher() as watcher:
        plans = Plans(shop, site, zygote, watcher, load_registry())
        before = watcher.report()
        points = plans.whole()
        todo = list(range(1, len(points) + 1)) if EVERY_STEP else deaths(points)
        for number in todo:
            plans.killed(number)
        seen = watcher.report()
    zygote.close()
    assert seen.nothing == before.nothing, "there was an instant without a dataset"
    counts = {**plans.counts, "polls": seen.polls, "datasets shown": len(seen.shown)}
    record_property("counts", "plans, local: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    for what in ("killed before the commit", "killed after the commit", "applied again", "resumed"):
        assert plans.counts[what] > 0, counts
    assert len(seen.shown) > len(todo)
