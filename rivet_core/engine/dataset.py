"""Exports the rows of one run: from an export's configuration to the manifest of its next dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from rivet_core.engine import plan
from rivet_core.engine.certificate import Consistency, build_manifest
from rivet_core.engine.gates.drift import columns_of, columns_to_json, compare, describe, earlier_columns, refuse_drift
from rivet_core.engine.gates.quality import Gates, check_columns, refuse_failed
from rivet_core.engine.inputs import inputs_of
from rivet_core.engine.selecting.earlier import recall
from rivet_core.engine.selecting.incremental import refuse_other_cursor
from rivet_core.engine.selecting.modes import select
from rivet_core.engine.selecting.position import Position
from rivet_core.engine.selecting.view import cut, open_view
from rivet_core.engine.tries import start_over
from rivet_core.engine.writing.extract import PartTarget
from rivet_core.engine.writing.memory import MemoryPlan
from rivet_core.engine.writing.recording import StateJournal
from rivet_core.engine.writing.rows import RowSteps, dataset_columns
from rivet_core.engine.writing.workers import extract_all
from rivet_core.state import ChunkRow

if TYPE_CHECKING:
    from rivet_core.api.errors import RivetError
    from rivet_core.api.format import Format
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import Config, ExportConfig
    from rivet_core.contract.manifest import Manifest
    from rivet_core.engine.counters import Counters
    from rivet_core.engine.journal import Journal
    from rivet_core.engine.prefix import PrefixView
    from rivet_core.engine.result import RunResult
    from rivet_core.engine.selecting.chunks import Bounds, ChunkPlan
    from rivet_core.engine.store import CheckedDestination
    from rivet_core.plugins import Registry
    from rivet_core.state import Lease, PartRow, StateStore


@dataclass(frozen=True)
class Reuse:
    """What a run takes over from an earlier one.

    Attributes:
        bounds: its chunks by number, in order; empty to plan them anew.
        kept: the parts of the chunks that need not be read again, by the chunk's number.
    """

    bounds: Mapping[int, Bounds] = field(default_factory=dict)
    kept: Mapping[int, Sequence[PartRow]] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One run that has been recorded and is about to read.

    Attributes:
        params: values of the query's binds.
        view: the prefix at the run's start.
        result: what is reported of the run.
        position: where an incremental export has got to.
    """

    config: Config
    export: ExportConfig
    registry: Registry
    params: Mapping[str, str]
    state: StateStore
    lease: Lease
    run_id: str
    started_at: datetime
    destination: CheckedDestination
    view: PrefixView
    journal: Journal
    counters: Counters
    result: RunResult
    reuse: Reuse = field(default_factory=Reuse)
    position: Position = field(default_factory=Position)

    @property
    def writes_empty(self) -> bool:
        """Whether a result without rows leaves a part all the same: only where it makes a dataset."""
        incremental, position = self.export.incremental, self.position
        begins = position.dataset is None and (
            position.cursor is None or incremental is None or incremental.publish_empty
        )
        return begins and self.export.empty == "file"

    @property
    def skips_empty(self) -> bool:
        """Whether a result without rows leaves the prefix as it is."""
        incremental, position = self.export.incremental, self.position
        begun = position.dataset is not None or position.cursor is not None
        return begun and incremental is not None and not incremental.publish_empty


def export_rows(job: Job) -> Manifest | None:
    """Read the rows of an export and write its parts.

    Returns:
        The manifest that lists them, or ``None`` if there is nothing new to publish.
    """
    export = job.export
    with closing(plan.open_source(job.config, export, job.registry)) as source:
        query, schema = plan.describe_query(source, export, job.params)
        columns = dataset_columns(schema, exported_at=export.exported_at)
        job.journal.emit("source_described", columns=len(schema.columns))
        _compare_columns(job, columns)
        check_columns(export.quality, columns.arrow())
        reading = _Reading(source, query, schema, columns, plan.open_format(export, job.registry))
        return start_over(lambda: _export(job, reading), partial(_start_over, job))


@dataclass(frozen=True)
class _Reading:
    """What a run reads, described, and how it is written.

    Attributes:
        schema: the columns that the source gives.
        columns: those of the dataset.
    """

    source: Source
    query: Query
    schema: SourceSchema
    columns: SourceSchema
    format: Format


def _start_over(job: Job, error: RivetError) -> None:
    """Count anew, for all rows will be read again; the parts of the lost instant are in no manifest."""
    job.counters.restart()
    job.journal.warn(f"all rows are read again, as they are now: {error.message}")


def _export(job: Job, reading: _Reading) -> Manifest | None:
    """Read all rows, at one instant where the export is of one; see ``export_rows``."""
    export, source, query = job.export, reading.source, reading.query
    with ExitStack() as stack:
        job.counters.phase = "planning"
        if export.mode in ("full", "chunked"):  # nobody knows beforehand how many rows the other modes choose
            job.counters.approximate_rows = source.approximate_rows(query)
        # The pieces that an earlier run has exported are all of its instant, and none of them is read again.
        kept = job.reuse.kept
        pieces = [query] if kept else cut(source, query, export)
        view = stack.enter_context(open_view(source, query, export, job.counters, job.journal.warn, pieces=pieces))
        selection = select(
            view,
            query,
            reading.schema,
            export,
            job.reuse.bounds,
            started_at=job.started_at,
            position=job.position,
            pieces=[query] * len(kept) if kept else view.pieces,
        )
        chunks = selection.chunks
        _record(job, chunks, query, reading.schema, reading.columns)
        admit = None
        if selection.window is not None:
            admit = stack.enter_context(closing(recall(job, selection.window, reading.schema))).admit
        rows = RowSteps(reading.schema, admit=admit, exported_at=job.started_at if export.exported_at else None)
        workers = min(export.parallel, len(chunks.chunks))
        budget = job.config.memory_budget
        gates = stack.enter_context(
            Gates(export.quality, reading.columns.arrow(), memory_budget=budget, workers=workers)
        )
        parts = _extract(job, view, chunks, _target(job, view, reading.format, rows, gates, workers=workers), workers)
        _judge(job, gates, reading.format, rows)
        if not parts and job.skips_empty:
            return None
    return build_manifest(
        run_id=job.run_id,
        export=export,
        started_at=job.started_at,
        destination_uri=job.destination.uri,
        engine=source.engine_name,
        table=query.table,
        compression=reading.format.compression,
        schema=rows.columns,
        selection=selection,
        consistency=_consistency(job, chunks),
        parts=parts,
        before=job.position.dataset,
    )


def _consistency(job: Job, chunks: ChunkPlan) -> Consistency:
    """Say whether all parts show one instant."""
    if job.position.dataset is not None:
        return "per_chunk"
    if len(chunks.chunks) == 1:
        return "snapshot"
    chunking = job.export.chunking
    if chunking is not None and not chunking.snapshot:
        return "per_chunk"
    return "mixed" if 0 < len(job.reuse.kept) < len(chunks.chunks) else "snapshot"


def _target(job: Job, source: Source, format_: Format, rows: RowSteps, gates: Gates, *, workers: int) -> PartTarget:
    export = job.export
    return PartTarget(
        destination=job.destination,
        format=format_,
        suffix=export.format.spec.suffix,
        rows=rows,
        gates=gates,
        memory=MemoryPlan.divide(
            job.config.memory_budget - gates.memory_bytes,
            export.max_file_size,
            workers=workers,
            writer_bytes=job.destination.buffer_bytes,
            read_overhead=source.read_overhead,
        ),
        max_file_size=export.max_file_size,
        write_empty=job.writes_empty,
        journal=StateJournal(job.state, job.lease, job.run_id, job.journal),
        counters=job.counters,
    )


def _extract(job: Job, source: Source, chunks: ChunkPlan, target: PartTarget, workers: int) -> list[PartRow]:
    first = 1 + max(job.view.highest_part_number(), job.state.highest_part(job.destination.uri))
    return extract_all(source, chunks.chunks, target, first_number=first, parallel=workers, kept=job.reuse.kept)


def _compare_columns(job: Job, columns: SourceSchema) -> None:
    """Compare the columns with those of the dataset before, and do what the policy says."""
    earlier = earlier_columns(job.view.control.certified, job.state, job.export.name)
    changes = [] if earlier is None else compare(earlier, columns_of(columns))
    job.result.schema_drift = [change.to_json() for change in changes]
    cursor = job.position.cursor
    if earlier is not None and job.export.incremental is not None and cursor is not None:
        refuse_other_cursor(earlier, columns, job.export.incremental, cursor)
    if job.export.on_schema_drift == "fail":
        refuse_drift(changes)
    elif job.export.on_schema_drift == "warn" and (drift := describe(changes)):
        job.journal.warn(f"the columns differ from those of the last run: {drift}")


def _judge(job: Job, gates: Gates, format_: Format, rows: RowSteps) -> None:
    """Let the gates decide, also on the rows that an earlier run has exported."""
    job.counters.phase = "judging"
    kept = [part for parts in job.reuse.kept.values() for part in parts]
    with ThreadPoolExecutor(job.export.parallel, thread_name_prefix="rivet-judge") as pool:
        for _ in pool.map(lambda part: gates.add_part(part, job.destination, format_, rows.schema), kept):
            pass
    results = gates.results()
    job.result.quality = [result.to_json() for result in results]
    refuse_failed(results)


def _record(job: Job, chunks: ChunkPlan, query: Query, schema: SourceSchema, columns: SourceSchema) -> None:
    """Keep the chunks in the state, so that a later run can resume this one; the kept ones are finished."""
    kept = job.reuse.kept
    rows = [
        ChunkRow(chunk.number, chunk.bounds.to_json(), 1 if chunk.number in kept else None) for chunk in chunks.chunks
    ]
    # They count as the first attempt of this run.
    parts = [replace(part, attempt=1) for written in kept.values() for part in written]
    inputs = inputs_of(job.export, query, schema)
    job.state.plan_chunks(
        job.lease,
        job.run_id,
        rows,
        parts,
        inputs=json.dumps(inputs),
        columns=columns_to_json(columns_of(columns)),
    )
