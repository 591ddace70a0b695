"""The verb ``plan``: what a run of an export would do now. Reads no rows but a sample of them, and writes nothing."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from rivet_core.config.placeholders import placeholders_in
from rivet_core.engine import plan
from rivet_core.engine.counters import Counters
from rivet_core.engine.gates.drift import columns_of, compare, earlier_columns, refuse_drift
from rivet_core.engine.inputs import inputs_of, settings_of
from rivet_core.engine.looking.sample import take_sample
from rivet_core.engine.prefix import look
from rivet_core.engine.sealed_plan import PlannedChunk, PlannedExport, PublishedDataset, RowsFrom
from rivet_core.engine.selecting.modes import select
from rivet_core.engine.selecting.position import Position, expected_position
from rivet_core.engine.selecting.ranges import count_all
from rivet_core.engine.selecting.view import open_view
from rivet_core.engine.store import open_store
from rivet_core.engine.writing.rows import RowSteps, dataset_columns
from rivet_core.state import read_state

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source
    from rivet_core.config import Config, DestinationChoice, ExportConfig
    from rivet_core.contract.manifest import Manifest
    from rivet_core.engine.prefix import PrefixView
    from rivet_core.engine.selecting.chunks import ChunkPlan
    from rivet_core.plugins import Registry

logger = logging.getLogger(__name__)

#: Stands in a planned prefix for the id of a run that is still to come.
RUN_ID: Final = "{run_id}"
_PLAN_ID_BYTES = 8


@dataclass(frozen=True)
class PreviewOptions:
    """How closely to look.

    Attributes:
        params: values of the query's binds.
        count: count the rows of every chunk, where they are not known otherwise.
        sample: read a few rows, from which the size is estimated.
    """

    params: Mapping[str, str]
    count: bool = False
    sample: bool = True


def preview(
    config: Config, export: ExportConfig, registry: Registry, now: datetime, options: PreviewOptions
) -> PlannedExport:
    """Return what a run of an export into a store would do.

    Args:
        now: decides what ``{date}`` in the prefix stands for, and when the last days end.

    Raises:
        RivetError: a run would not get further than this.
    """
    choice = planned_destination(export, now.date())
    with closing(open_store(choice, registry, config.base_dir)) as destination:
        prefix = shown_prefix(destination.uri)
        view = None if RUN_ID in choice.template else look(destination, everything=False)
    certified = view.control.certified if view else None
    with read_state(config.state_url, config.base_dir) as state:
        position = expected_position(state, export, certified) if export.incremental else Position()
        earlier = earlier_columns(certified, state, export.name)
    with closing(plan.open_source(config, export, registry)) as source:
        query, schema = plan.describe_query(source, export, options.params)
        columns = columns_of(dataset_columns(schema, exported_at=export.exported_at))
        drift = [] if earlier is None else compare(earlier, columns)
        if export.on_schema_drift == "fail":
            refuse_drift(drift)
        format_ = plan.open_format(export, registry)
        with open_view(source, query, export, Counters(), _log_warning) as reading:
            chunks = select(reading, query, schema, export, {}, started_at=now, position=position).chunks
            rows, rows_from = _count(reading, query, export, chunks, everything=options.count)
            sampled = chunks.chunks[len(chunks.chunks) // 2].query
            steps = RowSteps(schema, exported_at=now if export.exported_at else None)
            sample = take_sample(reading, sampled, format_, steps) if options.sample else None
        inputs = inputs_of(export, query, schema)
    total = _total(rows)
    return PlannedExport(
        plan_id=os.urandom(_PLAN_ID_BYTES).hex(),
        export=export.name,
        mode=export.mode,
        prefix=prefix,
        columns=columns,
        schema_drift=tuple(change.to_json() for change in drift),
        key=chunks.columns,
        cursor=position.cursor,
        chunks=tuple(
            PlannedChunk(number=chunk.number, bounds=json.loads(chunk.bounds.to_json()), rows=number)
            for chunk, number in zip(chunks.chunks, rows, strict=True)
        ),
        rows=total,
        rows_from=rows_from if total is not None else "unknown",
        estimated_bytes=sample.estimate(total, len(rows)) if sample is not None and total is not None else None,
        sampled_rows=sample.rows if sample else 0,
        success=success_of(view) if view else None,
        published=_published(certified),
        superseded="append" if position.dataset else export.superseded,
        inputs=inputs,
        settings=settings_of(export),
    )


def planned_destination(export: ExportConfig, day: date) -> DestinationChoice:
    """Return the destination at the prefix of a run on ``day`` whose id is not known yet."""
    named = RUN_ID if "run_id" in placeholders_in(export.destination.template) else None
    return plan.resolve_destination(export, plan.PrefixChoice(day, named))


def shown_prefix(uri: str) -> str:
    """Return a destination's URI with ``{run_id}`` as people write it."""
    return uri.replace("%7Brun_id%7D", RUN_ID)


def success_of(view: PrefixView) -> str | None:
    """Return what ``_SUCCESS`` says, whether or not that is a fingerprint; ``None`` if it is not there."""
    return view.success.data.decode("ascii", "backslashreplace").strip() if view.success else None


def _published(certified: Manifest | None) -> PublishedDataset | None:
    if certified is None:
        return None
    return PublishedDataset(
        run_id=certified.run_id,
        finished_at=certified.finished_at,
        rows=certified.row_count,
        parts=certified.part_count,
        bytes=sum(part.size_bytes for part in certified.parts),
    )


def _total(rows: Sequence[int | None]) -> int | None:
    known = [number for number in rows if number is not None]
    return sum(known) if len(known) == len(rows) else None


def _log_warning(message: str) -> None:
    logger.warning("%s", message)


def _count(
    source: Source, query: Query, export: ExportConfig, chunks: ChunkPlan, *, everything: bool
) -> tuple[Sequence[int | None], RowsFrom]:
    """Return the rows of every chunk, and where the numbers come from."""
    chunking = export.chunking
    queries = [chunk.query for chunk in chunks.chunks]
    if everything or (chunking is not None and chunking.days is not None) or export.mode not in ("full", "chunked"):
        return [count_all(source, item) for item in queries], "count"
    if chunking is None:
        return [source.approximate_rows(query)], "source_estimate"
    size = chunking.size
    if size is None:
        size = max(1, -(-count_all(source, query) // (chunking.count or 1)))
    # Every chunk was cut to the size but the last one, and the one of the rows without a key.
    cut = len(queries) - 1 - sum(chunk.bounds.nulls for chunk in chunks.chunks)
    return [*[size] * cut, *(count_all(source, item) for item in queries[cut:])], "chunk_size"
