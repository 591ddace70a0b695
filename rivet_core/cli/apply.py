"""``rivet apply``: run a plan."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from rivet_core.cli.loading import loading
from rivet_core.cli.options import common_options, export_option, param_option

if TYPE_CHECKING:
    from rivet_core.cli.output import Output

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no duration such as 30m, 24h or 7d")
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


@click.command()
@click.argument("plan_file", type=click.Path(dir_okay=False, path_type=Path))
@export_option
@param_option
@click.option("--validate", is_flag=True, help="Verify each dataset after it is published.")
@click.option(
    "--max-age",
    default="24h",
    show_default=True,
    callback=_duration,
    metavar="DURATION",
    help="Refuse a plan that is older, such as 30m, 24h or 7d.",
)
@common_options
@click.pass_context
def apply(
    ctx: click.Context,
    *,
    plan_file: Path,
    config: Path,
    output: Output,
    names: tuple[str, ...],
    params: tuple[str, ...],
    validate: bool,
    max_age: timedelta,
) -> None:
    """Run a plan.

    Reads exactly its chunks and writes at exactly its prefix. A plan that was edited, is too old, was applied before,
    or is no longer true of the configuration, the source or the prefix, is refused with exit code 5 before anything
    is changed.
    """
    with loading():
        from rivet_core.cli.progress import show_progress
        from rivet_core.cli.run import render_results
        from rivet_core.config import load, parse_params
        from rivet_core.engine.apply import apply_plan
        from rivet_core.engine.result import overall_exit_code
        from rivet_core.engine.run import RunOptions
        from rivet_core.engine.sealed_plan import read_plan
        from rivet_core.plugins import load_registry

        registry = load_registry()
        loaded = load(config, registry)
    options = RunOptions(parse_params(params), validate=validate)
    sealed = read_plan(plan_file)
    results = apply_plan(loaded, sealed, registry, options, show_progress, names=names, max_age=max_age)
    code = overall_exit_code(result.exit_code for result in results)
    document = {"runs": [result.to_json() for result in results], "exit_code": code}
    output.report(document, lambda text: render_results(results, text))
    ctx.exit(code)
