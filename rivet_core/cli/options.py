"""The options that commands share.

``--json`` and ``--debug`` also decide how an error is shown; ``main`` reads them from the arguments themselves, because
an error may come before they are parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rivet_core.cli.output import Output

F = TypeVar("F", bound=Callable[..., Any])


def output_options(command: F) -> F:
    """Add ``--json`` and ``--debug``; the command gets ``output: Output``."""
    command = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)
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


def _output(ctx: click.Context, param: click.Parameter, value: bool) -> Output:
    from rivet_core.cli.output import make_output

    return make_output(as_json=value)
