"""Runs commands in turn and measures each one: wall time, CPU time and peak resident memory."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

import psutil

# Looking at a process tree costs milliseconds of the CPU that is being measured.
_SAMPLE_SECONDS = 0.25
_MIB = 1024 * 1024

Quantity = Literal[
    "wall_seconds", "cpu_seconds", "peak_rss_mib", "output_mib", "longest_statement_seconds", "server_cpu_seconds"
]


class CommandFailed(Exception):
    """A measured command did not succeed; the message ends with what it wrote to stderr."""


class Watch(Protocol):
    """What looks at the database while a command runs."""

    longest_seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Contender:
    """One command of a comparison.

    Attributes:
        name: what the report calls it.
        command: the program and its arguments.
        environment: variables beside the inherited ones.
        prepare: brings everything back to the start before each run; not measured.
        check: raises ``CommandFailed`` if a run that exited with 0 has not done its work; not measured.
        output: the directory whose Parquet files it writes, or none.
        watch: measures the database's statements while a block lasts, or none.
        peer: whether the comparison goes on without it when it fails.
        limit_seconds: it is ended after this time, and has failed.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None
    output: Path | None = None
    watch: Callable[[], AbstractContextManager[Watch]] | None = None
    peer: bool = False
    limit_seconds: float = 3600


@dataclass(frozen=True)
class Sample:
    """One run of a command and all the processes that it started.

    Attributes:
        wall_seconds: from start to end.
        cpu_seconds: user and system time of the process and of the children that it waited for.
        peak_rss_mib: the largest resident set of one process as the kernel saw it, or of the whole tree, whichever is
            larger, looked at four times a second. Pages shared within the tree count once for each process. Of a
            command that ends before the first look it is what the kernel says at its end, which on Linux is never
            less than what the benchmark itself occupied when it started the command (about 100 MiB).
        output_mib: the Parquet files that it wrote, where it names their directory.
        longest_statement_seconds: the longest statement seen in the database, where it is watched.
        server_cpu_seconds: user and system time of the database's processes meanwhile, where it is watched.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_rss_mib: float
    output_mib: float | None = None
    longest_statement_seconds: float | None = None
    server_cpu_seconds: float | None = None


@dataclass(frozen=True)
class Race:
    """The samples of each contender, and why a peer has none (or no more)."""

    samples: dict[str, list[Sample]]
    failures: dict[str, str]


def interleave(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    unmeasured: int = 1,
    patience_seconds: float = math.inf,
    tell: Callable[[str], None] = lambda line: None,
) -> Race:
    """Run all contenders ``unmeasured`` times, then ``rounds`` times in turn, each round beginning with another one.

    A peer that fails takes no further part. Of one that needs more than ``patience_seconds`` the first run is the only
    one, and is measured. ``tell`` gets a line after each run.

    Raises:
        CommandFailed: a command that is no peer exits with anything but 0.
    """
    race = Race({contender.name: [] for contender in contenders}, {})
    for number in range(-unmeasured, rounds):
        for contender in rotated(contenders, max(number, 0)):
            measured = race.samples.get(contender.name)
            if measured is None or (contender.peer and measured and measured[0].wall_seconds > patience_seconds):
                continue
            try:
                sample = measure(contender)
            except CommandFailed as failure:
                if not contender.peer:
                    raise
                race.failures[contender.name] = str(failure)
                race.samples.pop(contender.name)
                tell(f"round {number + 1}: {contender.name} failed")
                continue
            tell(f"round {number + 1}: {contender.name} {sample.wall_seconds:.2f} s")
            if number >= 0 or (contender.peer and sample.wall_seconds > patience_seconds):
                race.samples[contender.name].append(sample)
    return race


def rotated(contenders: Sequence[Contender], first: int) -> tuple[Contender, ...]:
    """Return all contenders, beginning with the one at ``first``."""
    first %= max(len(contenders), 1)
    return (*contenders[first:], *contenders[:first])


def _as_installed() -> dict[str, str]:
    """Return the environment, in which Python keeps what it compiles, as installations do, and compiles once."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measure(contender: Contender) -> Sample:
    """Run one command to its end.

    Raises:
        CommandFailed: it exits with anything but 0, or its work is not done.
    """
    contender.prepare()
    if contender.output is not None:
        os.sync()  # what earlier runs have left unwritten would be written on this one's time
    watch = contender.watch or (lambda: nullcontext(None))
    with tempfile.TemporaryFile() as errors, watch() as statements:
        started = time.perf_counter()
        process = subprocess.Popen(
            contender.command,
            env=_as_installed() | contender.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        with _TreeSampler(process.pid) as tree, _Limit(process.pid, contender.limit_seconds) as limit:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for behind Popen's back
        if limit.reached:
            raise CommandFailed(f"{contender.name} was ended after {contender.limit_seconds:.0f} s")
        if process.returncode != 0:
            errors.seek(0)
            message = _without_secrets(errors.read().decode(errors="replace").strip()[-2000:], contender)
            raise CommandFailed(f"{contender.name} exited with {process.returncode}: {message}")
    contender.check()
    unit = 1 if os.uname().sysname == "Darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    peak = tree.peak_bytes or usage.ru_maxrss * unit
    return Sample(
        wall,
        usage.ru_utime + usage.ru_stime,
        peak / _MIB,
        _written(contender.output),
        None if statements is None else statements.longest_seconds,
        None if statements is None else statements.cpu_seconds,
    )


def median(samples: Sequence[Sample], quantity: Quantity) -> float | None:
    """Return the median of one field of the samples, or ``None`` where it was not measured."""
    values = [getattr(sample, quantity) for sample in samples]
    return None if None in values or not values else statistics.median(values)


def _without_secrets(message: str, contender: Contender) -> str:
    """Return a message that a result may keep."""
    for name, value in contender.environment.items():
        if "PASSWORD" in name:
            for secret in (value, quote(value, safe="")):
                message = message.replace(secret, "…")
    return message


def parquet_files(directory: Path) -> list[Path]:
    """Return the Parquet files of a directory and its subdirectories, in order of their names."""
    return sorted(directory.rglob("*.parquet"))


def _written(directory: Path | None) -> float | None:
    return None if directory is None else sum(file.stat().st_size for file in parquet_files(directory)) / _MIB


class _Limit:
    """Ends a process and its descendants when a time is over."""

    def __init__(self, pid: int, seconds: float) -> None:
        self.reached = False
        self._pid = pid
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Limit:
        self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.reached = True
        for process in _tree(self._pid):
            with suppress(psutil.Error):
                process.kill()


class _TreeSampler:
    """Looks at the resident memory of a process and its descendants from a thread."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _TreeSampler:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self._resident())

    def _resident(self) -> int:
        total = highest = 0
        for process in _tree(self._pid):
            with suppress(psutil.Error):  # it ended meanwhile
                total += process.memory_info().rss
                highest = max(highest, _high_water(process.pid))
        return max(total, highest)


def _high_water(pid: int) -> int:
    """Return the largest resident set of a process since it began its program, where the kernel tells it."""
    with suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:  # noqa: PTH123
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
    return 0


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
