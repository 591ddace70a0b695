"""``rivet runs``: what the state knows of earlier runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rivet_core.cli.options import common_options

if TYPE_CHECKING:
    from pathlib import Path

    from rivet_core.api.events import Event
    from rivet_core.cli.output import Output, Style, TextOutput
    from rivet_core.engine.history import RunDetails, RunSummary

_STYLES: dict[str, Style] = {
    "succeeded": "good",
    "failed": "bad",
    "died": "bad",
    "interrupted": "warn",
    "abandoned": "warn",
    "superseded": "faint",
}
_MAX_RUNS = 10_000

_one_export = click.option("-e", "--export", metavar="NAME", help="Only runs of this export.")


@click.group()
def runs() -> None:
    """Show earlier runs."""


@runs.command("list")
@_one_export
@click.option("--limit", type=click.IntRange(1, _MAX_RUNS), default=20, show_default=True, help="At most so many runs.")
@common_options
def runs_list(config: Path, output: Output, export: str | None, limit: int) -> None:
    """List runs, the newest first.

    One that the state has no end of, and whose process is gone, is shown as died.
    """
    from rivet_core.config import load
    from rivet_core.engine.history import list_runs
    from rivet_core.plugins import load_registry

    found = list_runs(load(config, load_registry()), export=export, limit=limit)
    output.report({"runs": [summary.to_json() for summary in found]}, lambda text: _render_list(found, text))


@runs.command("show")
@click.argument("run_id")
@_one_export
@common_options
def runs_show(config: Path, output: Output, run_id: str, export: str | None) -> None:
    """Show one run, its journal and its parts.

    RUN_ID is the id of a run, the beginning of one, or `latest`.
    """
    from rivet_core.config import load
    from rivet_core.engine.history import show_run
    from rivet_core.plugins import load_registry

    details = show_run(load(config, load_registry()), run_id, export=export)
    output.report(details.to_json(), lambda text: _render_run(details, text))


def _render_list(found: list[RunSummary], text: TextOutput) -> None:
    if not found:
        text.line("the state knows no run yet")
        return
    text.table(
        ["RUN", "EXPORT", "STATUS", "STARTED", "TOOK", "ROWS", "PARTS", "SIZE", "CHUNKS"],
        map(_cells, found),
        styles=_STYLES,
    )


def _cells(summary: RunSummary) -> list[str]:
    from rivet_core.cli.progress import format_bytes

    run = summary.run
    return [
        run.run_id,
        run.export,
        summary.status,
        run.started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        _took(summary),
        f"{run.rows:,}",
        f"{run.parts:,}",
        format_bytes(run.size_bytes),
        _chunks(summary),
    ]


def _took(summary: RunSummary) -> str:
    from rivet_core.cli.progress import format_duration

    return "-" if summary.seconds is None else format_duration(summary.seconds)


def _chunks(summary: RunSummary) -> str:
    return f"{summary.chunks_done:,}/{summary.chunks:,}" if summary.chunks else "-"


def _render_run(details: RunDetails, text: TextOutput) -> None:
    from rivet_core.cli.progress import format_bytes, format_count
    from rivet_core.engine.result import timestamp

    summary, run = details.summary, details.summary.run
    text.line(f"{run.run_id}: {summary.status}", _STYLES.get(summary.status, ""))
    if summary.died:
        text.line(f"  {summary.died}")
    text.line(f"  {run.export}, mode {run.mode}, into {run.prefix_uri}")
    text.line(f"  {timestamp(run.started_at)}, took {_took(summary)}")
    sizes = [format_count(run.rows, "row"), format_count(run.parts, "part"), format_bytes(run.size_bytes)]
    text.line(f"  published: {', '.join(sizes) if run.status == 'succeeded' else 'nothing'}")
    if summary.chunks:
        text.line(f"  chunks: {_chunks(summary)} done")
    if run.manifest_fingerprint:
        text.line(f"  manifest: {run.manifest_fingerprint}")
    if run.resumes:
        text.line(f"  resumes {run.resumes}")
    if run.error_code:
        text.line(f"  {run.error_code}: {run.error_message}", "bad")
    text.line()
    text.line("journal", "strong")
    for event in details.events:
        text.line(f"  {timestamp(event.at)} {event.kind} {_fields(event)}".rstrip())
    if details.parts:
        text.line()
        text.table(
            ["PART", "CHUNK", "ROWS", "SIZE", "CONTENT", "WRITTEN BY"],
            (
                [
                    part.key,
                    str(part.chunk),
                    f"{part.rows:,}",
                    format_bytes(part.size_bytes),
                    part.content_fingerprint,
                    part.written_by or "this run",
                ]
                for part in details.parts
            ),
        )


def _fields(event: Event) -> str:
    return " ".join(f"{name}={value}" for name, value in event.fields.items())
