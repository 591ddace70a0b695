"""Whole runs at one prefix, disturbed as a test wants it, with the trust contract checked after every step."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import URL, update

from rivet_core.api import Destination, DestinationContext, DestinationSpec, RivetError, TrustError
from rivet_core.config import load
from rivet_core.contract.verdict import Verdict
from rivet_core.engine.plan import PrefixChoice, open_named_format
from rivet_core.engine.reconcile import reconcile_export
from rivet_core.engine.recover import find_unfinished
from rivet_core.engine.repair import prepare_repair
from rivet_core.engine.run import ExportRun, RunOptions
from rivet_core.engine.store import open_store
from rivet_core.engine.verify import verify_store
from rivet_core.state import StateStore
from rivet_core.state.tables import lease
from rivet_core.testing.destination.crash import Crash, Disturbance, MortalDatabase, MortalDestination, Process
from rivet_core.testing.destination.observer import (
    Breach,
    Damage,
    Dataset,
    Snapshot,
    check_instant,
    check_step,
    is_certified,
    is_ours,
    part_keys,
)
from rivet_core.testing.destination.story import Story

if TYPE_CHECKING:
    from rivet_core.config import Config, ExportConfig
    from rivet_core.engine.result import RunResult
    from rivet_core.engine.run import Order
    from rivet_core.plugins import Registry
    from rivet_core.testing.harness import Harness

EXPORT = "orders"
# Two rows of this size are more than a part may hold, so every run writes two parts.
_ROWS = 2
_FILLER = "x" * 40_000
_MAX_FILE_SIZE = "64KiB"
# Every run exports other rows: its number is a parameter of the query.
_QUERY = "SELECT id, ${generation} || ' ' || id || ' ' || filler AS note FROM orders"


class Workbench:
    """What the scenarios of one test share: the plugin, a source to export and the state databases of two hosts.

    Args:
        directory: an empty one, for the source and the state.
        spec: the destination under test.

    Attributes:
        database: the state of the host whose runs are disturbed.
        rival: the state of a host that knows nothing of the other.
        generations: which rows a run was to export, by its id.
    """

    def __init__(self, directory: Path, registry: Registry, spec: DestinationSpec, harness: Harness) -> None:
        self.harness = harness
        self.spec = spec
        self._directory = directory
        self._registry = registry
        self.database = self._open_state("state.db")
        self.rival = self._open_state("rival.db")
        self.generations: dict[str, int] = {}
        with closing(sqlite3.connect(directory / "shop.db")) as connection, connection:
            connection.execute("CREATE TABLE orders (id INTEGER NOT NULL, filler TEXT NOT NULL)")
            connection.executemany("INSERT INTO orders VALUES (?, ?)", ((number, _FILLER) for number in range(_ROWS)))

    def close(self) -> None:
        """Close the state databases."""
        self.database.close()
        self.rival.close()

    @contextmanager
    def scenario(self, prefix: str, objects: Snapshot | None = None, *, chunked: bool = False) -> Iterator[Scenario]:
        """Open a scenario for a block; see ``Scenario``."""
        with closing(Scenario(self, prefix, objects, chunked=chunked)) as scenario:
            yield scenario

    def configure(self, prefix: str, *, chunked: bool) -> Config:
        """Return the configuration of an export to ``prefix``, read from a file as a user's is."""
        mode = {"mode": "chunked", "chunk_column": "id", "chunk_size": 1} if chunked else {}
        document = {
            "source": {"type": "sqlite", "database": "shop.db"},
            "exports": [
                {
                    "name": EXPORT,
                    "query": _QUERY,
                    **mode,
                    "columns": {"id": "int64", "note": "string"},
                    "compression": "none",
                    "max_file_size": _MAX_FILE_SIZE,
                    "destination": {"type": self.spec.type, **self.harness.config(prefix)},
                }
            ],
        }
        path = self._directory / "rivet.yaml"
        path.write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML
        return load(path, self._registry)

    def registry_for(self, process: Process) -> Registry:
        """Return the registry as a process sees it: it opens destinations that die with the process."""
        return cast("Registry", _ProcessRegistry(self._registry, process))

    def _open_state(self, name: str) -> MortalDatabase:
        database = MortalDatabase(URL.create("sqlite", database=str(self._directory / name)))
        database.prepare()
        return database

    def free_lease(self) -> None:
        """Let go of the lease of a process that has died: this process lives, so the next one would believe it held."""
        with self.database.write() as connection:
            connection.execute(update(lease).values(pid=None))


class _ProcessRegistry:
    def __init__(self, registry: Registry, process: Process) -> None:
        self._registry = registry
        self._process = process

    def __getattr__(self, name: str) -> object:
        return getattr(self._registry, name)

    def load(self, spec: object, attribute: str) -> object:
        found = self._registry.load(spec, attribute)  # type: ignore[arg-type]
        if not (isinstance(spec, DestinationSpec) and attribute == "factory"):
            return found

        def open_mortal(model: object, context: DestinationContext) -> Destination:
            opened = found(model, replace(context, base_dir=Path.cwd()))  # type: ignore[operator]
            return MortalDestination(opened, self._process)

        return open_mortal


class Scenario:
    """Steps at one prefix. Every step ends with an observer's look at it; a failure tells the whole story.

    Args:
        prefix: a fresh one.
        objects: what lies there before the first step.
        chunked: export every row as a chunk of its own, instead of all of them by one statement.
    """

    def __init__(
        self, workbench: Workbench, prefix: str, objects: Snapshot | None = None, *, chunked: bool = False
    ) -> None:
        self._workbench = workbench
        self._harness = workbench.harness
        self._prefix = prefix
        self._config = workbench.configure(prefix, chunked=chunked)
        self._processes: list[Process] = []
        self._story = Story()
        self._strangers = [key for key in objects or {} if not is_ours(key)]
        self._damaged_control: dict[str, bytes | None] = {}
        self._damaged_parts: set[str] = set()
        self._generation = 0
        for key, data in (objects or {}).items():
            self._harness.put(prefix, key, data)
        self.objects: Snapshot = dict(objects or {})
        self._dataset = check_instant(self.objects)

    @property
    def published(self) -> Dataset | None:
        """What is certified now, as far as the observer can tell."""
        return self._dataset

    def close(self) -> None:
        """Release what dead processes held, and empty the prefix."""
        for process in self._processes:
            process.bury()
        for key in self._harness.list(self._prefix):
            self._harness.delete(self._prefix, key)

    def run(self, disturbance: Disturbance | None = None) -> str:
        """Export new rows, and prove everything that must hold then.

        Returns:
            What the disturbance has done; empty if the run had too few operations for it.

        Raises:
            Breach: an invariant is broken, or the run failed without being disturbed, or its report is wrong.
        """
        self._generation += 1
        return self._step("run", disturbance, self._generation)

    def resume(self, disturbance: Disturbance | None = None) -> str:
        """Go on with the newest run that was not finished, by force; without one export the rows of the last run again.

        Returns:
            What the disturbance has done; empty if there were too few operations for it.

        Raises:
            Breach: as for ``run``.
        """
        with StateStore(self._workbench.database) as state:
            unfinished = find_unfinished(state, EXPORT)
        if unfinished is not None and unfinished.prefix != self._config.exports[0].destination.template:
            return self.run(disturbance)  # the last one at another prefix has died, and would be resumed there
        self._generation += unfinished is None
        generation = self._workbench.generations[unfinished.run_id] if unfinished else self._generation
        return self._step("resume", disturbance, generation, resume=True)

    def repair(self, disturbance: Disturbance | None = None) -> str:
        """Export again what is missing or damaged of the dataset.

        Returns:
            What the disturbance has done; empty if there were too few operations for it.

        Raises:
            Breach: an invariant is broken, an intact dataset is refused, or the result is not what it was.
        """
        certified, generation = self._dataset, self._certified_generation()
        stale = self._stale()
        process = Process(disturbance)
        self._processes.append(process)
        order, refusal = None, ""
        try:
            with _quiet_engine():
                found, order = prepare_repair(*self._at(process), {"generation": str(generation)})
            self._story.add(f"repair: {len(found.flagged)} to export again")
        except Crash:
            refusal = "died"
        except RivetError as error:
            refusal = f"{error.code} {error.message}"
        if order is not None:
            return self._step("repair", process, generation, order=order)
        self._story.add(f"repair: {process.disturbed or 'not disturbed'}; {refusal or 'nothing was run'}")
        with self._story.told():
            if (
                refusal
                and certified is not None
                and not process.disturbed
                and not self._damage().still_at(self.objects)
            ):
                raise Breach(f"M5: a dataset that _SUCCESS certifies was not repaired: {refusal}")
            if stale and not refusal and not process.disturbed:
                raise Breach(f"M3: nothing was repaired, and {', '.join(sorted(stale))} are not as they were written")
            self._observe()
        return process.disturbed

    def reconcile(self) -> str:
        """Compare the prefix with the source as ``rivet reconcile`` does, and prove that the result is true.

        Returns:
            ``match`` or ``mismatch``; empty where there is nothing that could be compared.

        Raises:
            Breach: the result says more than the observer can see, or less.
        """
        process = Process()
        self._processes.append(process)
        result = ""
        try:
            report = reconcile_export(*self._at(process), {"generation": str(self._certified_generation())})
            result = report.result
            self._story.add(f"reconcile: {result}")
        except TrustError as error:
            self._story.add(f"reconcile: {error.message}")
        with self._story.told():
            intact = self._dataset is not None and self._dataset.intact
            if intact and not self._damage().still_at(self.objects) and result != "match":
                raise Breach(f"M5: reconcile says {result or 'nothing'} of an intact dataset of the source's rows")
            if result == "match" and not intact:
                raise Breach("M5: reconcile says match, and _SUCCESS certifies nothing that is there as written")
        return result

    def _step(
        self,
        verb: str,
        disturbance: Disturbance | Process | None,
        generation: int,
        *,
        resume: bool = False,
        order: Order | None = None,
    ) -> str:
        """Run, and prove everything that must hold then; see ``run``."""
        before, certified_before = self.objects, self._dataset
        process = disturbance if isinstance(disturbance, Process) else Process(disturbance)
        result = self._execute(process, self._workbench.database, generation, resume=resume, order=order)
        self._story.add(f"{verb}: {process.disturbed or 'not disturbed'}; {_outcome(result)}")
        with self._story.told():
            self.objects = self._look()
            check_step(before, self.objects, process.targets, self._strangers)
            self._dataset = check_instant(self.objects, self._damage())
            now = self._dataset
            replaced = now is not None and (certified_before is None or now.run_id != certified_before.run_id)
            if now is not None and replaced:
                self._check_published(now, generation)
            if result is not None:
                certified = now.run_id if now is not None and (replaced or result.run_id == now.run_id) else None
                self._check_report(result, certified)
                if not process.disturbed:
                    self._check_finished(result)
        return process.disturbed

    def _at(self, process: Process) -> tuple[Config, ExportConfig, Registry, PrefixChoice]:
        """Return what commands need that look at the prefix."""
        registry = self._workbench.registry_for(process)
        return self._config, self._config.exports[0], registry, PrefixChoice(datetime.now(UTC).date())

    def _certified_generation(self) -> int:
        """Return which rows the certified dataset has."""
        return self._workbench.generations.get(self._dataset.run_id, 0) if self._dataset else 0

    def _stale(self) -> set[str]:
        """Return the certified parts that are not there as they were written."""
        return self._listed() - self._dataset.parts.keys() if self._dataset else set()

    def race(self, operation: int) -> str:
        """Export while another host does: its whole run comes before the given operation of ours.

        Returns:
            What came in between; empty if our run had too few operations for that.

        Raises:
            Breach: an invariant is broken, or not exactly the one has won that looked at the prefix last.
        """
        self._generation += 1
        generation, before, rivals = self._generation, self.objects, []

        def publish() -> None:
            self._generation += 1
            rival = Process()
            rivals.append((self._execute(rival, self._workbench.rival, self._generation), rival))

        process = Process(Disturbance(operation, "another run before", publish))
        ours = self._execute(process, self._workbench.database, generation)
        if ours is None or not rivals:
            return ""
        [(theirs, rival)] = rivals
        self._story.add(f"run: {process.disturbed}; {_outcome(ours)}; the other run {_outcome(theirs)}")
        with self._story.told():
            self.objects = self._look()
            check_step(before, self.objects, process.targets | rival.targets, self._strangers)
            self._dataset = check_instant(self.objects)
            # Who had read the marker before the other one published must have noticed that, and lost.
            looked = "head manifest.json" in process.operations[:operation]
            winner, rows = (theirs, self._generation) if looked else (ours, generation)
            certified = self._dataset.run_id if self._dataset else None
            if winner is None or self._dataset is None or certified != winner.run_id:
                raise Breach(f"M2: {certified} is certified, and not the run that saw what the other one had published")
            self._check_published(self._dataset, rows)
            committed = "put _SUCCESS" in process.operations[: operation - 1]
            if looked and not committed and ours.manifest_fingerprint is not None:
                raise Breach("M2: two runs say that they have published, and one of them had lost")
        return process.disturbed

    def validate(self) -> Verdict:
        """Judge the prefix as ``rivet validate`` does, and prove that the verdict is true.

        Raises:
            Breach: the verdict says more than the observer can see, or less.
        """
        process = Process()
        self._processes.append(process)
        export = self._config.exports[0]
        registry = self._workbench.registry_for(process)
        with closing(open_store(export.destination, registry, Path.cwd())) as store:
            report = verify_store(
                store,
                export=EXPORT,
                depth="parts",
                rehash=self._workbench.spec.capabilities.rehash_on_validate,
                format_of=lambda name: open_named_format(name, export, registry),
            )
        verdict = report.verdict
        self._story.add(f"validate: {verdict.value}")
        with self._story.told():
            self._check_verdict(verdict)
            missed = part_keys(self.objects) - {*report.untracked, *self._listed()}
            if self._dataset is not None and missed:
                raise Breach(f"M9: validate does not report {', '.join(sorted(missed))}, which no manifest lists")
        return verdict

    def damage(self, key: str, data: bytes | None) -> None:
        """Replace or delete an object behind the plugin's back.

        Args:
            data: the new content; ``None`` to delete it.
        """
        if data is None:
            self._harness.delete(self._prefix, key)
        else:
            self._harness.put(self._prefix, key, data)
        if part_keys([key]):
            self._damaged_parts.add(key)
        else:
            self._damaged_control[key] = data
        self._story.add(f"behind the plugin's back: {key} was {'deleted' if data is None else 'overwritten'}")
        self._observe()

    def add(self, key: str, data: bytes) -> None:
        """Put an object there that no run has written."""
        self._harness.put(self._prefix, key, data)
        if not is_ours(key):
            self._strangers.append(key)
        self._story.add(f"behind the plugin's back: {key} was added")
        self._observe()

    def _execute(
        self,
        process: Process,
        database: MortalDatabase,
        generation: int,
        *,
        resume: bool = False,
        order: Order | None = None,
    ) -> RunResult | None:
        if process not in self._processes:
            self._processes.append(process)
        database.process = process
        run = ExportRun(
            self._config,
            self._config.exports[0],
            self._workbench.registry_for(process),
            StateStore(database),
            RunOptions(params={"generation": str(generation)}, resume=resume, force=resume),
            order=order,
        )
        self._workbench.generations[run.run_id] = generation
        result = None
        try:
            with _quiet_engine():
                result = run.execute()
        except Crash:
            pass
        database.process = None
        if result is None:
            self._workbench.free_lease()
        return result

    def _observe(self) -> None:
        with self._story.told():
            self.objects = self._look()
            self._dataset = check_instant(self.objects, self._damage())

    def _look(self) -> Snapshot:
        found = {key: self._harness.get(self._prefix, key) for key in self._harness.list(self._prefix)}
        return {key: data for key, data in found.items() if data is not None}

    def _damage(self) -> Damage:
        return Damage(self._damaged_control, self._damaged_parts)

    def _listed(self) -> set[str]:
        return {part["path"] for part in self._dataset.manifest["parts"]} if self._dataset else set()

    def _check_published(self, now: Dataset, generation: int) -> None:
        if not now.intact:
            raise Breach("M5: the dataset that was just certified is not complete")
        if now.rows() != _rows(generation):
            raise Breach("M1: the dataset that was just certified does not hold the rows of the source")
        if len(now.parts) < 2:
            raise AssertionError("the run wrote one part only, so several parts are not tested")

    def _check_report(self, result: RunResult, certified: str | None) -> None:
        claimed = result.run_id if result.manifest_fingerprint is not None else None
        if claimed != certified:
            raise Breach(f"M2: the run says that it published {claimed}, and _SUCCESS certifies {certified}")

    def _check_finished(self, result: RunResult) -> None:
        if result.error is not None:
            raise Breach(f"M8: a run that nothing disturbed failed: {result.error.code} {result.error.message}")
        if result.warnings:
            raise Breach(f"M9: a run that nothing disturbed could not tidy up: {'; '.join(result.warnings)}")
        strays = part_keys(self.objects) - self._listed()
        if strays:
            raise Breach(f"M9: parts of no dataset are left beside the published one: {', '.join(sorted(strays))}")

    def _check_verdict(self, verdict: Verdict) -> None:
        intact = self._dataset is not None and self._dataset.intact
        if not intact and verdict in (Verdict.VERIFIED, Verdict.PENDING_PUBLISH):
            raise Breach(f"M5: validate says {verdict.value}, and _SUCCESS certifies nothing that is there as written")
        if intact and not self._damage().still_at(self.objects):
            expected = Verdict.VERIFIED if is_certified(self.objects, "manifest.json") else Verdict.PENDING_PUBLISH
            if verdict is not expected:
                raise Breach(f"M5: validate says {verdict.value} instead of {expected.value} of an intact dataset")


def _outcome(result: RunResult | None) -> str:
    if result is None:
        return "died"
    return f"{result.status}, {result.error.code} {result.error.message}" if result.error else result.status


def _rows(generation: int) -> list[dict[str, object]]:
    """Return what ``_QUERY`` gives."""
    return [{"id": number, "note": f"{generation} {number} {_FILLER}"} for number in range(_ROWS)]


@contextmanager
def _quiet_engine() -> Iterator[None]:
    """Keep the warnings of disturbed runs out of the report of a failure, of which they are not the cause."""
    logger = logging.getLogger("rivet_core.engine")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


__all__ = ["Scenario", "Workbench"]
