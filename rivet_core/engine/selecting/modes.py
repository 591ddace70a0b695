"""Decides by an export's mode which rows a run reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rivet_core.contract.key_text import to_text
from rivet_core.contract.manifest import Extraction
from rivet_core.contract.types import type_name
from rivet_core.engine.selecting.axis import find_column
from rivet_core.engine.selecting.chunks import plan_chunks, restore_chunks, whole
from rivet_core.engine.selecting.incremental import plan_increment
from rivet_core.engine.selecting.selection import Selection
from rivet_core.engine.selecting.time_window import plan_window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import ExportConfig
    from rivet_core.engine.selecting.chunks import Bounds, ChunkPlan
    from rivet_core.engine.selecting.position import Position


def select(
    source: Source,
    query: Query,
    schema: SourceSchema,
    export: ExportConfig,
    bounds: Mapping[int, Bounds],
    *,
    started_at: datetime,
    position: Position,
    pieces: Sequence[Query] = (),
) -> Selection:
    """Decide which rows a run reads.

    Args:
        bounds: the chunks of an earlier run that this one goes on with; empty to plan them now.
        started_at: start of the run, timezone-aware.
        position: where an incremental export has got to.
        pieces: what a full export reads instead of ``query``.

    Raises:
        QueryError: the rows have no such key, cursor or time.
        SafetyError: the last cursor does not fit the source any more.
    """
    if export.incremental is not None:
        return plan_increment(source, query, schema, export.incremental, position=position, recorded=bounds.get(1))
    if export.time_window is not None:
        return plan_window(source, query, schema, export.time_window, started_at=started_at, recorded=bounds.get(1))
    if export.chunking is None:
        return Selection(whole(*(pieces or [query])), Extraction(strategy=export.mode))
    if bounds:
        chunks = restore_chunks(source, query, export.chunking, bounds)
    else:
        chunks = plan_chunks(source, query, schema, export.chunking)
    return Selection(chunks, _describe(chunks, schema))


def _describe(chunks: ChunkPlan, schema: SourceSchema) -> Extraction:
    """Return the strategy; ``cursor_low`` and ``cursor_high`` are the key's outer bounds where it is one column."""
    if len(chunks.columns) != 1:
        return Extraction(strategy="chunked")
    (column,) = chunks.columns
    highs = [chunk.bounds.high for chunk in chunks.chunks if chunk.bounds.high is not None]
    return Extraction(
        strategy="chunked",
        cursor_column=column,
        cursor_type=type_name(find_column(schema, column).type),
        cursor_low=None if chunks.low is None else to_text(chunks.low),
        cursor_high=to_text(highs[-1][0]) if highs else None,
    )
