"""The progress of one export on stderr: live on a terminal, a line every few seconds anywhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import click

from rivet_core.cli.output import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Rates and the time left come from this many seconds before now.
RATE_WINDOW_SECONDS: Final = 20.0
LINE_INTERVAL_SECONDS: Final = 5.0


class Watched(Protocol):
    """What is polled: counters that another thread moves.

    Attributes:
        approximate_rows: how many rows there will be, roughly, where the database knows.
        phase: what is being done now, one word.
    """

    rows: int
    bytes_written: int
    parts: int
    approximate_rows: int | None
    phase: str


@dataclass(frozen=True)
class Snapshot:
    """Where an export stands.

    Attributes:
        fraction: share of the rows that are done, below 1; ``None`` where the row count is unknown or was too low.
        seconds_left: ``None`` where nothing can be said.
    """

    phase: str
    rows: int
    bytes_written: int
    parts: int
    rows_per_second: float
    bytes_per_second: float
    fraction: float | None
    seconds_left: float | None

    def __str__(self) -> str:
        facts = [self.phase, f"{self.rows:,} rows", f"{self.rows_per_second:,.0f} rows/s"]
        if self.bytes_written:  # the first row group goes out as a whole, so nothing is normal for a while
            facts += [format_bytes(self.bytes_written), f"{format_bytes(self.bytes_per_second)}/s"]
        if self.parts:
            facts.append(format_count(self.parts, "part"))
        if self.fraction is not None:
            facts.append(f"{int(self.fraction * 100)} %")
        if self.seconds_left is not None:
            facts.append(f"{format_duration(self.seconds_left)} left")
        return ", ".join(facts)


class Meter:
    """Turns counters into rates.

    Args:
        watched: the counters.
        clock: seconds, monotonic.
    """

    def __init__(self, watched: Watched, clock: Callable[[], float] = time.monotonic) -> None:
        self._watched = watched
        self._clock = clock
        self._samples = deque([(clock(), watched.rows, watched.bytes_written)])

    def read(self) -> Snapshot:
        """Read the counters."""
        now, rows, size = self._clock(), self._watched.rows, self._watched.bytes_written
        self._samples.append((now, rows, size))
        # The newest sample that is as old as the window stays, so that the rates always span all of it.
        while self._samples[1][0] <= now - RATE_WINDOW_SECONDS:
            self._samples.popleft()
        then, rows_then, size_then = self._samples[0]
        seconds = max(now - then, 1e-9)
        speed = (rows - rows_then) / seconds
        total = self._watched.approximate_rows
        known = total is not None and rows < total
        return Snapshot(
            phase=self._watched.phase,
            rows=rows,
            bytes_written=size,
            parts=self._watched.parts,
            rows_per_second=speed,
            bytes_per_second=(size - size_then) / seconds,
            fraction=rows / total if total is not None and known else None,
            seconds_left=(total - rows) / speed if total is not None and known and speed > 0 else None,
        )


@contextmanager
def show_progress(name: str, watched: Watched) -> Iterator[None]:
    """Show the progress of ``watched`` under ``name`` while the block runs."""
    meter = Meter(watched)
    with _live(name, meter) if sys.stderr.isatty() else _lines(name, meter):
        yield


@contextmanager
def _lines(name: str, meter: Meter) -> Iterator[None]:
    stopped = threading.Event()

    def write() -> None:
        while not stopped.wait(LINE_INTERVAL_SECONDS):
            with suppress(OSError):  # nobody can read it; the export goes on
                click.echo(printable(f"{name}: {meter.read()}"), err=True)

    thread = threading.Thread(target=write, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextmanager
def _live(name: str, meter: Meter) -> Iterator[None]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    def render() -> RenderableType:
        now = meter.read()
        text = Text.assemble((printable(name), "bold"), f": {now}")
        return text if now.fraction is None else Group(text, ProgressBar(total=1.0, completed=now.fraction))

    # stdout may carry the data themselves and is never redirected; the display goes when the result is printed.
    with Live(get_renderable=render, console=Console(stderr=True), transient=True, redirect_stdout=False):
        yield


def format_count(number: int, noun: str) -> str:
    """Return ``1 part``, ``2 parts``, ``1,000 parts``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_bytes(size: float) -> str:
    """Return a size in decimal units.

    >>> format_bytes(999), format_bytes(123_456_789)
    ('999 B', '123.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.95 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} B" if unit == "B" else f"{size:,.1f} {unit}"


def format_duration(seconds: float) -> str:
    """Return a duration.

    >>> format_duration(0.34), format_duration(42), format_duration(59.6), format_duration(3725)
    ('0.3 s', '42 s', '1:00', '1:02:05')
    """
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
