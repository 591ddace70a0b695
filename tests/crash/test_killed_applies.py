"""Applied plans are killed before and after everything that they change, while a consumer watches the prefix."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from crash.shop import Shop, local_site
from crash.watched import Watched
from crash.watcher import Watcher
from crash.zygote import Outcome, Zygote
from rivet_core.config import load
from rivet_core.engine.preview import PreviewOptions, preview
from rivet_core.engine.sealed_plan import write_plan
from rivet_core.plugins import load_registry

#: Every point instead of some.
EVERY_STEP = "RIVET_KILLS" in os.environ
PREFIX = "plans/"
CHUNKED = {"mode": "chunked", "chunk_count": 2}


class Plans(Watched):
    """Plans of one site, each of a source that was written anew."""

    def whole(self) -> tuple[str, ...]:
        """Apply a plan without any harm and return the points that were passed."""
        self._approve()
        outcome = self._apply()
        self.check(outcome)
        return outcome.points

    def killed(self, kill_at: int) -> None:
        """Kill a plan's run at a point, and have the plan's dataset published all the same."""
        self._approve()
        committed = self.check_killed(self._apply(kill_at))
        again = self._apply()
        if again.exit_code == 0:
            assert not committed, "a plan was applied twice"
            self.counts["applied again"] += 1
            self.check(again)
        else:
            assert (again.exit_code, again.error_code) == (5, "R704"), again
            self.counts["resumed"] += 1
            self.check(self.run(resume=True, force=True))

    def _approve(self) -> None:
        """Write the source anew, and plan its export."""
        self.digests.append(self.shop.change())
        now, registry = datetime.now(UTC), load_registry()
        loaded = load(self.config, registry)
        (export,) = loaded.exports
        self._plan = self.directory / "plan.json"
        write_plan(self._plan, [preview(loaded, export, registry, now, PreviewOptions({}))], now)

    def _apply(self, kill_at: int | None = None) -> Outcome:
        return self.run(plan=self._plan, kill_at=kill_at, changes=True)


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
        plans = Plans(shop, site, zygote, watcher, PREFIX)
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
