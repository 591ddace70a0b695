"""Two machines run one export: at once, where one wins and the other says why, or one goes on where the other died."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from crash.places import Address
from crash.shop import Shop, Site, check_settled, local_site, s3_site
from crash.watcher import Watcher
from crash.zygote import Outcome, Zygote
from servers.postgres import Postgres
from servers.seaweedfs import SeaweedFS

ROUNDS = 5
#: In the middle of the chunks, and after the manifest: the n-th point of a name.
DEATHS = [("before writer.commit", 4), ("after writer.commit", 6), ("after put", 1)]
CHUNKED = {"mode": "chunked", "chunk_size": 75, "parallel": 2}


def another_host(name: str) -> list[str]:
    """Return the command that runs its arguments where the host has another name, as programs on another host do.

    A name of its own is what tells hosts apart; a pid means nothing beyond it.
    """
    unshare = ["unshare", "--uts", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    try:
        subprocess.run([*unshare, "hostname", name], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("this user cannot name a host")
    return [*unshare, "sh", "-c", f'hostname {name} && exec "$@"', "sh"]


class Machine:
    """A host with a directory of its own that exports to the prefix of its site."""

    def __init__(self, shop: Shop, site: Site, prefix: str, *, host: str | None) -> None:
        self._shop = shop
        self._site = site
        self._prefix = prefix
        self._zygote = Zygote(
            site.configure(shop, "warm-up/"),
            environment=site.environment,
            inside=another_host(host) if host else (),
        )

    def run(self, *, prefix: str | None = None, export: dict[str, object] | None = None, **options: object) -> Outcome:
        """Run the export."""
        site = replace(self._site, export=self._site.export if export is None else export)
        config = site.configure(self._shop, prefix or self._prefix)
        return self._zygote.run(config, self._site.directory / "trace", **options)  # type: ignore[arg-type]

    def close(self) -> None:
        self._zygote.close()


@pytest.fixture
def local(memory_disk: Path) -> Site:
    return local_site(memory_disk)


@pytest.fixture
def s3(memory_disk: Path, seaweedfs: SeaweedFS) -> Site:
    return s3_site(memory_disk, seaweedfs)


@pytest.fixture
def site(request: pytest.FixtureRequest, where: str) -> Site:
    """Where both machines export to."""
    found: Site = request.getfixturevalue(where)
    return found


@contextmanager
def two_machines(
    shop: Shop, site: Site, *, state_url: str | None, hosts: tuple[str | None, str | None]
) -> Iterator[tuple[list[Machine], Address]]:
    """Start both; yields them and the prefix that they share."""
    prefix = str(site.directory / "shared") if site.address.path else "shared/"
    machines: list[Machine] = []
    try:
        for name, host in zip("ab", hosts, strict=True):
            directory = site.directory / name
            directory.mkdir()
            own = replace(site, directory=directory, state_url=state_url)
            machines.append(Machine(shop, own, prefix, host=host))
        yield machines, site.at(prefix)
    finally:
        for machine in machines:
            machine.close()


def at_once(machines: list[Machine], export: dict[str, object]) -> list[Outcome]:
    with ThreadPoolExecutor(len(machines)) as threads:
        return list(threads.map(lambda machine: machine.run(export=export), machines))


#: What they share, the loser's error, and whether there must be losers: on another host the second waits for the first,
#: unless that renews its lease meanwhile.
SHARING = {
    "one host, one state": (True, (None, None), "R702", True),
    "two hosts, one state": (True, ("machine-a", "machine-b"), "R702", False),
    "two hosts, a state each": (False, ("machine-a", "machine-b"), "R703", True),
}


@pytest.mark.parametrize(
    ("where", "sharing"), [*(("local", name) for name in SHARING), ("s3", "two hosts, a state each")]
)
def test_one_of_two_that_run_at_once_wins_and_the_other_says_why(
    shop: Shop, site: Site, postgres: Postgres, where: str, sharing: str, record_property: Callable[[str, object], None]
) -> None:
    shared, hosts, refusal, always = SHARING[sharing]
    state_url = postgres.create_database().url if shared else None
    refused = 0
    with two_machines(shop, site, state_url=state_url, hosts=hosts) as (machines, address), Watcher() as watcher:
        watcher.watch(address.to_json())
        sources = [shop.digest()]
        for round_ in range(2 * ROUNDS):
            sources.append(shop.change())
            outcomes = at_once(machines, CHUNKED if round_ % 2 else {})
            winners = [outcome for outcome in outcomes if outcome.exit_code == 0]
            losers = [outcome for outcome in outcomes if outcome.exit_code != 0]
            assert winners, outcomes
            assert {(loser.exit_code, loser.error_code) for loser in losers} <= {(5, refusal)}
            refused += len(losers)
            report = watcher.report()
            assert report.violation is None, report.violation
            assert report.current in {winner.results[0]["run_id"] for winner in winners}
            assert report.shown[report.current] == sources[-1]
        assert set(report.shown.values()) <= set(sources)
        assert machines[0].run().exit_code == 0
        with address.open() as place:
            check_settled(place, sources[-1])
    assert refused > 0 or not always
    record_property(
        "counts", f"{where}, {sharing}: {2 * ROUNDS} times at once, {refused} refused, {report.polls} polls"
    )


@pytest.mark.parametrize(("where", "day"), [("local", None), ("s3", "1999-12-31")], ids=["same day", "past midnight"])
def test_another_machine_goes_on_where_one_has_died(
    shop: Shop, site: Site, postgres: Postgres, day: str | None
) -> None:
    state = postgres.create_database()
    shared = str(site.directory / "shared" / "orders") if site.address.path else "shared/orders"
    with two_machines(shop, site, state_url=state.url, hosts=("machine-a", "machine-b")) as (machines, _):
        first, second = machines
        points = first.run(prefix=f"{shared}-whole/", export=CHUNKED).points
        for number, (point, count) in enumerate(DEATHS):
            # A run of long ago has found its date in the template; the template of today has another one.
            template = f"{shared}-{number}/" + ("{date}/" if day else "")
            began = template.replace("{date}", day or "")
            expected = shop.change()
            kill_at = [index for index, name in enumerate(points, start=1) if name == point][count - 1]
            assert first.run(prefix=began, export=CHUNKED, kill_at=kill_at).exit_code is None
            # Nobody else can tell that it is dead, until it has been silent for a minute.
            state.execute("UPDATE rivet_lease SET heartbeat = heartbeat - 61")
            resumed = second.run(prefix=template, export=CHUNKED, resume=True)
            assert resumed.exit_code == 0, (point, resumed)
            (result,) = resumed.results
            assert result["prefix"].endswith(f"-{number}/{day}/" if day else f"-{number}/")
            assert "skip" in {item["decision"] for item in result["decisions"]}
            with site.at(began).open() as place:
                manifest = check_settled(place, expected)
            assert (manifest["run_id"] == result["resumes"]) == (point == "after put")
            if day:
                today = site.at(template.replace("{date}", result["started_at"][:10]))
                with today.open() as place:
                    assert place.names() == []
