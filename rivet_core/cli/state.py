"""``rivet state``: what the state database knows of the exports, and how to make it forget a cursor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivet_core.cli.options import common_options, export_option

if TYPE_CHECKING:
    from rivet_core.cli.output import Output, TextOutput
    from rivet_core.engine.standing import CursorReset, Standing


@click.group()
def state() -> None:
    """Show and reset what is remembered between runs."""


@state.command()
@export_option
@common_options
def show(*, config: Path, output: Output, names: tuple[str, ...]) -> None:
    """Show where each export stands: its cursor, its last run, and who runs it now."""
    from rivet_core.config import load
    from rivet_core.engine.standing import standing_of
    from rivet_core.plugins import load_registry
    from rivet_core.state import open_state

    loaded = load(config, load_registry())
    exports = loaded.select(names)
    with open_state(loaded.state_url, loaded.base_dir) as store:
        location = store.location
        found = [standing_of(store, export) for export in exports]
    document = {"state": location, "exports": [standing.to_json() for standing in found], "exit_code": 0}
    output.report(document, lambda text: _render_standings(location, found, text))


@state.command()
@click.option("-e", "--export", "name", required=True, metavar="NAME", help="The export.")
@click.option("--execute", is_flag=True, help="Forget the cursor; without it nothing is changed.")
@common_options
def reset(*, config: Path, output: Output, name: str, execute: bool) -> None:
    """Forget the cursor of an incremental export.

    Shows it only, unless --execute is given. The next run goes on from the dataset that is certified at the prefix; if
    there is none, or the prefix has {date} or {run_id}, it starts from the beginning. An export that is being run is
    refused with exit code 5.
    """
    from rivet_core.config import load
    from rivet_core.engine.standing import reset_cursor
    from rivet_core.plugins import load_registry
    from rivet_core.state import open_state

    loaded = load(config, load_registry())
    (export,) = loaded.select([name])
    with open_state(loaded.state_url, loaded.base_dir) as store:
        done = reset_cursor(store, export, execute=execute)
    output.report({**done.to_json(), "exit_code": 0}, lambda text: _render_reset(done, text))


def _render_standings(location: str, standings: list[Standing], text: TextOutput) -> None:
    text.line(f"state: {location}")
    for standing in standings:
        text.line(f"{standing.export} ({standing.mode})", "strong")
        if standing.cursor is not None:
            cursor = standing.cursor
            text.line(f"  cursor: {cursor.column} = {cursor.value}, by {cursor.run_id}")
        elif standing.mode == "incremental":
            text.line("  cursor: none")
        if standing.last_run is None:
            text.line("  last run: none")
        else:
            text.line(f"  last run: {standing.last_run.run_id}, {standing.last_run.status}")
        if standing.holder is not None:
            text.line(f"  being run by {standing.holder}", "warn")


def _render_reset(done: CursorReset, text: TextOutput) -> None:
    if done.cursor is None:
        text.line(f"{done.export}: there is no cursor")
        return
    said = "the cursor is forgotten" if done.executed else "the cursor would be forgotten"
    text.line(f"{done.export}: {said}: {done.cursor.column} = {done.cursor.value}, by {done.cursor.run_id}")
    if not done.executed:
        text.line("nothing was changed; repeat it with --execute")
