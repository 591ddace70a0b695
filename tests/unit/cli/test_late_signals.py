"""A signal that comes when a command is over, while the interpreter cleans up."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from rivet_core.cli.main import main
sys.argv = ["rivet", "schema", "manifest"]
code = main()
os.kill(os.getpid(), int(sys.stdin.read()))
sys.exit(code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_changes_the_exit_code_no_more(number: signal.Signals) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=str(int(number)), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout
