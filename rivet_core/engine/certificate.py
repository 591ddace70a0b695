"""Writes down what a finished extraction has produced: the manifest of the new dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rivet_core import __version__
from rivet_core.contract.manifest import (
    MANIFEST_VERSION,
    WRITER_NAME,
    Column,
    Manifest,
    ManifestDestination,
    ManifestSource,
    Part,
    Writer,
)
from rivet_core.contract.types import schema_fingerprint
from rivet_core.engine.gates.drift import columns_of

if TYPE_CHECKING:
    from rivet_core.api.source import SourceSchema, TableName
    from rivet_core.config import ExportConfig
    from rivet_core.engine.selecting.chunks import ChunkPlan
    from rivet_core.engine.selecting.selection import Selection
    from rivet_core.state import PartRow

#: ``snapshot``: all parts show one instant; ``per_chunk``: each the time of its reading; ``mixed``: a resumed snapshot.
Consistency = Literal["per_chunk", "snapshot", "mixed"]


def build_manifest(
    *,
    run_id: str,
    export: ExportConfig,
    started_at: datetime,
    destination_uri: str,
    engine: str,
    table: TableName | None,
    compression: str,
    schema: SourceSchema,
    selection: Selection,
    consistency: Consistency,
    parts: Sequence[PartRow],
    before: Manifest | None = None,
) -> Manifest:
    """Return the manifest of a run.

    Args:
        schema: the columns of the parts.
        selection: which rows were read, and by which statements.
        consistency: whether all parts show one instant.
        parts: the committed parts in the order of their rows.
        before: the dataset that the run appends to; its parts stay listed.
    """
    columns = columns_of(schema)
    earlier = _earlier_parts(before, columns)
    listed = (*earlier, *_new_parts(run_id, selection.chunks, parts, earlier))
    return Manifest(
        manifest_version=MANIFEST_VERSION,
        status="success",
        run_id=run_id,
        export_name=export.name,
        writer=Writer(name=WRITER_NAME, version=__version__),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        source=ManifestSource(
            engine=engine,
            schema_name=table.schema if table else None,
            table=table.table if table else None,
            extraction=selection.extraction,
            consistency=consistency,
        ),
        destination=ManifestDestination(kind=export.destination.spec.type, uri=destination_uri),
        format=export.format.spec.name,
        compression=compression,
        schema_fingerprint=schema_fingerprint(schema.arrow()),
        columns=columns,
        row_count=sum(part.rows for part in listed),
        part_count=len(listed),
        parts=listed,
    )


def _new_parts(run_id: str, chunks: ChunkPlan, parts: Sequence[PartRow], earlier: Sequence[Part]) -> Iterator[Part]:
    """Yield the parts of the run; their chunks count on from those of the earlier ones."""
    ranges = {
        chunk.number: chunk.bounds.key_range(chunks.columns) if chunks.columns else None for chunk in chunks.chunks
    }
    chunks_before = max((part.chunk or 0 for part in earlier), default=0)
    for part_id, part in enumerate(parts, start=len(earlier) + 1):
        yield Part(
            part_id=part_id,
            path=part.key,
            rows=part.rows,
            size_bytes=part.size_bytes,
            content_fingerprint=part.content_fingerprint,
            run_id=part.written_by or run_id,
            chunk=chunks_before + part.chunk,
            range=ranges[part.chunk],
            checksums=dict(part.checksums),
            version=part.version,
        )


def _earlier_parts(before: Manifest | None, columns: tuple[Column, ...]) -> tuple[Part, ...]:
    """Return the parts of the dataset that the run appends to, each with its own columns where they differ."""
    if before is None:
        return ()
    kept = []
    for part_id, part in enumerate(before.committed_parts(), start=1):
        own = part.columns or before.columns
        same = _compared(own) == _compared(columns)
        changes = {
            "part_id": part_id,
            "columns": None if same else own,
            "schema_fingerprint": None if same else part.schema_fingerprint or before.schema_fingerprint,
        }
        kept.append(part.model_copy(update=changes))
    return tuple(kept)


def _compared(columns: tuple[Column, ...]) -> list[tuple[str, str, bool]]:
    return [(column.name, column.type, column.nullable) for column in columns]
