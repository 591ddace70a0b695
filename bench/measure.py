"""Runs commands in turn and measures each one: wall time, CPU time and peak resident memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import psutil

# Looking at a process tree costs milliseconds of the CPU that is being measured.
_SAMPLE_SECONDS = 0.25
_MIB = 1024 * 1024

Quantity = Literal["wall_seconds", "cpu_seconds", "peak_rss_mib"]


class CommandFailed(Exception):
    """A measured command did not succeed; the message ends with what it wrote to stderr."""


@dataclass(frozen=True)
class Contender:
    """One command of a comparison.

    Attributes:
        name: what the report calls it.
        command: the program and its arguments.
        environment: variables beside the inherited ones.
        prepare: brings everything back to the start before each run; not measured.
        check: raises ``CommandFailed`` if a run that exited with 0 has not done its work; not measured.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Sample:
    """One run of a command and all the processes that it started.

    Attributes:
        wall_seconds: from start to end.
        cpu_seconds: user and system time of the process and of the children that it waited for.
        peak_rss_mib: the largest resident set of one process as the kernel saw it, or of the whole tree as seen four
            times a second, whichever is larger. Pages shared within the tree count once for each process, and Linux
            counts what the benchmark itself occupied when it started the command: no value is below that (50 MiB).
    """

    wall_seconds: float
    cpu_seconds: float
    peak_rss_mib: float


def interleave(contenders: Sequence[Contender], rounds: int) -> dict[str, list[Sample]]:
    """Run all contenders once unmeasured, then ``rounds`` times in turn, each round beginning with another one.

    Raises:
        CommandFailed: a command exits with anything but 0.
    """
    for contender in contenders:
        measure(contender)
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            samples[contender.name].append(measure(contender))
    return samples


def measure(contender: Contender) -> Sample:
    """Run one command to its end.

    Raises:
        CommandFailed: it exits with anything but 0, or its work is not done.
    """
    contender.prepare()
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            contender.command,
            env=os.environ | contender.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        with _TreeSampler(process.pid) as tree:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for behind Popen's back
        if process.returncode != 0:
            errors.seek(0)
            message = errors.read().decode(errors="replace").strip()[-2000:]
            raise CommandFailed(f"{contender.name} exited with {process.returncode}: {message}")
    contender.check()
    unit = 1 if os.uname().sysname == "Darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    peak = max(usage.ru_maxrss * unit, tree.peak_bytes)
    return Sample(wall, usage.ru_utime + usage.ru_stime, peak / _MIB)


def median(samples: Sequence[Sample], quantity: Quantity) -> float:
    """Return the median of one field of the samples."""
    values: list[float] = [getattr(sample, quantity) for sample in samples]
    return statistics.median(values)


class _TreeSampler:
    """Adds up the resident memory of a process and its descendants from a thread."""

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
        total = 0
        try:
            root = psutil.Process(self._pid)
            processes = [root, *root.children(recursive=True)]
        except psutil.Error:
            return 0
        for process in processes:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue  # it ended meanwhile
        return total
