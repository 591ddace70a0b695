"""``rivet run``: export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivet_core.cli.options import common_options, export_option, param_option

if TYPE_CHECKING:
    from rivet_core.cli.output import Output, TextOutput
    from rivet_core.engine.result import RunResult


@click.command()
@export_option
@param_option
@click.option("--validate", is_flag=True, help="Verify each dataset after it is published.")
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
    validate: bool,
    summary_output: Path | None,
) -> None:
    """Export tables and queries.

    One export that fails does not stop the others. The exit code is the highest of theirs.
    """
    from rivet_core.api.errors import UsageError
    from rivet_core.cli.output import make_output
    from rivet_core.cli.progress import show_progress
    from rivet_core.config import load, parse_params
    from rivet_core.engine.result import overall_exit_code, write_json
    from rivet_core.engine.run import RunOptions, run_exports
    from rivet_core.plugins import load_registry

    registry = load_registry()
    loaded = load(config, registry)
    exports = loaded.select(names)
    if any(export.destination.spec.kind == "stream" for export in exports):
        output = output.to(sys.stderr)
    results = run_exports(loaded, exports, registry, RunOptions(parse_params(params), validate), show_progress)
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
    output.report({**document, "exit_code": code}, lambda text: _render(results, text))
    if unwritten is not None:
        make_output(as_json=False).error(unwritten)  # on stderr: stdout has its one document
    ctx.exit(code)


def _render(results: list[RunResult], text: TextOutput) -> None:
    from rivet_core.cli.progress import format_bytes, format_count, format_duration

    for result in results:
        took = f"in {format_duration(result.duration_seconds)}"
        if result.status == "succeeded":
            counts = [format_count(result.rows, "row")]
            if result.manifest_fingerprint is not None:  # a stream has no parts
                counts.append(format_count(result.parts, "part"))
            facts = ", ".join([*counts, format_bytes(result.bytes)])
            text.line(f"{result.export}: {facts} {took}", "good")
            text.line(f"  {result.prefix}")
        else:
            text.line(f"{result.export}: {result.status} {took}", "bad")
        if result.validation is not None:
            text.line(f"  validation: {result.validation['verdict']}")
        for what, keys in (
            ("quarantined", result.quarantined),
            ("deleted", result.deleted),
            ("untracked", result.untracked),
        ):
            if keys:
                text.line(f"  {what}: {', '.join(keys)}", "faint")
        if result.error is not None:
            text.error(result.error)
