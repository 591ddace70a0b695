"""``rivet plugins list``: what is installed, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import click

from rivet_core.cli.options import output_options
from rivet_core.plugins import PluginInfo, strict_plugins

if TYPE_CHECKING:
    from rivet_core.cli.main import LazyGroup
    from rivet_core.cli.output import Output, TextOutput


@click.group()
def plugins() -> None:
    """Show what is installed."""


@plugins.command("list")
@click.option("--tracebacks", is_flag=True, help="Show the traceback of each plugin that is broken.")
@output_options
@click.pass_context
def plugins_list(ctx: click.Context, output: Output, tracebacks: bool) -> None:
    """List the plugins, what they provide and why one does not work.

    Exits with 2 if a plugin does not work and RIVET_STRICT_PLUGINS is set, with 0 otherwise.
    """
    registry = cast("LazyGroup", ctx.find_root().command).load_plugins()
    found = registry.plugins

    def render(text: TextOutput) -> None:
        text.table(
            ["PLUGIN", "PACKAGE", "VERSION", "STATUS", "PROVIDES"],
            [[info.name, info.distribution, info.version, info.status, _provides(info)] for info in found],
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
    for document in documents:
        if not tracebacks:
            del document["traceback"]
    output.report({"plugins": documents}, render)
    if registry.problems and strict_plugins():
        ctx.exit(2)


def _provides(info: PluginInfo) -> str:
    kinds: dict[str, list[str]] = {}
    for provided in info.provides:
        kinds.setdefault(provided.kind, []).append(provided.name)
    return "; ".join(" ".join([kind, ", ".join(filter(None, names))]).rstrip() for kind, names in kinds.items())
