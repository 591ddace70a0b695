"""``rivet doctor``: what works, what does not, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rivet_core.cli.options import common_options, export_option

if TYPE_CHECKING:
    from pathlib import Path

    from rivet_core.cli.output import Output, Style, TextOutput
    from rivet_core.engine.doctor import Diagnosis

_STYLES: dict[str, Style] = {"ok": "good", "warning": "warn", "failed": "bad", "skipped": "faint"}


@click.command()
@export_option
@common_options
@click.pass_context
def doctor(ctx: click.Context, *, config: Path, output: Output, names: tuple[str, ...]) -> None:
    """Check the source, the destinations and the plugins.

    Tries to write, read, list and delete one small object at each destination. Exits with 1 if a check fails.
    """
    from rivet_core.config import load
    from rivet_core.engine.doctor import examine
    from rivet_core.plugins import discover

    registry = discover()
    loaded = load(config, registry)
    found = list(examine(loaded, loaded.select(names), registry))
    failed = sum(diagnosis.check.status == "failed" for diagnosis in found)
    document = {
        "checks": [{"subject": diagnosis.subject, **asdict(diagnosis.check)} for diagnosis in found],
        "failed": failed,
    }
    output.report(document, lambda text: _render(found, failed, text))
    ctx.exit(1 if failed else 0)


def _render(found: list[Diagnosis], failed: int, text: TextOutput) -> None:
    for diagnosis in found:
        check = diagnosis.check
        text.line(f"{check.status:<8} {diagnosis.subject}: {check.name}: {check.message}", _STYLES[check.status])
        if check.hint and check.status != "ok":
            text.line(f"{'':<8} hint: {check.hint}")
    text.line()
    text.line(f"{failed or 'none'} of {len(found)} checks failed", "strong")
