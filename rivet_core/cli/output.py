"""What a command prints: the same facts as text for people or as one JSON document for programs.

Reports go to stdout. Text never carries control characters or secrets, whatever a database or a manifest holds.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Final, Literal, Self

import click

from rivet_core.api.secret import redact, redact_values

if TYPE_CHECKING:
    from rivet_core.api.errors import RivetError
    from rivet_core.engine.result import ErrorReport

Style = Literal["", "good", "warn", "bad", "strong", "faint"]

_COLOURS: Final[Mapping[Style, str]] = {"good": "green", "warn": "yellow", "bad": "red"}
#: Control characters but tab and newline, as what they are shown as: no file name may drive the terminal.
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


class Output(ABC):
    """Where a command's report and its error go.

    Args:
        stream: where reports go; ``None``: stdout.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._given = stream

    def to(self, stream: IO[str]) -> Self:
        """Return the same output into another stream: a file, or stderr where stdout carries data."""
        return type(self)(stream)

    @property
    def _stream(self) -> IO[str]:
        return self._given or sys.stdout

    def _write(self, text: str, *, colour: bool | None = None) -> None:
        try:
            click.echo(text, file=self._stream, color=colour)
        except BrokenPipeError:
            raise  # its reader has seen enough
        except OSError as error:
            from rivet_core.api.errors import RivetError

            raise RivetError(
                f"cannot write the report: {error.strerror}", hint="what the command has done is done"
            ) from error

    @abstractmethod
    def report(self, document: Mapping[str, object], render: Callable[[TextOutput], None]) -> None:
        """Print the facts, once per command.

        Args:
            document: the facts for a program: strings, numbers, booleans, ``None``, dates, paths, sequences, mappings.
            render: writes the same facts for people.
        """

    @abstractmethod
    def error(self, error: RivetError | ErrorReport) -> None:
        """Print why the command failed."""


class JsonOutput(Output):
    """One JSON document on stdout, an error too."""

    def report(self, document: Mapping[str, object], render: Callable[[TextOutput], None]) -> None:
        """Print ``document``."""
        self._write(json.dumps(redact_values(document), indent=2, default=_as_json))

    def error(self, error: RivetError | ErrorReport) -> None:
        """Print ``{"error": {…}}``."""
        facts = {"code": error.code, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        self._write(json.dumps({"error": facts}, indent=2))


class TextOutput(Output):
    """Text: plain in files and pipes; with colours, and tables that fit, on a terminal."""

    def report(self, document: Mapping[str, object], render: Callable[[TextOutput], None]) -> None:
        """Let ``render`` write."""
        render(self)

    def error(self, error: RivetError | ErrorReport) -> None:
        """Print ``error[R203]: message`` and ``hint: …`` on stderr."""
        colour = uses_colour(sys.stderr)
        label = click.style(f"error[{error.code}]", fg="red", bold=True) if colour else f"error[{error.code}]"
        click.echo(f"{label}: {printable(error.message)}", err=True, color=colour)
        if error.hint:
            label = click.style("hint", fg="cyan") if colour else "hint"
            click.echo(f"{label}: {printable(error.hint)}", err=True, color=colour)

    def line(self, text: str = "", style: Style = "") -> None:
        """Print one line, or several."""
        text = printable(text)
        colour = uses_colour(self._stream)
        if colour and style:
            text = click.style(
                text, fg=_COLOURS.get(style), bold=style == "strong" or None, dim=style == "faint" or None
            )
        self._write(text, colour=colour)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Mapping[str, Style] = {}) -> None:
        """Print a table.

        Args:
            columns: the headings.
            rows: one cell per column each.
            styles: style of a cell by its whole text, such as a status.
        """
        cells = [[printable(cell) for cell in row] for row in rows]
        if self._stream.isatty():
            _terminal_table(columns, cells, styles, self._stream)
            return
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for row in [columns, *cells]:
            text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._write(text.rstrip())


def make_output(*, as_json: bool) -> Output:
    """Return the output that the command line asks for."""
    return JsonOutput() if as_json else TextOutput()


def printable(text: str) -> str:
    """Return ``text`` without secrets and with control characters made visible.

    >>> printable("part\x1b[2J")
    'part\\\\x1b[2J'
    """
    return redact(text).translate(_CONTROL)


def write_report(
    output: Output,
    document: Mapping[str, object],
    render: Callable[[TextOutput], None],
    *,
    as_json: bool,
    file: Path | None,
) -> None:
    """Print a command's report, or write it to a file.

    Raises:
        UsageError: the file cannot be written.
    """
    output = make_output(as_json=True) if as_json else output
    if file is None:
        output.report(document, render)
        return
    try:
        with file.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            output.to(stream).report(document, render)
    except OSError as error:
        from rivet_core.api.errors import UsageError

        raise UsageError(f"cannot write {file}: {error.strerror}", hint="choose another file for the report") from error


def uses_colour(stream: IO[str]) -> bool:
    """Whether colours are welcome on ``stream``: a terminal, and ``NO_COLOR`` is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _terminal_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Mapping[str, Style], stream: IO[str]
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rich_styles = {"": "", "strong": "bold", "faint": "dim", **_COLOURS}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=rich_styles[styles.get(cell, "")]) for cell in row))
    Console(file=stream).print(table)


def _as_json(value: object) -> object:
    """Return what JSON has no word for, in words that it has."""
    match value:
        case date():
            return value.isoformat()
        case PurePath():
            return redact(str(value))
        case Iterable():
            return redact_values(list(value))
    raise TypeError(f"{type(value).__name__} has no place in a JSON report")
