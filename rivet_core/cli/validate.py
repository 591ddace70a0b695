"""``rivet validate``: verify a prefix against its promise."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from rivet_core.cli.loading import loading
from rivet_core.cli.options import common_options, export_option, prefix_options, report_options
from rivet_core.cli.per_export import PrefixFlags, as_json, report_each, select_stores

if TYPE_CHECKING:
    from rivet_core.cli.output import Output, Style, TextOutput
    from rivet_core.config import Config, ExportConfig
    from rivet_core.engine.result import ErrorReport
    from rivet_core.engine.verify import Depth, VerifyReport
    from rivet_core.plugins import Registry


@click.command()
@export_option
@prefix_options
@click.option(
    "--depth",
    type=click.Choice(["light", "parts", "full"]),
    default="parts",
    show_default=True,
    help="light: manifest and marker. parts: also size and content of every part, and untracked objects."
    " full: also read every part, count its rows and compare its schema.",
)
@report_options
@common_options
@click.pass_context
def validate(
    ctx: click.Context,
    *,
    config: Path,
    output: Output,
    names: tuple[str, ...],
    day: date | None,
    run_id: str | None,
    prefix: str | None,
    depth: Depth,
    form: Literal["pretty", "json"],
    output_file: Path | None,
) -> None:
    """Verify what was exported, without touching the source.

    The exit code is the highest of the exports': 0 if the data may be used, 3 if not, 1 if a prefix cannot be read.
    """
    with loading():
        from rivet_core.cli.output import write_report
        from rivet_core.config import load
        from rivet_core.engine.result import overall_exit_code
        from rivet_core.plugins import load_registry

        registry = load_registry()
        loaded = load(config, registry)
    flags = PrefixFlags(day, run_id, prefix)
    exports = select_stores(loaded, names, flags, refusal="a stream cannot be validated: its bytes are gone")
    reports = report_each(exports, lambda export: _verify(loaded, export, registry, depth, flags))
    code = overall_exit_code(report.exit_code for report in reports.values())
    document = {"reports": as_json(reports), "exit_code": code}
    write_report(output, document, lambda text: _render(reports, text), as_json=form == "json", file=output_file)
    ctx.exit(code)


def _verify(config: Config, export: ExportConfig, registry: Registry, depth: Depth, flags: PrefixFlags) -> VerifyReport:
    from rivet_core.engine import plan
    from rivet_core.engine.store import open_store
    from rivet_core.engine.verify import verify_store

    found = plan.resolve_destination(export, flags.choose(config, export))
    with closing(open_store(found, registry, config.base_dir)) as destination:
        return verify_store(
            destination,
            export=export.name,
            depth=depth,
            rehash=found.spec.capabilities.rehash_on_validate,
            format_of=lambda name: plan.open_named_format(name, export, registry),
        )


def _render(reports: Mapping[str, VerifyReport | ErrorReport], text: TextOutput) -> None:
    from rivet_core.cli.progress import format_bytes, format_count
    from rivet_core.engine.result import ErrorReport

    for name, report in reports.items():
        if isinstance(report, ErrorReport):
            text.line(f"{name}: could not be read", "bad")
            text.error(report)
            continue
        style: Style = "bad" if report.verdict.exit_code else "good" if report.verdict.value == "verified" else "warn"
        text.line(f"{name}: {report.verdict.value}", style)
        text.line(f"  {report.verdict.meaning}")
        text.line(f"  prefix: {report.resolved_prefix}")
        if report.rows is not None and report.parts is not None and report.bytes is not None:
            counts = f"{format_count(report.rows, 'row')}, {format_count(report.parts, 'part')}"
            text.line(f"  {counts}, {format_bytes(report.bytes)}; run {report.run_id}, {report.finished_at}")
            if report.depth == "light":
                text.line("  no part was looked at")
        if report.proofs:
            text.line(f"  {_proofs(report.proofs)}")
        for finding in report.findings:
            text.line(f"  {f'{finding.path} {finding.message}'.lstrip()}", "bad")
        for key in report.untracked:
            text.line(f"  {key} is untracked", "warn")


def _proofs(proofs: Mapping[str, int]) -> str:
    """Return the counts as one line: ``41 parts proven by version, 2 by crc32c``."""
    from rivet_core.cli.progress import format_count

    (first, number), *others = proofs.items()
    counts = [f"{format_count(number, 'part')} proven by {_method(first)}"]
    return ", ".join([*counts, *(f"{count:,} by {_method(proof)}" for proof, count in others)])


def _method(proof: str) -> str:
    return proof.removeprefix("checksum:").replace("+", " and ")
