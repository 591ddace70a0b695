"""Runs exports in forked children that can be killed at any operation: started once, so a run costs no imports.

As a program (``python -m crash.zygote WARM_UP_CONFIG``) it reads one JSON request a line, the fields of ``Request``,
forks, and answers ``{"status": N}`` with the child's wait status. In the child every operation of the destination and
every write of the state counts twice, before and after, and at the count ``kill_at`` the child kills itself with
SIGKILL; or the parent kills it ``kill_after`` seconds after it has begun. The names of the counted points go to the
trace file, unbuffered.

The kit's ``MortalDestination`` plays a death inside one process, for any plugin. Here the process is really killed,
with whatever it had not flushed, and nothing of the kit takes part: what the kit plays is held against the real thing.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rivet_core.config import Config
    from rivet_core.engine.result import RunResult
    from rivet_core.engine.run import RunOptions
    from rivet_core.plugins import Registry

TESTS = Path(__file__).parents[1]
_OPERATIONS = ("put", "head", "list", "open_reader", "open_writer", "copy", "move", "delete")
_LOOKS = ("head", "list", "open_reader")


@dataclass(frozen=True)
class Request:
    """One run of every export of a configuration.

    Attributes:
        config: its file.
        trace: receives the points; the results go beside it, with the suffix ``.json``.
        kill_at: the point at which it dies.
        kill_after: the seconds after which it dies.
        harm: what befalls it at ``kill_at`` instead of its death: the name of a function in ``harms``.
        repair: repair instead of exporting.
        plan: a plan's file; apply it instead.
        changes: count only the points around what changes something; how often a run looks depends on what was before.
    """

    config: str
    trace: str
    kill_at: int | None = None
    kill_after: float | None = None
    resume: bool = False
    force: bool = False
    dry_run: bool = False
    harm: str | None = None
    repair: bool = False
    plan: str | None = None
    changes: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its exit code, or ``None`` if it was killed; the points that it reached; what it reports."""

    exit_code: int | None
    points: tuple[str, ...]
    results: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @property
    def error_code(self) -> str | None:
        """The code of the error that ended the only export."""
        (result,) = self.results
        return result["error"]["code"] if result["error"] else None


class Zygote:
    """The parent's side.

    Args:
        warm_up: configuration of an export that may run in the process that forks.
        environment: variables beside those of this process.
        inside: a command that runs its arguments, as another host would be.
    """

    def __init__(
        self, warm_up: Path, *, environment: Mapping[str, str] | None = None, inside: Sequence[str] = ()
    ) -> None:
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-m", "crash.zygote", str(warm_up)],
            cwd=TESTS,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self.close()
            raise AssertionError("the warm-up export failed")

    def run(
        self,
        config: Path,
        trace: Path,
        *,
        kill_at: int | None = None,
        kill_after: float | None = None,
        resume: bool = False,
        force: bool = False,
        dry_run: bool = False,
        harm: str | None = None,
        repair: bool = False,
        plan: Path | None = None,
        changes: bool = False,
    ) -> Outcome:
        """Run every export of ``config`` in a child, or repair it, or apply a plan, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = Request(
            str(config),
            str(trace),
            kill_at,
            kill_after,
            resume,
            force,
            dry_run,
            harm,
            repair,
            None if plan is None else str(plan),
            changes,
        )
        report = _report_beside(trace)
        for left in (trace, report):
            left.unlink(missing_ok=True)
        self._process.stdin.write(json.dumps(asdict(request)) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())["status"]
        points = tuple(trace.read_text().splitlines()) if trace.exists() else ()
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return Outcome(None, points)
        return Outcome(os.waitstatus_to_exitcode(status), points, tuple(json.loads(report.read_text())))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _report_beside(trace: Path) -> Path:
    return trace.with_name(f"{trace.name}.json")


class _Points:
    """Counts points in the child and does something at the chosen one. Safe for threads."""

    def __init__(self, trace: Path, kill_at: int | None, strike: Callable[[], None], *, changes: bool = False) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._kill_at = kill_at
        self._strike = strike
        self._uncounted = _LOOKS if changes else ()
        self._count = 0
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        if name.partition(" ")[2] in self._uncounted:
            return
        with self._lock:
            self._count += 1
            os.write(self._trace, f"{name}\n".encode())
            struck = self._count == self._kill_at
        if struck:
            self._strike()

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
    from rivet_s3.destination import S3Destination
    from rivet_s3.writer import S3Writer

    for destination in (LocalDestination, S3Destination):
        for name in _OPERATIONS:
            setattr(destination, name, points.around(name, getattr(destination, name)))
    for writer in (LocalWriter, S3Writer):
        for name in ("write", "commit"):
            setattr(writer, name, points.around(f"writer.{name}", getattr(writer, name)))
    write = Database.write

    @contextmanager
    def counted_write(self: Database) -> Iterator[Any]:
        points.reach("before state write")
        with write(self) as connection:
            yield connection
        points.reach("after state write")

    Database.write = counted_write  # type: ignore[method-assign]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _strike_of(request: Request) -> Callable[[], None]:
    if request.harm is None:
        return _die
    harm: Callable[[Path], None] = getattr(import_module("crash.harms"), request.harm)
    return lambda: harm(Path(request.config).parent)


def _run(request: Request, registry: Registry) -> int:
    from rivet_core.config import load
    from rivet_core.engine.result import overall_exit_code
    from rivet_core.engine.run import RunOptions, run_exports

    loaded = load(Path(request.config), registry)
    options = RunOptions(resume=request.resume, force=request.force, dry_run=request.dry_run)
    if request.repair:
        results = _repair(loaded, registry, options)
    elif request.plan is not None:
        results = _apply(loaded, registry, options, Path(request.plan))
    else:
        results = run_exports(loaded, loaded.exports, registry, options, lambda name, counters: nullcontext())
    for result in results:
        if result.error:
            print(result.error, file=sys.stderr)
    _report_beside(Path(request.trace)).write_text(json.dumps([result.to_json() for result in results]))
    return overall_exit_code(result.exit_code for result in results)


def _repair(loaded: Config, registry: Registry, options: RunOptions) -> list[RunResult]:
    from rivet_core.engine.plan import PrefixChoice
    from rivet_core.engine.repair import repair_export

    today = PrefixChoice(datetime.now(UTC).date())
    watch = lambda name, counters: nullcontext()  # noqa: E731
    results = []
    for export in loaded.exports:
        report = repair_export(loaded, export, registry, today, options, watch=watch, execute=True)
        assert report.run is not None, f"nothing to repair: {report}"
        results.append(report.run)
    return results


def _apply(loaded: Config, registry: Registry, options: RunOptions, file: Path) -> list[RunResult]:
    from rivet_core.api.errors import PlanRefused
    from rivet_core.engine.apply import apply_plan
    from rivet_core.engine.result import RunResult, error_report
    from rivet_core.engine.sealed_plan import read_plan

    watch = lambda name, counters: nullcontext()  # noqa: E731
    try:
        plan = read_plan(file)
        return apply_plan(loaded, plan, registry, options, watch, names=(), max_age=timedelta(days=1))
    except PlanRefused as error:
        (export,) = loaded.exports
        refused = RunResult(export.name, "", export.mode, "", "")
        refused.error = error_report(error, export.name)
        return [refused]


def _wait(pid: int, kill_after: float | None) -> int:
    """Wait for a child, killed when its time is over; returns its wait status."""
    if kill_after is not None:
        deadline = time.monotonic() + kill_after
        while time.monotonic() < deadline:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return status
            time.sleep(0.0005)
        os.kill(pid, signal.SIGKILL)  # it has not been waited for, so the number is still its own
    return os.waitpid(pid, 0)[1]


def main(warm_up: str) -> None:
    # What is imported and compiled here once, no child has to: then one takes 50 ms instead of 500.
    import rivet_core.engine.apply
    import rivet_core.engine.repair  # noqa: F401
    from rivet_core.plugins import load_registry

    registry = load_registry()
    if _run(Request(warm_up, f"{warm_up}.trace"), registry) != 0:
        sys.exit("the warm-up export failed")
    gc.freeze()  # or every fork copies all pages when it collects
    print("ready", flush=True)
    for line in sys.stdin:
        request = Request(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                strike = _strike_of(request)
                _instrument(_Points(Path(request.trace), request.kill_at, strike, changes=request.changes))
                code = _run(request, registry)
            except Exception:  # noqa: BLE001  the process ends here
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(json.dumps({"status": _wait(pid, request.kill_after)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
