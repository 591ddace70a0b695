"""What an export's rows depend on: recorded with a run, so that only a run of the same export goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rivet_core.api.errors import UsageError
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.types import schema_fingerprint

if TYPE_CHECKING:
    from rivet_core.api.source import Query, SourceSchema
    from rivet_core.config import ExportConfig
    from rivet_core.state import RunRow

_SHOWN_CHARACTERS: Final = 200


def inputs_of(export: ExportConfig, query: Query, schema: SourceSchema) -> dict[str, object]:
    """Return what decides which rows there are and how they are written, without SQL and values.

    A resume needs the same: parts of two different exports are no dataset.
    """
    chunking, incremental, window = export.chunking, export.incremental, export.time_window
    text = json.dumps([query.text, {name: str(value) for name, value in query.params.items()}], sort_keys=True)
    return {
        "table": export.table,
        "query": fingerprint(text.encode("utf-8", "surrogatepass")),
        "columns": schema_fingerprint(schema.arrow()),
        "mode": export.mode,
        "chunk_column": list(chunking.columns) if chunking else None,
        "chunk_size": chunking.size if chunking else None,
        "chunk_count": chunking.count if chunking else None,
        "chunk_by_days": chunking.days if chunking else None,
        "exported_at": export.exported_at or None,  # runs that recorded nothing had no such column
        "consistency": None if chunking is None else "snapshot" if chunking.snapshot else "per_chunk",
        "cursor_column": incremental.cursor if incremental else None,
        "cursor_fallback_column": incremental.fallback if incremental else None,
        "key": list(incremental.key) if incremental else None,
        "lag": str(incremental.lag) if incremental else None,
        "time_column": window.column if window else None,
        "time_unit": window.unit if window else None,
        "window_days": window.days if window else None,
        "format": export.format.spec.name,
        "compression": str(getattr(export.format.model, "compression", "")),
    }


def settings_of(export: ExportConfig) -> dict[str, object]:
    """Return what else somebody who approves a plan approves: what is done with the rows, without credentials."""
    return {
        "destination": export.destination.spec.type,
        "max_file_size": export.max_file_size,
        "empty": export.empty,
        "superseded": export.superseded,
        "on_schema_drift": export.on_schema_drift,
        "publish_empty": export.incremental.publish_empty if export.incremental else None,
        "quality": export.quality.model_dump(mode="json"),
    }


def changes(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return what differs, in words."""
    return [
        name if name in ("query", "columns") else f"{name} (was {_short(before.get(name))}, is {_short(value)})"
        for name, value in now.items()
        if before.get(name) != value
    ]


def _short(value: object) -> str:
    text = str(value)  # what was may come from a file of anybody's
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def refuse_changed_inputs(run: RunRow, inputs: Mapping[str, object]) -> None:
    """Refuse to resume a run whose export was changed since.

    Raises:
        UsageError: names every difference.
    """
    before: dict[str, object] = json.loads(run.inputs or "{}")
    differences = changes(before, inputs)
    if before and differences:
        raise UsageError(
            f"the export was changed since the run {run.run_id} started: {', '.join(differences)}",
            hint="change it back, or run without --resume to export everything anew",
        )
