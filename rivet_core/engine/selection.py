"""Which rows a run reads: what the export's mode makes of its query, and by which statements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rivet_core.api.errors import UsageError
from rivet_core.contract.key_text import to_text
from rivet_core.contract.manifest import Extraction
from rivet_core.contract.types import type_name
from rivet_core.engine.chunks import Bounds, ChunkPlan, plan_chunks, restore_chunks, whole

if TYPE_CHECKING:
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import ExportConfig
    from rivet_core.engine.rows import Admit


@dataclass(frozen=True)
class Selection:
    """The rows of one run.

    Attributes:
        chunks: the statements that read them.
        extraction: what the manifest says about them.
        admit: drops the rows that were delivered before; ``None`` where all of them are new.
    """

    chunks: ChunkPlan
    extraction: Extraction
    admit: Admit | None = None


def select(
    source: Source, query: Query, schema: SourceSchema, export: ExportConfig, bounds: Mapping[int, Bounds]
) -> Selection:
    """Decide which rows a run reads.

    Args:
        bounds: the chunks of an earlier run that this one goes on with; empty to plan them now.

    Raises:
        QueryError: the rows have no such key, cursor or time.
    """
    if export.mode in ("incremental", "time_window"):
        raise UsageError(f"mode {export.mode} is not available in this release", hint="write mode: full or chunked")
    if export.chunking is None:
        return Selection(whole(query), Extraction(strategy=export.mode))
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
        cursor_type=next(type_name(item.type) for item in schema.columns if item.name == column),
        cursor_low=None if chunks.low is None else to_text(chunks.low),
        cursor_high=to_text(highs[-1][0]) if highs else None,
    )
