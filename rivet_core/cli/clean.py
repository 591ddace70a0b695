"""``rivet clean``: remove what runs have put aside or left unfinished."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

import click

from rivet_core.cli.options import common_options, export_option, prefix_options
from rivet_core.cli.per_export import PrefixFlags, as_json, report_each, select_stores

if TYPE_CHECKING:
    from pathlib import Path

    from rivet_core.cli.output import Output, TextOutput
    from rivet_core.config import ExportConfig
    from rivet_core.engine.clean import CleanReport, Item
    from rivet_core.engine.result import ErrorReport

_MAX_DAYS = 36500


@click.command()
@export_option
@prefix_options
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(0, _MAX_DAYS),
    default=7,
    show_default=True,
    metavar="DAYS",
    help="Leave alone what is younger.",
)
@click.option("--execute", is_flag=True, help="Remove what was found; without it nothing is changed.")
@common_options
@click.pass_context
def clean(
    ctx: click.Context,
    *,
    config: Path,
    output: Output,
    names: tuple[str, ...],
    day: date | None,
    run_id: str | None,
    prefix: str | None,
    days: int,
    execute: bool,
) -> None:
    """Remove old quarantine and unfinished uploads.

    Lists it only, unless --execute is given. Datasets, and whatever Rivet has not put there, are never touched. An
    export that is being run is refused with exit code 5; what cannot be removed is named, and the exit code is 1.
    """
    from rivet_core.config import load
    from rivet_core.engine.clean import clean_export
    from rivet_core.engine.result import overall_exit_code
    from rivet_core.plugins import load_registry

    registry = load_registry()
    loaded = load(config, registry)
    flags = PrefixFlags(day, run_id, prefix)
    exports = select_stores(loaded, names, flags, refusal="a stream leaves nothing that could be cleaned")
    older_than = timedelta(days=days)

    def clean_one(export: ExportConfig) -> CleanReport:
        choice = flags.choose(loaded, export)
        return clean_export(loaded, export, registry, choice, older_than=older_than, execute=execute)

    reports = report_each(exports, clean_one)
    code = overall_exit_code(report.exit_code for report in reports.values())
    document = {
        "executed": execute,
        "older_than_days": days,
        "reports": as_json(reports),
        "exit_code": code,
    }
    output.report(document, lambda text: _render(reports, days, text))
    ctx.exit(code)


def _render(reports: Mapping[str, CleanReport | ErrorReport], days: int, text: TextOutput) -> None:
    from rivet_core.engine.result import ErrorReport

    for name, report in reports.items():
        if isinstance(report, ErrorReport):
            text.line(f"{name}: not cleaned", "bad")
            text.error(report)
            continue
        text.line(f"{name}: {report.resolved_prefix}", "strong")
        if report.items:
            text.table(["object", "age", "size", "why", "status"], map(_cells, report.items), styles={"failed": "bad"})
        for item in report.items:
            if item.error is not None:
                text.line(f"  {item.leftover.key}: {item.error}", "bad")
        for kept in report.kept:
            text.line(f"  {kept.key} stays: {kept.reason}", "warn")
        text.line(f"  {_summary(report, days)}")
        if report.error is not None:
            text.error(report.error)
    if any(not report.executed and report.items for report in reports.values() if not isinstance(report, ErrorReport)):
        text.line("nothing was changed; repeat it with --execute to remove what is listed")


def _cells(item: Item) -> list[str]:
    from rivet_core.cli.progress import format_bytes

    size = item.leftover.size_bytes
    return [
        item.leftover.key,
        f"{item.age / timedelta(days=1):.1f} days",
        "unknown" if size is None else format_bytes(size),
        item.leftover.reason,
        item.status.replace("_", " "),
    ]


def _summary(report: CleanReport, days: int) -> str:
    from rivet_core.cli.progress import format_bytes, format_count

    facts = []
    for status in ("found", "removed", "failed", "not_tried"):
        number, size = report.count(status)
        if number:
            facts.append(f"{format_count(number, 'object')} {status.replace('_', ' ')}, {format_bytes(size)}")
    if report.younger:
        facts.append(f"{report.younger:,} younger than {format_count(days, 'day')}")
    return "; ".join(facts) or "nothing to clean"
