"""The entry point of ``rivet``: the group of commands, and the one place that turns exceptions into messages."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import click

from rivet_core import __version__

if TYPE_CHECKING:
    from rivet_core.api.errors import RivetError
    from rivet_core.plugins import Registry

#: Every built-in command: its name, the module and object that implement it, and its line in ``rivet --help``.
COMMANDS: Final = {
    "run": ("rivet_core.cli.run", "run", "Export tables and queries."),
    "plan": ("rivet_core.cli.plan", "plan", "Show what a run would do."),
    "apply": ("rivet_core.cli.apply", "apply", "Run a plan."),
    "validate": ("rivet_core.cli.validate", "validate", "Verify what was exported, without touching the source."),
    "reconcile": ("rivet_core.cli.reconcile", "reconcile", "Compare what was exported with the source."),
    "repair": ("rivet_core.cli.repair", "repair", "Export again what differs from the source."),
    "runs": ("rivet_core.cli.runs", "runs", "Show earlier runs."),
    "clean": ("rivet_core.cli.clean", "clean", "Remove old quarantine and unfinished uploads."),
    "state": ("rivet_core.cli.state", "state", "Show and reset what is remembered between runs."),
    "check": ("rivet_core.cli.check", "check", "Check types, indexes and statement lengths."),
    "doctor": ("rivet_core.cli.doctor", "doctor", "Check the source, the destinations and the plugins."),
    "plugins": ("rivet_core.cli.plugins_list", "plugins", "Show what is installed."),
    "schema": ("rivet_core.cli.schema_cmd", "schema", "Print JSON Schemas of rivet.yaml and of the manifest."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it runs, and asks plugins only for the help and for unknown names."""

    _registry: Registry | None = None

    def load_plugins(self) -> Registry:
        """Return the registry of all plugins; their commands are part of this group from then on."""
        if self._registry is None:
            from rivet_core.plugins import discover

            self._registry = discover()
            self._registry.add_commands(self)
        return self._registry

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the built-in commands in their order, then those of plugins by name."""
        self.load_plugins()
        return [*COMMANDS, *sorted(self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name."""
        if cmd_name in COMMANDS:
            module, name, _ = COMMANDS[cmd_name]
            command: click.Command = getattr(import_module(module), name)
            return command
        self.load_plugins()
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command. What it returns is not its exit code; ``ctx.exit`` sets that."""
        super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands from the static table, so that no command module is imported."""
        names = self.list_commands(ctx)
        rows = [
            (name, COMMANDS[name][2] if name in COMMANDS else self.commands[name].get_short_help_str())
            for name in names
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        if self.load_plugins().problems:
            formatter.write_paragraph()
            formatter.write_text("Some plugins do not work; `rivet plugins list` says why.")


@click.command(cls=LazyGroup, name="rivet", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rivet", message="%(prog)s %(version)s")
def cli() -> None:
    """Export SQL databases to Parquet or CSV and certify what was written."""
    _show_warnings()


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        args: arguments without the program's name; default: those of the process.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    # Arrow reads it when it is loaded. With its own allocator a third more of the same export stays resident.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    _occupy_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        with _terminated_like_interrupted(ending=args is None):
            code = cli.main(arguments, prog_name="rivet", standalone_mode=False)
    except BrokenPipeError:
        # The reader has gone: say nothing, and let the interpreter's last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the one place where every error ends
        return _report(error, arguments)
    return code if isinstance(code, int) else 0


def _occupy_standard_streams() -> None:
    """Open something in the place of each standard stream that was closed before the start.

    Else the next file, a database perhaps, would get its descriptor, and what is written to that stream would be
    written into the file.
    """
    while (fd := os.open(os.devnull, os.O_RDONLY)) <= 2:  # for reading: a write is still an error
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()


@contextmanager
def _terminated_like_interrupted(*, ending: bool) -> Iterator[None]:
    """Let SIGTERM, which schedulers and containers send, end a command as Ctrl-C does: cleaned up and on record.

    Args:
        ending: the process ends with the command. What comes when that is over changes its exit code no more.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # ignored on purpose, or an embedding program's own
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if ending else signal.SIG_DFL)
        if ending:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _report(error: BaseException, arguments: list[str]) -> int:
    """Print an exception and return its exit code, which is all that remains where nothing can be printed."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    known = _known(error)
    with suppress(OSError, KeyboardInterrupt):
        _print_error(known, error, arguments)
    return known.exit_code


def _known(error: BaseException) -> RivetError:
    from rivet_core.api.errors import Interrupted, UsageError, as_rivet_error

    match error:
        case click.ClickException():
            context = getattr(error, "ctx", None)
            hint = f"see `{context.command_path if context else 'rivet'} --help`"
            return UsageError(error.format_message(), hint=hint)
        case click.Abort() | KeyboardInterrupt():
            return Interrupted("interrupted")
        case _:
            return as_rivet_error(error)


def _print_error(known: RivetError, error: BaseException, arguments: list[str]) -> None:
    from rivet_core.api.errors import RivetError
    from rivet_core.api.secret import redact
    from rivet_core.cli.output import make_output

    if "--debug" in arguments:
        import traceback

        click.echo(redact("".join(traceback.format_exception(error))), err=True)
    as_json = "--json" in arguments or "--format=json" in arguments or ("--format", "json") in pairwise(arguments)
    try:
        make_output(as_json=as_json).error(known)
    except RivetError:  # stdout cannot be written, but stderr may
        make_output(as_json=False).error(known)


def _show_warnings() -> None:
    """Send warnings, logged or issued, to stderr, one ``warning: …`` each, free of secrets."""
    import logging

    from rivet_core.api.secret import redact

    class Stderr(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                debugging = logging.getLogger("rivet_core").isEnabledFor(logging.DEBUG)
                text = self.format(record) if debugging else record.getMessage()  # the former has the traceback
                click.echo(redact(f"{record.levelname.lower()}: {text}"), err=True)
            except OSError:
                self.handleError(record)  # a log that cannot be written fails no export

    logging.basicConfig(level=logging.WARNING, handlers=[Stderr()], format="%(name)s: %(message)s")
    logging.getLogger("stamina").setLevel(logging.ERROR)  # api.retry tells of every retry itself, in words
    logging.captureWarnings(True)
