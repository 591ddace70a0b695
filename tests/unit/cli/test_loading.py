"""Garbage is not looked for while a command loads, and is afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from rivet_core.cli.loading import loading

PROGRAM = """
import gc
from rivet_core.cli.loading import loading
with loading():
    kept = [[] for _ in range(10_000)]
    print(gc.isenabled())
frozen = gc.get_freeze_count()
with loading():
    more = [[] for _ in range(10_000)]
print(gc.isenabled(), frozen > 10_000, gc.get_freeze_count() - frozen)
"""


def test_the_collector_rests_while_a_command_loads_and_leaves_alone_what_was_loaded_first():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True", "True", "0"]


def test_an_error_while_loading_leaves_the_collector_at_work():
    with pytest.raises(KeyError), loading():
        raise KeyError
    assert gc.isenabled()
