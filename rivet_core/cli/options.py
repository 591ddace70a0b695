"""The options that commands share.

``--json`` and ``--debug`` also decide how an error is shown; ``main`` reads them from the arguments themselves, because
an error may come before they are parsed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rivet_core.cli.output import Output

F = TypeVar("F", bound=Callable[..., Any])


def output_options(command: F) -> F:
    """Add ``--json`` and ``--debug``; the command gets ``output: Output``."""
    command = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_log_everything,
        help="Show the traceback of an error, and what else may help to find its cause.",
    )(command)
    return click.option(
        "--json", "output", is_flag=True, callback=_output, help="Print one JSON document with the same facts."
    )(command)


def common_options(command: F) -> F:
    """Add ``--config``, ``--json`` and ``--debug``; the command gets ``config: Path`` and ``output: Output``."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("rivet.yaml"),
        show_default=True,
        metavar="FILE",
        help="The configuration.",
    )(output_options(command))


def export_option(command: F) -> F:
    """Add ``--export``, which may be repeated; the command gets ``names: tuple[str, ...]``, empty for all exports."""
    return click.option(
        "-e", "--export", "names", multiple=True, metavar="NAME", help="Only this export; repeat it for several."
    )(command)


def param_option(command: F) -> F:
    """Add ``--param``; the command gets ``params: tuple[str, ...]``, for ``rivet_core.config.parse_params``."""
    return click.option(
        "--param", "params", multiple=True, metavar="NAME=VALUE", help="A value for ${NAME} in queries; repeatable."
    )(command)


def prefix_options(command: F) -> F:
    """Add what chooses one of an export's prefixes; the command gets ``day``, ``run_id`` and ``prefix`` or ``None``."""
    command = click.option(
        "--prefix", metavar="P", help="Use exactly this path or prefix; nothing is filled in. One export only."
    )(command)
    command = click.option("--run-id", metavar="R", help="What {run_id} stands for; default: the newest run.")(command)
    return click.option(
        "--date", "day", callback=_day, metavar="YYYY-MM-DD", help="What {date} stands for; default: today, in UTC."
    )(command)


def report_options(command: F) -> F:
    """Add where a report goes; the command gets ``form`` (``pretty`` or ``json``) and ``output_file: Path | None``."""
    command = click.option(
        "-o",
        "--output-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write the report to a file instead.",
    )(command)
    return click.option(
        "--format",
        "form",
        type=click.Choice(["pretty", "json"]),
        default="pretty",
        show_default=True,
        help="json is the same as --json.",
    )(command)


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date such as 2026-11-22") from None


def _log_everything(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        logging.getLogger("rivet_core").setLevel(logging.DEBUG)


def _output(ctx: click.Context, param: click.Parameter, value: bool) -> Output:
    from rivet_core.cli.output import make_output

    return make_output(as_json=value)
