"""``rivet check``: what runs will meet in the database, before the first one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from rivet_core.cli.options import common_options, export_option, param_option
from rivet_core.cli.per_export import as_json, report_each

if TYPE_CHECKING:
    from pathlib import Path

    from rivet_core.cli.output import Output, Style, TextOutput
    from rivet_core.config import ExportConfig
    from rivet_core.engine.check import CheckReport
    from rivet_core.engine.result import ErrorReport

_STYLES: dict[str, Style] = {"ok": "good", "warning": "warn", "failed": "bad", "skipped": "faint", "refused": "bad"}


@click.command()
@export_option
@param_option
@click.option(
    "--sample", is_flag=True, help="Run queries and views, too, and read their first rows; tables are always sampled."
)
@common_options
@click.pass_context
def check(
    ctx: click.Context, *, config: Path, output: Output, names: tuple[str, ...], params: tuple[str, ...], sample: bool
) -> None:
    """Check types, indexes and statement lengths.

    Reads metadata and the first rows of each table, and writes nothing. The exit code is 2 if an export cannot run,
    1 if the database cannot be reached.
    """
    from rivet_core.config import load, parse_params
    from rivet_core.engine import plan
    from rivet_core.engine.check import check_export
    from rivet_core.engine.result import overall_exit_code
    from rivet_core.plugins import load_registry

    registry = load_registry()
    loaded = load(config, registry)
    exports = loaded.select(names)
    values = parse_params(params)
    plan.check_params(loaded, exports, registry, values)

    def examine(export: ExportConfig) -> CheckReport:
        return check_export(loaded, export, registry, values, sample_queries=sample)

    reports = report_each(exports, examine)
    code = overall_exit_code(report.exit_code for report in reports.values())
    output.report({"reports": as_json(reports), "exit_code": code}, lambda text: _render(reports, text))
    ctx.exit(code)


def _render(reports: Mapping[str, CheckReport | ErrorReport], text: TextOutput) -> None:
    from rivet_core.engine.result import ErrorReport

    for name, report in reports.items():
        if isinstance(report, ErrorReport):
            text.line(f"{name}: not checked", "bad")
            text.error(report)
            continue
        _render_report(report, text)


def _render_report(report: CheckReport, text: TextOutput) -> None:
    from rivet_core.cli.progress import format_bytes, format_count

    extent = []
    if report.approximate_rows is not None:
        extent.append(f"about {format_count(report.approximate_rows, 'row')}")
    if report.approximate_bytes is not None:
        extent.append(f"{format_bytes(report.approximate_bytes)} in memory")
    text.line(f"{report.export} ({report.mode}): {', '.join(extent) or 'size not known'}", "strong")
    if report.columns:
        rows = [
            (column.name, column.source_type, column.type, "NULL" if column.nullable else "NOT NULL", column.fidelity)
            for column in report.columns
        ]
        text.table(["COLUMN", "SOURCE TYPE", "TYPE", "NULLS", "FIDELITY"], rows, styles=_STYLES)
    for item in report.checks:
        text.line(f"{item.status:<8} {item.name}: {item.message}", _STYLES[item.status])
        if item.hint and item.status != "ok":
            text.line(f"{'':<8} hint: {item.hint}")
    text.line()
