"""``rivet reconcile``: compare a prefix with the source."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from rivet_core.cli.loading import loading
from rivet_core.cli.options import common_options, export_option, param_option, prefix_options, report_options
from rivet_core.cli.per_export import PrefixFlags, as_json, report_each, select_stores
from rivet_core.cli.ranges import describe_range

if TYPE_CHECKING:
    from rivet_core.cli.output import Output, Style, TextOutput
    from rivet_core.config import ExportConfig
    from rivet_core.contract.reconciliation import PartitionReport, ReconcileReport
    from rivet_core.engine.result import ErrorReport

# What is no match is listed in the text up to this number of partitions; the JSON has all of them.
_LISTED = 20


@click.command()
@export_option
@prefix_options
@param_option
@click.option("--content", is_flag=True, help="Read all rows on both sides, and name missing, extra and changed keys.")
@report_options
@common_options
@click.pass_context
def reconcile(
    ctx: click.Context,
    *,
    config: Path,
    output: Output,
    names: tuple[str, ...],
    day: date | None,
    run_id: str | None,
    prefix: str | None,
    params: tuple[str, ...],
    content: bool,
    form: Literal["pretty", "json"],
    output_file: Path | None,
) -> None:
    """Compare what was exported with the source.

    Range by range; nothing is written.

    The exit code is the highest of the exports': 0 for a match, or where nothing can be compared, 3 for a mismatch, 1
    if the source or a prefix cannot be read.
    """
    with loading():
        from rivet_core.cli.output import write_report
        from rivet_core.config import load, parse_params
        from rivet_core.engine import plan
        from rivet_core.engine.reconcile import reconcile_export
        from rivet_core.engine.result import overall_exit_code
        from rivet_core.plugins import load_registry

        registry = load_registry()
        loaded = load(config, registry)
    flags = PrefixFlags(day, run_id, prefix)
    exports = select_stores(loaded, names, flags, refusal="a stream leaves nothing to compare")
    values = parse_params(params)
    plan.check_params(loaded, tuple(exports), registry, values)

    def compare(export: ExportConfig) -> ReconcileReport:
        choice = flags.choose(loaded, export)
        return reconcile_export(loaded, export, registry, choice, values, content=content)

    reports = report_each(exports, compare)
    code = overall_exit_code(report.exit_code for report in reports.values())
    document = {"reports": as_json(reports), "exit_code": code}
    write_report(output, document, lambda text: _render(reports, text), as_json=form == "json", file=output_file)
    ctx.exit(code)


def _render(reports: Mapping[str, ReconcileReport | ErrorReport], text: TextOutput) -> None:
    from rivet_core.engine.result import ErrorReport

    for name, report in reports.items():
        if isinstance(report, ErrorReport):
            text.line(f"{name}: could not be compared", "bad")
            text.error(report)
        else:
            _render_report(report, text)


def _render_report(report: ReconcileReport, text: TextOutput) -> None:
    from rivet_core.cli.progress import format_count

    styles: dict[str, Style] = {"match": "good", "mismatch": "bad"}
    text.line(f"{report.export}: {report.result}", styles.get(report.result, "warn"))
    text.line(f"  prefix: {report.resolved_prefix}")
    if report.rows is not None:
        found = "unknown" if report.source_rows is None else format_count(report.source_rows, "row")
        text.line(f"  dataset: {format_count(report.rows, 'row')}; source: {found}; run {report.run_id}")
    if report.partitions:
        counts = [sum(item.result == result for item in _inside(report)) for result in ("match", "mismatch", "unknown")]
        text.line(
            f"  {format_count(len(_inside(report)), 'partition')} compared by {report.compared}: "
            f"{counts[0]:,} match, {counts[1]:,} mismatch, {counts[2]:,} unknown"
        )
    if report.reason:
        text.line(f"  {report.reason}", "warn")
    for column in report.columns:
        text.line(f"  {column}", "bad")
    shown = [item for item in report.partitions if item.result != "match" and item.reason != report.reason]
    for item in shown[:_LISTED]:
        _render_partition(item, text)
    if len(shown) > _LISTED:
        text.line(f"  and {len(shown) - _LISTED:,} more; --json has all of them")


def _inside(report: ReconcileReport) -> list[PartitionReport]:
    return [item for item in report.partitions if item.kind != "beyond"]


def _render_partition(item: PartitionReport, text: TextOutput) -> None:
    style: Style = "bad" if item.result == "mismatch" else "warn"
    text.line(f"  {_name(item)}: {item.reason}", style)
    for what, keys in (
        ("missing", item.examples.missing),
        ("extra", item.examples.extra),
        ("changed", item.examples.changed),
    ):
        if keys:
            text.line(f"    {what}: {', '.join(' / '.join(key) for key in keys)}")


def _name(item: PartitionReport) -> str:
    """Return which rows a partition has, in words."""
    from rivet_core.cli.progress import format_count

    rows = describe_range(item.range)
    return f"{format_count(item.source_rows or 0, 'row')} beyond the dataset, {rows}" if item.kind == "beyond" else rows
