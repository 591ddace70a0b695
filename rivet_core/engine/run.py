"""The verb ``run``: plan, extract, publish and tidy one export after the other, under a lease and on record."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rivet_core.api.errors import DestinationError, Interrupted, RivetError, TrustError
from rivet_core.contract import keys
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.manifest import MAX_MANIFEST_BYTES, WARN_MANIFEST_BYTES, encode
from rivet_core.engine import plan
from rivet_core.engine.certificate import build_manifest
from rivet_core.engine.chunks import Bounds, Chunk, ChunkPlan, plan_chunks
from rivet_core.engine.counters import Counters
from rivet_core.engine.extract import PartTarget, WrittenPart
from rivet_core.engine.journal import Journal
from rivet_core.engine.memory import MemoryPlan
from rivet_core.engine.prefix import look
from rivet_core.engine.publish import Baseline, Publisher
from rivet_core.engine.result import ErrorReport, RunResult, error_report, timestamp
from rivet_core.engine.store import open_store
from rivet_core.engine.stream import run_stream
from rivet_core.engine.tidy import TidyPlan, plan_tidying, tidy
from rivet_core.engine.verify import verify_store
from rivet_core.engine.workers import extract_all
from rivet_core.state import PartRow, RunStart, open_state

if TYPE_CHECKING:
    from rivet_core.api.destination import ObjectInfo
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import Config, ExportConfig
    from rivet_core.contract.manifest import Manifest
    from rivet_core.engine.prefix import PrefixView
    from rivet_core.engine.store import CheckedDestination
    from rivet_core.plugins import Registry
    from rivet_core.state import Lease, LeaseInfo, Outcome, StateStore

logger = logging.getLogger(__name__)

#: Shows the progress of one export while the block is open.
Watch = Callable[[str, Counters], AbstractContextManager[object]]


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to the configuration."""

    params: Mapping[str, str] = field(default_factory=dict)
    validate: bool = False


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
        return [run_stream(config, exports, registry, options.params, watch, validate=options.validate)]
    results = []
    with open_state(config.state_url, config.base_dir) as state:
        for export in exports:
            run = ExportRun(config, export, registry, state, options)
            with watch(export.name, run.counters):
                results.append(run.execute())
            if results[-1].exit_code == Interrupted.exit_code:
                break
    return results


class ExportRun:
    """One run of one export into a store."""

    def __init__(
        self, config: Config, export: ExportConfig, registry: Registry, state: StateStore, options: RunOptions
    ) -> None:
        self._config = config
        self._export = export
        self._registry = registry
        self._state = state
        self._options = options
        self._workers = export.chunking.parallel if export.chunking else 1
        self._started = datetime.now(UTC)
        self.run_id = keys.make_run_id(export.name, self._started, os.urandom(2))
        self.counters = Counters()
        self._published: Manifest | None = None
        self._result = RunResult(
            export=export.name,
            run_id=self.run_id,
            mode=export.mode,
            prefix=export.destination.template,
            started_at=timestamp(self._started),
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
        result.finish(self._config.base_dir)
        return result

    def _report(self, error: BaseException) -> ErrorReport:
        return error_report(error, self._export.name, published=self._published is not None)

    def _run(self) -> None:
        choice = plan.resolve_destination(self._export, plan.PrefixChoice(self._started.date(), self.run_id))
        claimed = choice.spec.capabilities
        with ExitStack() as stack:
            lease = stack.enter_context(self._state.acquire(self._export.name, on_wait=_log_wait))
            upload_bytes = MemoryPlan.upload_bytes(self._config.memory_budget, self._workers)
            store = open_store(choice, self._registry, self._config.base_dir, upload_bytes=upload_bytes)
            destination = stack.enter_context(closing(store))
            self._result.prefix = destination.uri
            view = look(destination)
            self._settle_earlier_run(lease, view)
            self._start(lease, destination, view)
            journal = Journal(
                self.run_id, self._export.name, self._registry, lambda event: self._state.record_event(lease, event)
            )
            self._result.warnings = journal.warnings
            for message in destination.warnings():
                journal.warn(message)
            with self._recorded(lease, journal):
                journal.emit("run_started", prefix=destination.uri, mode=self._export.mode)
                content = self._extract(lease, destination, view, journal)
                conditional = destination.capabilities(claimed).conditional_put
                publisher = Publisher(destination, conditional=conditional, guard=lease.check)
                listing = self._publish(lease, publisher, content, view, journal)
            todo = plan_tidying(listing, content, view, self._export.superseded)
            self._tidy(lease, destination, todo, journal, rehash=claimed.rehash_on_validate)
            if self._options.validate:
                self._validate(destination, rehash=claimed.rehash_on_validate)

    def _settle_earlier_run(self, lease: Lease, view: PrefixView) -> None:
        """Record as succeeded a run whose commit the state has missed: it died, or the answer was lost."""
        earlier = self._state.newest_run(self._export.name)
        certified = view.control.certified
        if earlier is None or certified is None or certified.run_id != earlier.run_id:
            return
        if earlier.status != "succeeded":
            self._finish(lease, earlier.run_id, "succeeded", content=certified)

    def _start(self, lease: Lease, destination: CheckedDestination, view: PrefixView) -> None:
        self._state.start_run(
            lease,
            RunStart(
                run_id=self.run_id,
                export=self._export.name,
                mode=self._export.mode,
                prefix_uri=destination.uri,
                started_at=self._started,
                success_version=view.success.info.version if view.success else None,
            ),
        )

    @contextmanager
    def _recorded(self, lease: Lease, journal: Journal) -> Iterator[None]:
        """Keep the outcome in the state, whatever it is. The dataset is published when the block ends well."""
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

    def _succeed(self, lease: Lease, journal: Journal, content: Manifest) -> None:
        self._finish(lease, self.run_id, "succeeded", content=content)
        result = self._result
        journal.emit_if_possible("run_succeeded", rows=result.rows, parts=result.parts, bytes=result.bytes)

    def _fail(self, lease: Lease, journal: Journal, error: BaseException) -> None:
        report = self._report(error)
        interrupted = isinstance(error, KeyboardInterrupt)
        self._finish(lease, self.run_id, "interrupted" if interrupted else "failed", error=report)
        journal.emit_if_possible("run_interrupted" if interrupted else "run_failed", code=report.code)

    def _extract(self, lease: Lease, destination: CheckedDestination, view: PrefixView, journal: Journal) -> Manifest:
        export = self._export
        with closing(plan.open_source(self._config, export, self._registry)) as source:
            query = plan.build_query(source, export, self._options.params)
            schema = source.describe(query)
            journal.emit("source_described", columns=len(schema.columns))
            self.counters.approximate_rows = source.approximate_rows(query)
            format_ = plan.open_format(export, self._registry)
            target = PartTarget(
                destination=destination,
                format=format_,
                suffix=export.format.spec.suffix,
                schema=schema.arrow(),
                memory=MemoryPlan.divide(
                    self._config.memory_budget,
                    export.max_file_size,
                    workers=self._workers,
                    writer_bytes=destination.buffer_bytes,
                ),
                max_file_size=export.max_file_size,
                write_empty=export.empty == "file",
                journal=_StateParts(self._state, lease, self.run_id, journal),
                counters=self.counters,
            )
            chunks = self._plan_chunks(source, query, schema)
            first = 1 + max(view.highest_part_number(), self._state.highest_part(destination.uri))
            parts = extract_all(source, chunks.chunks, target, first_number=first, parallel=self._workers)
            return build_manifest(
                run_id=self.run_id,
                export=export,
                started_at=self._started,
                destination_uri=destination.uri,
                engine=source.engine_name,
                table=query.table,
                compression=format_.compression,
                schema=schema,
                chunks=chunks,
                parts=parts,
            )

    def _plan_chunks(self, source: Source, query: Query, schema: SourceSchema) -> ChunkPlan:
        if self._export.chunking is None:
            return ChunkPlan((), (Chunk(1, query, Bounds()),))
        self.counters.phase = "planning"
        return plan_chunks(source, query, schema, self._export.chunking)

    def _publish(
        self, lease: Lease, publisher: Publisher, content: Manifest, view: PrefixView, journal: Journal
    ) -> Mapping[str, ObjectInfo]:
        self.counters.phase = "publishing"
        data = encode(content)
        if len(data) > WARN_MANIFEST_BYTES:
            journal.warn(f"the manifest has {len(data)} bytes; {MAX_MANIFEST_BYTES} is the most that is read")
        self._state.publishing(lease, self.run_id, fingerprint(data))
        try:
            listing = publisher.publish(content, data, Baseline.of(view))
            self._committed(content, data)
        except BaseException:
            # It may have come while the answer of the commit was on its way: then the dataset is published.
            with suppress(DestinationError):
                if publisher.is_certified(data):
                    self._committed(content, data)
            raise
        result = self._result
        journal.emit_if_possible(
            "published", manifest=result.manifest_fingerprint, rows=result.rows, parts=result.parts
        )
        return listing

    def _committed(self, content: Manifest, data: bytes) -> None:
        self._published = content
        result = self._result
        result.status = "succeeded"
        result.rows, result.parts = content.row_count, content.part_count
        result.bytes = sum(part.size_bytes for part in content.parts)
        result.manifest_fingerprint = fingerprint(data)

    def _tidy(
        self, lease: Lease, destination: CheckedDestination, todo: TidyPlan, journal: Journal, *, rehash: bool
    ) -> None:
        """Move old parts aside. Nothing in here can unmake the dataset, so failures are warnings."""
        self.counters.phase = "tidying"
        result = self._result
        done = tidy(destination, todo, self.run_id, rehash=rehash, guard=lease.check)
        result.quarantined, result.deleted, result.untracked = done.quarantined, done.deleted, done.reported
        for key in done.quarantined:
            journal.emit_if_possible("part_quarantined", key=key)
        for message in done.warnings:
            journal.warn(message)

    def _validate(self, destination: CheckedDestination, *, rehash: bool) -> None:
        """Verify what was published; a dataset that was to be proven and is not is no success."""
        self.counters.phase = "validating"
        self._result.status = "failed"
        report = verify_store(
            destination,
            export=self._export.name,
            depth="parts",
            rehash=rehash,
            format_of=lambda name: plan.open_named_format(name, self._export, self._registry),
        )
        self._result.validation = report.to_json()
        if report.verdict.exit_code != 0:
            raise TrustError(
                f"the published dataset does not verify: {report.verdict.value}",
                hint="another process may be changing the prefix; `rivet validate` names what is wrong",
            )
        self._result.status = "succeeded"

    def _finish(
        self,
        lease: Lease,
        run_id: str,
        outcome: Outcome,
        *,
        content: Manifest | None = None,
        error: ErrorReport | None = None,
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
        )


class _StateParts:
    """Records parts in the state and tells the subscribers."""

    def __init__(self, state: StateStore, lease: Lease, run_id: str, journal: Journal) -> None:
        self._state = state
        self._lease = lease
        self._run_id = run_id
        self._journal = journal

    def reserve(self, key: str, number: int) -> None:
        self._state.reserve_part(self._lease, self._run_id, key, number)

    def committed(self, part: WrittenPart) -> None:
        self._state.commit_part(
            self._lease,
            self._run_id,
            PartRow(
                key=part.key,
                number=part.number,
                rows=part.rows,
                size_bytes=part.size_bytes,
                content_fingerprint=part.content_fingerprint,
                version=part.version,
                attempt=part.attempt,
                chunk=part.chunk,
            ),
        )
        self._journal.emit("part_committed", key=part.key, rows=part.rows, size_bytes=part.size_bytes)

    def reading_again(self, error: DestinationError) -> None:
        self._journal.warn(f"the rows are read again: {error.message}")


def _log_wait(owner: LeaseInfo) -> None:
    logger.warning("waiting for the lease: %s", owner)
