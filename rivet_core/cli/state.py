"""``rivet state``: what the state database knows of the exports, and how to make it forget a cursor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rivet_core.cli.options import common_options, export_option

if TYPE_CHECKING:
    from rivet_core.cli.output import Output, TextOutput
    from rivet_core.engine.history import ChunkSummary, RunSummary
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
    from rivet_core.state import location_of, read_state

    loaded = load(config, load_registry())
    exports = loaded.select(names)
    location = location_of(loaded.state_url, loaded.base_dir)
    with read_state(loaded.state_url, loaded.base_dir) as store:
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

    loaded = load(config, load_registry())
    (export,) = loaded.select([name])
    done = reset_cursor(loaded, export, execute=execute)
    output.report({**done.to_json(), "exit_code": 0}, lambda text: _render_reset(done, text))


@state.command()
@click.option("-e", "--export", required=True, metavar="NAME", help="The export.")
@click.option(
    "--run-id", default="latest", show_default=True, metavar="R", help="A run of it: its id, or the beginning of one."
)
@common_options
def chunks(*, config: Path, output: Output, export: str, run_id: str) -> None:
    """List the chunks of a run and what a resume would keep of them."""
    from rivet_core.config import load
    from rivet_core.engine.history import show_chunks
    from rivet_core.plugins import load_registry

    summary, found = show_chunks(load(config, load_registry()), export, run_id)
    document = {
        "run_id": summary.run.run_id,
        "export": summary.run.export,
        "status": summary.status,
        "chunks_done": summary.chunks_done,
        "chunks": [chunk.to_json() for chunk in found],
    }
    output.report(document, lambda text: _render_chunks(summary, found, text))


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


def _render_chunks(summary: RunSummary, found: list[ChunkSummary], text: TextOutput) -> None:
    text.line(f"{summary.run.run_id}: {summary.status}, {summary.chunks_done:,} of {summary.chunks:,} chunks done")
    if found:
        columns = ["CHUNK", "ABOVE", "UP TO", "STATE", "ATTEMPT", "ROWS", "PARTS"]
        text.table(columns, map(_cells, found), styles={"done": "good", "open": "warn"})


def _cells(chunk: ChunkSummary) -> list[str]:
    return [
        str(chunk.number),
        "NULL" if chunk.nulls else f"{'from ' if chunk.low_inclusive else ''}{_key(chunk.low)}",
        "NULL" if chunk.nulls else _key(chunk.high),
        chunk.state,
        "-" if chunk.attempt is None else str(chunk.attempt),
        f"{chunk.rows:,}",
        f"{chunk.parts:,}",
    ]


def _key(values: tuple[str, ...] | None) -> str:
    return "-" if values is None else ", ".join(values)
