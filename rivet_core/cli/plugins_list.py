"""``rivet plugins list``: what is installed, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from rivet_core.cli.options import output_options
from rivet_core.plugins import PluginInfo, strict_plugins

if TYPE_CHECKING:
    from rivet_core.cli.conformance import ConformanceVerdict
    from rivet_core.cli.main import LazyGroup
    from rivet_core.cli.output import Output, TextOutput


@click.group()
def plugins() -> None:
    """Show what is installed."""


@plugins.command("list")
@click.option("--tracebacks", is_flag=True, help="Show the traceback of each plugin that is broken.")
@click.option(
    "--conformance",
    "reports",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Show the verdicts of this report of the conformance kit; repeatable.",
)
@output_options
@click.pass_context
def plugins_list(ctx: click.Context, output: Output, tracebacks: bool, reports: tuple[Path, ...]) -> None:
    """List the plugins, what they provide and why one does not work.

    Exits with 2 if a plugin does not work and RIVET_STRICT_PLUGINS is set, with 0 otherwise.
    """
    registry = cast("LazyGroup", ctx.find_root().command).load_plugins()
    found = registry.plugins
    verdicts = _verdicts_by_plugin(found, reports)

    def render(text: TextOutput) -> None:
        columns = ["PLUGIN", "PACKAGE", "VERSION", "STATUS", "PROVIDES"]
        rows = [[info.name, info.distribution, info.version, info.status, _provides(info)] for info in found]
        if reports:
            columns.append("CONFORMANCE")
            rows = [[*row, _conformance(verdicts[info], info)] for row, info in zip(rows, found, strict=True)]
        text.table(
            columns,
            rows,
            styles={"active": "good", "disabled": "faint", "broken": "bad", "incompatible": "bad", "conflict": "warn"},
        )
        for info in registry.problems:
            text.line()
            text.line(f"{info} is {info.status}: {info.error}", "bad")
            if tracebacks and info.traceback:
                text.line(info.traceback.rstrip())
        if not tracebacks and any(info.traceback for info in found):
            text.line()
            text.line("--tracebacks shows where.")

    documents = [asdict(info) for info in found]
    for document, info in zip(documents, found, strict=True):
        if not tracebacks:
            del document["traceback"]
        if reports:
            document["conformance"] = [asdict(verdict) for verdict in verdicts[info]]
    output.report({"plugins": documents}, render)
    if registry.problems and strict_plugins():
        ctx.exit(2)


def _provides(info: PluginInfo) -> str:
    kinds: dict[str, list[str]] = {}
    for provided in info.provides:
        kinds.setdefault(provided.kind, []).append(provided.name)
    return "; ".join(" ".join([kind, ", ".join(filter(None, names))]).rstrip() for kind, names in kinds.items())


def _verdicts_by_plugin(
    plugins: Sequence[PluginInfo], reports: Sequence[Path]
) -> dict[PluginInfo, list[ConformanceVerdict]]:
    """Return the verdicts on what each plugin provides."""
    if not reports:
        return {}
    from rivet_core.cli.conformance import read_verdicts

    verdicts = [verdict for report in reports for verdict in read_verdicts(report)]
    return {info: [verdict for verdict in verdicts if _is_about(verdict, info)] for info in plugins}


def _is_about(verdict: ConformanceVerdict, info: PluginInfo) -> bool:
    return verdict.plugin == info.distribution and any(
        provided.name == verdict.name and provided.kind in (verdict.kind, f"fallback {verdict.kind}")
        for provided in info.provides
    )


def _conformance(verdicts: Sequence[ConformanceVerdict], info: PluginInfo) -> str:
    """Return the verdicts in a few words; one on another version than the installed one says so."""
    shown = [
        f"{verdict.name} {verdict.verdict}" + ("" if verdict.version == info.version else f" ({verdict.version})")
        for verdict in verdicts
    ]
    return ", ".join(shown) or "-"
