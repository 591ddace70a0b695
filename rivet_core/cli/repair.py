"""``rivet repair``: export again what differs from the source."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivet_core.cli.loading import loading
from rivet_core.cli.options import common_options, export_option, param_option, prefix_options
from rivet_core.cli.per_export import PrefixFlags, as_json, report_each, select_stores
from rivet_core.cli.ranges import describe_range

if TYPE_CHECKING:
    from rivet_core.cli.output import Output, TextOutput
    from rivet_core.config import ExportConfig
    from rivet_core.engine.repair import RepairReport
    from rivet_core.engine.result import ErrorReport

# What would be exported again is listed in the text up to this number of ranges; the JSON has all of them.
_LISTED = 50


@click.command()
@export_option
@prefix_options
@param_option
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What `rivet reconcile --json -o FILE` has found. Default: compare by counts now.",
)
@click.option("--execute", is_flag=True, help="Do it; without this nothing is changed.")
@click.option("--validate", is_flag=True, help="Verify each dataset after it is published.")
@common_options
@click.pass_context
def repair(
    ctx: click.Context,
    *,
    config: Path,
    output: Output,
    names: tuple[str, ...],
    day: date | None,
    run_id: str | None,
    prefix: str | None,
    params: tuple[str, ...],
    report_file: Path | None,
    execute: bool,
    validate: bool,
) -> None:
    """Export again what differs from the source.

    Ranges that differ, and parts that are missing or damaged, are written as new parts; the rest is kept. Then the new
    dataset is published, and the stale parts go to quarantine. Without --execute it says what it would do.
    """
    with loading():
        from rivet_core.api.errors import UsageError
        from rivet_core.cli.progress import show_progress
        from rivet_core.config import load, parse_params
        from rivet_core.contract.reconciliation import MAX_REPORT_BYTES, read_report
        from rivet_core.engine import plan
        from rivet_core.engine.repair import repair_export
        from rivet_core.engine.result import overall_exit_code
        from rivet_core.engine.run import RunOptions
        from rivet_core.plugins import load_registry

        if validate and not execute:
            raise UsageError("--validate needs --execute", hint="add --execute, or leave it out")
        registry = load_registry()
        loaded = load(config, registry)
    flags = PrefixFlags(day, run_id, prefix)
    exports = select_stores(loaded, names, flags, refusal="a stream leaves nothing to repair")
    options = RunOptions(parse_params(params), validate=validate)
    plan.check_params(loaded, tuple(exports), registry, options.params)
    data = None
    if report_file is not None:
        try:
            with report_file.open("rb") as file:
                data = file.read(MAX_REPORT_BYTES + 1)
        except OSError as error:
            raise UsageError(f"cannot read {report_file}: {error.strerror}", hint="name the report's file") from error

    def repair_one(export: ExportConfig) -> RepairReport:
        found = None if data is None else read_report(data, export.name)
        choice = flags.choose(loaded, export)
        return repair_export(
            loaded, export, registry, choice, options, watch=show_progress, report=found, execute=execute
        )

    reports = report_each(exports, repair_one)
    code = overall_exit_code(report.exit_code for report in reports.values())
    document = {"executed": execute, "reports": as_json(reports), "exit_code": code}
    output.report(document, lambda text: _render(reports, text))
    ctx.exit(code)


def _render(reports: Mapping[str, RepairReport | ErrorReport], text: TextOutput) -> None:
    from rivet_core.engine.result import ErrorReport

    for name, report in reports.items():
        if isinstance(report, ErrorReport):
            text.line(f"{name}: not repaired", "bad")
            text.error(report)
        else:
            _render_report(report, text)
    found = [report for report in reports.values() if not isinstance(report, ErrorReport)]
    if any(report.flagged and not report.executed for report in found):
        text.line("nothing was changed; repeat it with --execute to export these rows again")


def _render_report(report: RepairReport, text: TextOutput) -> None:
    from rivet_core.cli.progress import format_bytes, format_count

    if not report.flagged:
        text.line(f"{report.export}: nothing to repair", "good")
    elif report.run is None:
        text.line(f"{report.export}: {format_count(len(report.flagged), 'range')} to export again", "warn")
    elif report.run.status == "succeeded":
        run = report.run
        facts = f"{format_count(run.rows, 'row')}, {format_count(run.parts, 'part')}, {format_bytes(run.bytes)}"
        text.line(f"{report.export}: repaired; {facts}", "good")
    else:
        text.line(f"{report.export}: repair {report.run.status}", "bad")
    text.line(f"  prefix: {report.resolved_prefix}")
    text.line(f"  {format_count(report.kept, 'part')} of run {report.run_id} kept")
    for item in report.flagged[:_LISTED]:
        text.line(f"  {describe_range(item.range)}: {item.reason}", "warn")
    if len(report.flagged) > _LISTED:
        text.line(f"  and {len(report.flagged) - _LISTED:,} more; --json has all of them")
    if report.aside:
        verb = "to quarantine" if report.run else "would go to quarantine"
        text.line(f"  {verb}: {', '.join(report.aside[:_LISTED])}", "faint")
    if report.unknown:
        text.line(f"  {format_count(report.unknown, 'partition')} could not be compared and stay", "warn")
    if report.run is not None:
        if report.run.validation is not None:
            text.line(f"  validation: {report.run.validation['verdict']}")
        if report.run.error is not None:
            text.error(report.run.error)
