"""The verb ``run``: plan, extract, publish and tidy one export after the other, under a lease and on record."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from rivet_core.api.errors import DestinationError, Interrupted, RivetError
from rivet_core.contract import keys
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.manifest import MAX_MANIFEST_BYTES, WARN_MANIFEST_BYTES, encode
from rivet_core.engine import plan
from rivet_core.engine.afterwards import Afterwards
from rivet_core.engine.counters import Counters
from rivet_core.engine.dataset import Job, Reuse, export_rows
from rivet_core.engine.inputs import inputs_of, refuse_changed_inputs
from rivet_core.engine.journal import Journal
from rivet_core.engine.prefix import look
from rivet_core.engine.publish import Baseline, Publisher
from rivet_core.engine.recover import Recovery, find_unfinished, recover, refuse_published
from rivet_core.engine.result import ErrorReport, RunResult, error_report, timestamp
from rivet_core.engine.selecting.position import Position, cursor_of, find_position, has_own_prefixes, new_rows
from rivet_core.engine.selecting.view import most_pieces
from rivet_core.engine.store import open_store
from rivet_core.engine.stream import run_stream
from rivet_core.engine.tidy import plan_tidying
from rivet_core.engine.writing.memory import MemoryPlan
from rivet_core.state import RunStart, open_state

if TYPE_CHECKING:
    from rivet_core.api.destination import Capabilities, ObjectInfo
    from rivet_core.config import Config, DestinationChoice, ExportConfig
    from rivet_core.contract.manifest import Manifest
    from rivet_core.engine.prefix import PrefixView
    from rivet_core.engine.store import CheckedDestination
    from rivet_core.plugins import Registry
    from rivet_core.state import CursorRow, Lease, LeaseInfo, Outcome, RunRow, StateStore

logger = logging.getLogger(__name__)

#: Shows the progress of one export while the block is open.
Watch = Callable[[str, Counters], AbstractContextManager[object]]


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to the configuration.

    Attributes:
        params: values of the query's binds.
        validate: verify the dataset after it is published.
        reconcile: count the rows of the source after that and compare.
        resume: go on with the newest run that ended before it was published.
        mixed: with ``resume``, also with the chunks of a snapshot that is gone.
        force: with ``resume``, also where a dataset is published.
        dry_run: with ``resume``, decide and do nothing.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    validate: bool = False
    reconcile: bool = False
    resume: bool = False
    mixed: bool = False
    force: bool = False
    dry_run: bool = False


def run_exports(
    config: Config, exports: tuple[ExportConfig, ...], registry: Registry, options: RunOptions, watch: Watch
) -> list[RunResult]:
    """Run exports in order. One that fails does not stop the others; an interrupt does.

    Raises:
        UsageError: the selection or the parameters make no sense; nothing was run.
        StateError: the state database cannot be opened; nothing was run.
    """
    plan.check_params(config, exports, registry, options.params)
    if any(export.destination.spec.kind == "stream" for export in exports):
        check = options.validate or options.reconcile
        return [run_stream(config, exports, registry, options.params, watch, validate=check)]
    results = []
    with open_state(config.state_url, config.base_dir) as state:
        for export in exports:
            run = ExportRun(config, export, registry, state, options)
            with watch(export.name, run.counters):
                results.append(run.execute())
            if results[-1].exit_code == Interrupted.exit_code:
                break
    return results


@dataclass(frozen=True)
class _Work:
    """What a run works with once it is recorded.

    Attributes:
        view: the prefix at the run's start.
        recovery: what is there of the run that this one resumes.
        position: where an incremental export has got to.
    """

    lease: Lease
    destination: CheckedDestination
    view: PrefixView
    journal: Journal
    recovery: Recovery | None
    position: Position


class Order(Protocol):
    """What a run is told that does not decide for itself where it writes and what it takes over."""

    @property
    def plan_id(self) -> str | None:
        """Hexadecimal digits with which the run's id ends, if it applies a plan."""

    @property
    def reuse(self) -> Reuse:
        """What it takes over from an earlier run."""

    @property
    def stale(self) -> frozenset[str]:
        """Parts that go to quarantine after the commit point, whatever the export says of superseded ones."""

    def destination(self, run_id: str) -> DestinationChoice:
        """Return the destination, its prefix resolved."""

    def refuse_stale(self, state: StateStore, view: PrefixView) -> None:
        """Raise a ``RivetError`` if the order was overtaken; the lease is held, and nothing was written yet."""


class ExportRun:
    """One run of one export into a store.

    Args:
        order: what to write where; without one the export's configuration and ``options`` decide.
    """

    def __init__(
        self,
        config: Config,
        export: ExportConfig,
        registry: Registry,
        state: StateStore,
        options: RunOptions,
        *,
        order: Order | None = None,
    ) -> None:
        self._config = config
        self._export = export
        self._registry = registry
        self._state = state
        self._options = options
        self._order = order
        self._started = datetime.now(UTC)
        plan_id = order.plan_id if order else None
        entropy = bytes.fromhex(plan_id) if plan_id else os.urandom(2)
        self.run_id = keys.make_run_id(export.name, self._started, entropy)
        self.counters = Counters()
        self._published: Manifest | None = None
        self._before: Manifest | None = None
        self._result = RunResult(
            export=export.name,
            run_id=self.run_id,
            mode=export.mode,
            prefix=export.destination.template,
            started_at=timestamp(self._started),
            plan=plan_id,
        )

    def execute(self) -> RunResult:
        """Run to the end and report it; an error is part of the result, not an exception."""
        result = self._result
        try:
            self._run()
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # SystemExit: a plugin's, or its driver's
            logger.debug("the run ended", exc_info=True)
            result.error = self._report(error)
            if isinstance(error, KeyboardInterrupt) and self._published is None:
                result.status = "interrupted"
        result.longest_statement_seconds = self.counters.longest_statement_seconds
        result.finish(self._config.base_dir)
        return result

    def _report(self, error: BaseException) -> ErrorReport:
        return error_report(error, self._export.name, published=self._published is not None)

    def _run(self) -> None:
        with ExitStack() as stack:
            lease = stack.enter_context(self._state.acquire(self._export.name, on_wait=_log_wait))
            unfinished = find_unfinished(self._state, self._export.name) if self._options.resume else None
            choice = self._choose_destination(unfinished)
            claimed = choice.spec.capabilities
            upload_bytes = MemoryPlan.upload_bytes(self._config.memory_budget, self._most_writers())
            store = open_store(choice, self._registry, self._config.base_dir, upload_bytes=upload_bytes)
            destination = stack.enter_context(closing(store))
            self._result.prefix = destination.uri
            view = look(destination)
            if self._order is not None:
                self._order.refuse_stale(self._state, view)
            settled = self._settle_earlier_run(lease, view, unfinished)
            recovery = None
            if unfinished is not None and settled is None:
                recovery = self._recover(unfinished, destination, view)
            position = Position()
            if self._export.incremental is not None and settled is None:
                position = self._find_position(lease, destination, view)
                self._before = position.dataset
            if self._options.dry_run:
                self._result.status = "planned"
                return
            if settled is None and (recovery is None or recovery.pending is None):
                self._start(lease, choice.template, destination, view, recovery)
            work = _Work(lease, destination, view, self._open_journal(lease, destination), recovery, position)
            content, listing = settled, view.listing
            if content is None:
                with self._recorded(work):
                    content, listing = self._export_and_publish(work, claimed)
            after = self._afterwards(work, rehash=claimed.rehash_on_validate)
            if content is not None:
                stale = self._order.stale if self._order else frozenset()
                after.tidy(plan_tidying(listing, content, view, self._export.superseded, stale=stale))
            if self._options.validate and (content or view.control.certified):
                after.validate()
            if self._options.reconcile and (described := content or view.control.certified):
                after.reconcile(described)

    def _most_writers(self) -> int:
        """Return how many parts may be written at the same time; each writer has a share of the memory."""
        export = self._export
        if export.parallel > 1:
            with suppress(RivetError), closing(plan.open_source(self._config, export, self._registry)) as source:
                return most_pieces(source, export)
        return export.parallel  # what is wrong with the source is said when it is read

    def _open_journal(self, lease: Lease, destination: CheckedDestination) -> Journal:
        journal = Journal(
            self.run_id, self._export.name, self._registry, lambda event: self._state.record_event(lease, event)
        )
        self._result.warnings = journal.warnings
        for message in destination.warnings():
            journal.warn(message)
        return journal

    def _export_and_publish(
        self, work: _Work, claimed: Capabilities
    ) -> tuple[Manifest | None, Mapping[str, ObjectInfo]]:
        """Return what is certified now, ``None`` if there is nothing new, and what was at the prefix before."""
        plan_id = {"plan": self._result.plan} if self._result.plan else {}
        work.journal.emit("run_started", prefix=work.destination.uri, mode=self._export.mode, **plan_id)
        if work.recovery is not None and work.recovery.pending is not None:
            content, data = work.recovery.pending
        else:
            exported = export_rows(self._job(work))
            if exported is None:
                return None, work.view.listing
            content = exported
            data = encode(content)
        conditional = work.destination.capabilities(claimed).conditional_put
        publisher = Publisher(work.destination, conditional=conditional, guard=work.lease.check)
        return content, self._publish(work, publisher, content, data)

    def _job(self, work: _Work) -> Job:
        return Job(
            config=self._config,
            export=self._export,
            registry=self._registry,
            params=self._options.params,
            state=self._state,
            lease=work.lease,
            run_id=self.run_id,
            started_at=self._started,
            destination=work.destination,
            view=work.view,
            journal=work.journal,
            counters=self.counters,
            result=self._result,
            reuse=self._reuse(work.recovery),
            position=work.position,
        )

    def _afterwards(self, work: _Work, *, rehash: bool) -> Afterwards:
        return Afterwards(
            config=self._config,
            export=self._export,
            registry=self._registry,
            params=self._options.params,
            lease=work.lease,
            destination=work.destination,
            journal=work.journal,
            counters=self.counters,
            result=self._result,
            rehash=rehash,
        )

    def _reuse(self, recovery: Recovery | None) -> Reuse:
        """Return what this run takes over from the run that it resumes, or as it was told."""
        if self._order is not None:
            return self._order.reuse
        return recovery.reuse if recovery else Reuse()

    def _choose_destination(self, unfinished: RunRow | None) -> DestinationChoice:
        """Return the destination at the prefix of this run: as told, that of the run which it resumes, or its own."""
        if self._order is not None:
            return self._order.destination(self.run_id)
        if unfinished is not None and unfinished.prefix is not None:
            return self._export.destination.with_prefix(unfinished.prefix)
        return plan.resolve_destination(self._export, plan.PrefixChoice(self._started.date(), self.run_id))

    def _settle_earlier_run(self, lease: Lease, view: PrefixView, unfinished: RunRow | None) -> Manifest | None:
        """Record as succeeded a run whose commit the state has missed: it died, or the answer was lost.

        Returns:
            The manifest of the run to resume, if that is the one: then nothing is left to export.
        """
        earlier = unfinished or self._state.newest_run(self._export.name)
        certified = view.control.certified
        if earlier is None or certified is None or certified.run_id != earlier.run_id:
            return None
        if earlier.status != "succeeded" and not self._options.dry_run:
            self._finish(lease, earlier.run_id, "succeeded", content=certified)
        if unfinished is None or view.control.certified_key is None:
            return None
        self.run_id = self._result.run_id = earlier.run_id
        self._committed(certified, view.manifests[view.control.certified_key].control.data)
        self._result.new_rows = sum(part.rows for part in certified.parts if part.run_id == certified.run_id)
        return certified

    def _find_position(self, lease: Lease, destination: CheckedDestination, view: PrefixView) -> Position:
        """Return where the export has got to, a commit at another prefix that the state has missed included."""
        earlier = self._state.newest_run(self._export.name)
        if (
            has_own_prefixes(self._export)
            and earlier is not None
            and earlier.manifest_fingerprint is not None  # it was about to publish
            and earlier.status != "succeeded"
            and earlier.prefix is not None
            and earlier.prefix_uri != destination.uri
            and not self._options.dry_run
        ):
            choice = self._export.destination.with_prefix(earlier.prefix)
            with closing(open_store(choice, self._registry, self._config.base_dir)) as store:
                if store.uri == earlier.prefix_uri:
                    self._settle_earlier_run(lease, look(store, everything=False), None)
        return find_position(self._state.cursor(self._export.name), self._export, view.control.certified)

    def _recover(self, unfinished: RunRow, destination: CheckedDestination, view: PrefixView) -> Recovery:
        """Decide what is kept of the run to resume, before anything is recorded or written."""
        goes_on = refuse_published(view, unfinished, force=self._options.force)
        with closing(plan.open_source(self._config, self._export, self._registry)) as source:
            described = plan.describe_query(source, self._export, self._options.params)
            refuse_changed_inputs(unfinished, inputs_of(self._export, *described))
        recovery = recover(self._state, unfinished, destination, view) if goes_on else Recovery(unfinished)
        chunking = self._export.chunking
        in_pieces = chunking is None and len(recovery.reuse.bounds) > 1
        if in_pieces or (chunking is not None and chunking.snapshot and not self._options.mixed):
            recovery = recovery.of_one_instant()
        if recovery.pending is not None:
            self.run_id = self._result.run_id = unfinished.run_id
        self._result.resumes = unfinished.run_id
        self._result.decisions = [decision.to_json() for decision in recovery.decisions]
        return recovery

    def _start(
        self,
        lease: Lease,
        prefix: str,
        destination: CheckedDestination,
        view: PrefixView,
        recovery: Recovery | None,
    ) -> None:
        self._state.start_run(
            lease,
            RunStart(
                run_id=self.run_id,
                export=self._export.name,
                mode=self._export.mode,
                prefix_uri=destination.uri,
                started_at=self._started,
                success_version=view.success.info.version if view.success else None,
                prefix=prefix,
                resumes=recovery.run.run_id if recovery else None,
            ),
        )

    @contextmanager
    def _recorded(self, work: _Work) -> Iterator[None]:
        """Keep the outcome in the state, whatever it is. When the block ends well the dataset is published, or left."""
        lease, journal = work.lease, work.journal
        try:
            yield
        except BaseException as error:
            # The error that ended the run is the one to report, also where the state cannot be written any more.
            with suppress(RivetError):
                if self._published is not None:
                    self._succeed(lease, journal, self._published)
                else:
                    self._fail(lease, journal, error)
            raise
        if self._published is not None:
            self._succeed(lease, journal, self._published)
        else:
            self._leave(work)

    def _succeed(self, lease: Lease, journal: Journal, content: Manifest) -> None:
        self._finish(lease, self.run_id, "succeeded", content=content)
        result = self._result
        journal.emit_if_possible("run_succeeded", rows=result.rows, parts=result.parts, bytes=result.bytes)

    def _fail(self, lease: Lease, journal: Journal, error: BaseException) -> None:
        report = self._report(error)
        interrupted = isinstance(error, KeyboardInterrupt)
        self._finish(lease, self.run_id, "interrupted" if interrupted else "failed", error=report)
        journal.emit_if_possible("run_interrupted" if interrupted else "run_failed", code=report.code)

    def _publish(self, work: _Work, publisher: Publisher, content: Manifest, data: bytes) -> Mapping[str, ObjectInfo]:
        self.counters.phase = "publishing"
        if len(data) > WARN_MANIFEST_BYTES:
            work.journal.warn(f"the manifest has {len(data)} bytes; {MAX_MANIFEST_BYTES} is the most that is read")
        self._state.publishing(work.lease, self.run_id, fingerprint(data))
        try:
            listing = publisher.publish(content, data, Baseline.of(work.view))
            self._committed(content, data)
        except BaseException:
            # It may have come while the answer of the commit was on its way: then the dataset is published.
            with suppress(DestinationError):
                if publisher.is_certified(data):
                    self._committed(content, data)
            raise
        result = self._result
        work.journal.emit_if_possible(
            "published", manifest=result.manifest_fingerprint, rows=result.rows, parts=result.parts
        )
        return listing

    def _committed(self, content: Manifest, data: bytes) -> None:
        self._published = content
        self._result.status = "succeeded"
        self._result.manifest_fingerprint = fingerprint(data)
        self._describe(content)

    def _leave(self, work: _Work) -> None:
        """Record and report that nothing is new; the state learns the cursor again if it has lost it."""
        result, dataset = self._result, work.position.dataset
        cursor = cursor_of(dataset) if dataset is not None and not work.position.per_run else None
        self._finish(work.lease, self.run_id, "succeeded", cursor=cursor)
        work.journal.emit_if_possible("run_succeeded", rows=0, parts=0, bytes=0)
        result.status, result.unchanged = "succeeded", True
        if dataset is not None:
            self._describe(dataset)

    def _describe(self, content: Manifest) -> None:
        result = self._result
        result.rows, result.parts = content.row_count, content.part_count
        result.bytes = sum(part.size_bytes for part in content.parts)
        result.new_rows = new_rows(content, self._before)

    def _finish(
        self,
        lease: Lease,
        run_id: str,
        outcome: Outcome,
        *,
        content: Manifest | None = None,
        error: ErrorReport | None = None,
        cursor: CursorRow | None = None,
    ) -> None:
        self._state.finish_run(
            lease,
            run_id,
            outcome,
            finished_at=datetime.now(UTC),
            error_code=error.code if error else None,
            error_message=error.message if error else None,
            rows=content.row_count if content else 0,
            size_bytes=sum(part.size_bytes for part in content.parts) if content else 0,
            parts=content.part_count if content else 0,
            cursor=cursor_of(content) if content else cursor,
        )


def _log_wait(owner: LeaseInfo) -> None:
    logger.warning("waiting for the lease: %s", owner)
