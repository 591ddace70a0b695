"""``rivet run``: export."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivet_core.cli.loading import loading
from rivet_core.cli.options import common_options, export_option, param_option

if TYPE_CHECKING:
    from rivet_core.cli.output import Output, TextOutput
    from rivet_core.engine.result import RunResult


@click.command()
@export_option
@param_option
@click.option(
    "--resume",
    is_flag=False,
    flag_value="plain",
    type=click.Choice(["plain", "mixed"]),
    metavar="[=mixed]",
    help="Go on with the newest run that ended before it was published. A run with consistency: snapshot starts anew; "
    "with --resume=mixed it keeps its finished chunks, and the dataset shows two instants.",
)
@click.option("--force", is_flag=True, help="With --resume: also where a dataset is published at the prefix.")
@click.option("--dry-run", is_flag=True, help="With --resume: print what would be kept and written, and stop.")
@click.option("--validate", is_flag=True, help="Verify each dataset after it is published.")
@click.option("--reconcile", is_flag=True, help="Count the rows of the source after that, and compare.")
@click.option(
    "--summary-output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the JSON document that --json prints to a file, too.",
)
@common_options
@click.pass_context
def run(
    ctx: click.Context,
    *,
    config: Path,
    output: Output,
    names: tuple[str, ...],
    params: tuple[str, ...],
    resume: str | None,
    force: bool,
    dry_run: bool,
    validate: bool,
    reconcile: bool,
    summary_output: Path | None,
) -> None:
    """Export tables and queries.

    One export that fails does not stop the others. The exit code is the highest of theirs.
    """
    with loading():
        from rivet_core.api.errors import UsageError
        from rivet_core.cli.output import make_output
        from rivet_core.cli.progress import show_progress
        from rivet_core.config import load, parse_params
        from rivet_core.engine.result import overall_exit_code, write_json
        from rivet_core.engine.run import RunOptions, run_exports
        from rivet_core.plugins import load_registry

        if (force or dry_run) and resume is None:
            option = "--force" if force else "--dry-run"
            raise UsageError(f"{option} needs --resume", hint="add --resume, or leave it out")
        registry = load_registry()
        loaded = load(config, registry)
    exports = loaded.select(names)
    if any(export.destination.spec.kind == "stream" for export in exports):
        output = output.to(sys.stderr)
    options = RunOptions(
        parse_params(params),
        validate=validate,
        reconcile=reconcile,
        resume=resume is not None,
        mixed=resume == "mixed",
        force=force,
        dry_run=dry_run,
    )
    results = run_exports(loaded, exports, registry, options, show_progress)
    codes = [result.exit_code for result in results]
    document = {"runs": [result.to_json() for result in results], "exit_code": overall_exit_code(codes)}
    unwritten = None
    if summary_output is not None:
        try:
            write_json(summary_output, document)
        except OSError as error:
            hint = "the runs themselves are done"
            unwritten = UsageError(f"cannot write {summary_output}: {error.strerror}", hint=hint)
            codes.append(unwritten.exit_code)
    code = overall_exit_code(codes)
    output.report({**document, "exit_code": code}, lambda text: render_results(results, text))
    if unwritten is not None:
        make_output(as_json=False).error(unwritten)  # on stderr: stdout has its one document
    ctx.exit(code)


def render_results(results: list[RunResult], text: TextOutput) -> None:
    """Write what came of runs."""
    from rivet_core.cli.progress import format_bytes, format_count, format_duration

    for result in results:
        took = f"in {format_duration(result.duration_seconds)}"
        if result.status == "succeeded":
            counts = [format_count(result.rows, "row")]
            if result.unchanged:
                counts.insert(0, "unchanged")
            elif result.mode == "incremental":
                counts.insert(0, format_count(result.new_rows, "new row"))
            if result.manifest_fingerprint is not None:  # a stream has no parts
                counts.append(format_count(result.parts, "part"))
            facts = ", ".join([*counts, format_bytes(result.bytes)])
            text.line(f"{result.export}: {facts} {took}", "good")
            text.line(f"  {result.prefix}")
        elif result.status == "planned":
            text.line(f"{result.export}: nothing was done")
        else:
            text.line(f"{result.export}: {result.status} {took}", "bad")
        _render_resume(result, text)
        _render_policies(result, text)
        if result.validation is not None:
            text.line(f"  validation: {result.validation['verdict']}")
        if result.reconciliation is not None:
            text.line(f"  reconciliation: {result.reconciliation['result']}")
        for what, keys in (
            ("quarantined", result.quarantined),
            ("deleted", result.deleted),
            ("untracked", result.untracked),
        ):
            if keys:
                text.line(f"  {what}: {', '.join(keys)}", "faint")
        _render_statements(result, text)
        if result.error is not None:
            text.error(result.error)


def _render_statements(result: RunResult, text: TextOutput) -> None:
    from rivet_core.cli.progress import format_duration

    if result.longest_statement_seconds is not None and result.error is None:
        text.line(f"  longest statement: {format_duration(result.longest_statement_seconds)}", "faint")


def _render_policies(result: RunResult, text: TextOutput) -> None:
    for gate in result.quality:
        about = " ".join(str(gate[name]) for name in ("gate", "column") if gate[name] is not None)
        verdict = "passed" if gate["passed"] else "failed"
        text.line(f"  quality: {about}: {gate['measure']:.6g}, limit {gate['limit']:.6g}: {verdict}")
    if result.schema_drift:
        text.line(f"  changed columns: {', '.join(map(_describe_change, result.schema_drift))}")


def _describe_change(change: Mapping[str, object]) -> str:
    values = [str(change[name]) for name in ("before", "now") if change[name] is not None]
    return f"{change['column']} ({change['change']}: {' → '.join(values)})"


def _render_resume(result: RunResult, text: TextOutput) -> None:
    if result.resumes is None:
        if result.status == "planned":
            text.line("  there is no run to resume; all rows would be exported")
        return
    counts = Counter(str(item["decision"]) for item in result.decisions)
    summary = ", ".join(f"{count} {decision}" for decision, count in sorted(counts.items())) or "nothing is kept"
    text.line(f"  resumes {result.resumes}: {summary}")
    if result.status == "planned":
        for item in result.decisions:
            what = item["path"] or f"chunk {item['chunk']}"
            text.line(f"    {item['decision']}: {what}")
