"""``rivet plan``: what a run would do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivet_core.cli.loading import loading
from rivet_core.cli.options import common_options, export_option, param_option

if TYPE_CHECKING:
    from rivet_core.cli.output import Output, TextOutput
    from rivet_core.engine.result import ErrorReport
    from rivet_core.engine.sealed_plan import PlannedChunk, PlannedExport

# More are in the JSON.
_SHOWN_CHUNKS = 20


@click.command()
@export_option
@param_option
@click.option("--count", is_flag=True, help="Count the rows of every chunk, with one statement each.")
@click.option("--no-sample", is_flag=True, help="Read no row, and estimate no size.")
@click.option(
    "-o",
    "--output-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the sealed plan to a file, for `rivet apply`.",
)
@common_options
@click.pass_context
def plan(
    ctx: click.Context,
    *,
    config: Path,
    output: Output,
    names: tuple[str, ...],
    params: tuple[str, ...],
    count: bool,
    no_sample: bool,
    output_file: Path | None,
) -> None:
    """Show what a run would do.

    Looks at the source and at the prefix, and changes nothing. The file has no credential, no SQL and no parameter; the
    bounds of its chunks are values of the key.
    """
    with loading():
        from rivet_core.cli.per_export import PrefixFlags, as_json, report_each, select_stores
        from rivet_core.config import load, parse_params
        from rivet_core.engine.plan import check_params
        from rivet_core.engine.preview import PreviewOptions, preview
        from rivet_core.engine.result import ErrorReport, overall_exit_code
        from rivet_core.engine.sealed_plan import write_plan
        from rivet_core.plugins import load_registry

        registry = load_registry()
        loaded = load(config, registry)
    exports = select_stores(loaded, names, PrefixFlags(), refusal="a stream needs no plan: nothing is left of it")
    options = PreviewOptions(parse_params(params), count=count, sample=not no_sample)
    check_params(loaded, tuple(exports), registry, options.params)
    now = datetime.now(UTC)
    found = report_each(exports, lambda export: preview(loaded, export, registry, now, options))
    code = overall_exit_code(item.exit_code for item in found.values())
    written = output_file if code == 0 else None
    if written is not None:
        write_plan(written, [item for item in found.values() if not isinstance(item, ErrorReport)], now)
    document = {"plans": as_json(found), "written_to": written, "exit_code": code}
    output.report(document, lambda text: _render(found, written, text))
    ctx.exit(code)


def _render(found: Mapping[str, PlannedExport | ErrorReport], written: Path | None, text: TextOutput) -> None:
    from rivet_core.engine.result import ErrorReport

    for name, item in found.items():
        if isinstance(item, ErrorReport):
            text.line(f"{name}: could not be planned", "bad")
            text.error(item)
        else:
            _render_export(item, text)
    if written is not None:
        text.line(f"the plan is in {written}; `rivet apply {written}` runs it")


def _render_export(planned: PlannedExport, text: TextOutput) -> None:
    from rivet_core.cli.progress import format_count

    by = f" by {', '.join(planned.key)}" if planned.key else ""
    text.line(f"{planned.export}: {planned.mode}{by}, plan {planned.plan_id}", "strong")
    text.line(f"  {planned.prefix}")
    text.line(f"  {format_count(len(planned.chunks), 'chunk')}, {_rows(planned)}, {_size(planned)}")
    text.line(f"  columns: {', '.join(f'{column.name} {column.type}' for column in planned.columns)}")
    for change in planned.schema_drift:
        what = f"{change['change']}: {change['before'] or '-'} before, {change['now'] or '-'} now"
        text.line(f"  column {change['column']} {what}", "warn")
    text.line(f"  {_now_there(planned)}")
    if planned.key:
        text.table(["CHUNK", "ABOVE", "UP TO", "ROWS"], map(_cells, planned.chunks[:_SHOWN_CHUNKS]))
    if len(planned.chunks) > _SHOWN_CHUNKS:
        text.line(f"  … and {format_count(len(planned.chunks) - _SHOWN_CHUNKS, 'chunk')} more; --json has all")


def _rows(planned: PlannedExport) -> str:
    from rivet_core.cli.progress import format_count

    if planned.rows is None:
        return "rows unknown (--count counts them)"
    counted = format_count(planned.rows, "row")
    return {"count": f"{counted} (counted)", "chunk_size": f"{counted} (by the size of the chunks)"}.get(
        planned.rows_from, f"about {counted} (the source's estimate)"
    )


def _size(planned: PlannedExport) -> str:
    from rivet_core.cli.progress import format_bytes, format_count

    if planned.estimated_bytes is None:
        return "size unknown"
    sample = format_count(planned.sampled_rows, "row")
    return f"about {format_bytes(planned.estimated_bytes)} (an estimate from {sample})"


def _now_there(planned: PlannedExport) -> str:
    from rivet_core.cli.progress import format_bytes, format_count

    there = planned.published
    if there is None:
        return "now there: " + ("nothing" if planned.success is None else "a _SUCCESS that certifies no manifest")
    facts = f"{format_count(there.rows, 'row')}, {format_count(there.parts, 'part')}, {format_bytes(there.bytes)}"
    fates = {
        "quarantine": "its parts would go to quarantine",
        "keep": "its parts would be kept",
        "delete": "its parts would be deleted",
        "append": "the run would append to it",
    }
    return f"now there: run {there.run_id}, {facts}; {fates.get(planned.superseded, planned.superseded)}"


def _cells(chunk: PlannedChunk) -> list[str]:
    from rivet_core.contract.key_text import to_text

    bounds = chunk.restored()
    low, high = (
        "NULL" if bounds.nulls else "-" if key is None else ", ".join(map(to_text, key))
        for key in (bounds.low, bounds.high)
    )
    low = f"from {low}" if bounds.low_inclusive else low
    return [str(chunk.number), low, high, "unknown" if chunk.rows is None else f"{chunk.rows:,}"]
