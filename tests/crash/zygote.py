"""Runs exports in forked children that can be killed at any operation: started once, so a run costs no imports.

As a program (``python zygote.py WARM_UP_CONFIG``) it reads one JSON request a line:
``{"config": PATH, "kill_at": N | null, "trace": PATH, "resume": BOOL}``, forks, and answers ``{"status": N}`` with the
child's wait status. In the child every operation of the destination and every write of the state counts twice, before
and after, and at the N-th count the child kills itself with SIGKILL. The names of the counted points go to the trace
file, unbuffered.

The kit's ``MortalDestination`` plays a death inside one process, for any plugin. Here the process is really killed,
with whatever it had not flushed, and nothing of the kit takes part: what the kit plays is held against the real thing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OPERATIONS = ("put", "head", "list", "open_reader", "open_writer", "copy", "move", "delete")


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its exit code, or ``None`` if it was killed; and the points that it reached."""

    exit_code: int | None
    points: tuple[str, ...]


class Zygote:
    """The parent's side.

    Args:
        warm_up: configuration of an export that may run in the process that forks.
    """

    def __init__(self, warm_up: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(warm_up)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, config: Path, trace: Path, *, kill_at: int | None = None, resume: bool = False) -> Outcome:
        """Run every export of ``config`` in a child, or resume it by force, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"config": str(config), "kill_at": kill_at, "trace": str(trace), "resume": resume}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())["status"]
        points = tuple(trace.read_text().splitlines())
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return Outcome(None, points)
        return Outcome(os.waitstatus_to_exitcode(status), points)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class _Points:
    """Counts points in the child and kills it at the chosen one."""

    def __init__(self, trace: Path, kill_at: int | None) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._kill_at = kill_at
        self._count = 0

    def reach(self, name: str) -> None:
        self._count += 1
        os.write(self._trace, f"{name}\n".encode())
        if self._count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.reach(f"before {name}")
            result = function(*args, **kwargs)
            self.reach(f"after {name}")
            return result

        return counted


def _instrument(points: _Points) -> None:
    from rivet_core.state.database import Database
    from rivet_local.destination import LocalDestination
    from rivet_local.objects import LocalWriter

    for name in _OPERATIONS:
        setattr(LocalDestination, name, points.around(name, getattr(LocalDestination, name)))
    for name in ("write", "commit"):
        setattr(LocalWriter, name, points.around(f"writer.{name}", getattr(LocalWriter, name)))
    write = Database.write

    @contextmanager
    def counted_write(self: Database) -> Iterator[Any]:
        points.reach("before state write")
        with write(self) as connection:
            yield connection
        points.reach("after state write")

    Database.write = counted_write  # type: ignore[method-assign]


def _run(config: str, *, resume: bool = False) -> int:
    from rivet_core.config import load
    from rivet_core.engine.run import RunOptions, run_exports
    from rivet_core.plugins import load_registry

    registry = load_registry()
    loaded = load(Path(config), registry)
    options = RunOptions(resume=resume, force=resume)
    results = run_exports(loaded, loaded.exports, registry, options, lambda name, counters: nullcontext())
    for result in results:
        if result.error:
            print(result.error, file=sys.stderr)
    return max(result.exit_code for result in results)


def main(warm_up: str) -> None:
    # One export in this process imports and compiles everything once, so a child takes 50 ms instead of 500.
    if _run(warm_up) != 0:
        sys.exit("the warm-up export failed")
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                _instrument(_Points(Path(request["trace"]), request["kill_at"]))
                code = _run(request["config"], resume=request["resume"])
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": status}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
