"""An export to one prefix, whose runs are killed while a consumer watches."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from crash.shop import Shop, Site, check_settled
from crash.watcher import Watcher
from crash.zygote import Outcome, Zygote


class Watched:
    """What every kill is followed by: a look at what the consumer was shown, then at a prefix at rest.

    Args:
        prefix: where the export writes; its first dataset is made here.

    Attributes:
        counts: what happened.
        chance: draws what is random, in every test run the same.
        digests: of everything that the source has been, in order.
    """

    def __init__(self, shop: Shop, site: Site, zygote: Zygote, watcher: Watcher, prefix: str) -> None:
        self.counts: Counter[str] = Counter()
        self.chance = random.Random(5)
        self.shop = shop
        self.digests = [shop.digest()]
        self.config = site.configure(shop, prefix)
        self.directory = site.directory
        self._zygote = zygote
        self._watcher = watcher
        self._at = site.at(prefix)
        watcher.watch(self._at.to_json())
        assert self.run().exit_code == 0

    def run(self, **options: Any) -> Outcome:
        """Run the export; see ``Zygote.run``."""
        return self._zygote.run(self.config, self.directory / "trace", **options)

    def check_killed(self, outcome: Outcome) -> bool:
        """Prove that a consumer sees the dataset before or the one after; return whether it is the latter."""
        assert outcome.exit_code is None, outcome
        report = self._watcher.report()
        assert report.violation is None, (report.violation, outcome.points[-2:])
        assert report.current is not None
        shown = report.shown[report.current]
        assert shown in self.digests[-2:]
        committed = shown == self.digests[-1]
        self.counts["killed after the commit" if committed else "killed before the commit"] += 1
        return committed

    def check(self, outcome: Outcome) -> None:
        """Prove that the run went well, and that the prefix is the source and nothing else was ever shown."""
        assert outcome.exit_code == 0, outcome
        with self._at.open() as place:
            manifest = check_settled(place, self.digests[-1])
        report = self._watcher.report()
        assert report.violation is None, report.violation
        assert report.current == manifest["run_id"]
        assert set(report.shown.values()) <= set(self.digests), "a dataset was shown that no source ever was"
