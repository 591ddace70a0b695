"""A real terminal to print on."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from collections.abc import Callable
from textwrap import dedent

import pytest


@pytest.fixture
def on_terminal() -> Callable[..., tuple[str, str]]:
    """Return a function that runs Python code and returns what came on a terminal and what in a pipe.

    The code's ``stream`` (``stdout`` or ``stderr``) is the terminal, the other one the pipe.
    """

    def run(code: str, *, stream: str, **environ: str) -> tuple[str, str]:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (40, 200))
        inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        other = "stderr" if stream == "stdout" else "stdout"
        with subprocess.Popen(
            [sys.executable, "-c", dedent(code)],
            env=inherited | {"TERM": "xterm-256color"} | environ,
            text=True,
            **{stream: theirs, other: subprocess.PIPE},
        ) as process:
            os.close(theirs)
            shown = b""
            # Linux reports the end of a terminal's other side as an error.
            try:
                while piece := os.read(ours, 65536):
                    shown += piece
            except OSError:
                pass
            finally:
                os.close(ours)
            piped = process.communicate()[0 if other == "stdout" else 1]
        assert process.returncode == 0, (shown, piped)
        return shown.decode(), piped

    return run
