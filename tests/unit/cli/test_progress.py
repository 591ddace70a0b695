"""Progress: true rates, never over 100 %, on stderr only."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from rivet_core.cli import progress
from rivet_core.cli.progress import Meter, show_progress


@dataclass
class Counters:
    rows: int = 0
    bytes_written: int = 0
    parts: int = 0
    approximate_rows: int | None = None
    phase: str = "exporting"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_come_from_the_last_seconds():
    counters, clock = Counters(approximate_rows=10_000), Clock()
    meter = Meter(counters, clock)
    for second in range(1, 101):  # 100 rows a second for 50 seconds, then 10
        clock.now = second
        counters.rows += 100 if second <= 50 else 10
        counters.bytes_written = counters.rows * 20
        now = meter.read()
    assert now.rows_per_second == pytest.approx(10)
    assert now.bytes_per_second == pytest.approx(200)
    assert now.seconds_left == pytest.approx(450)
    assert str(now) == "exporting, 5,500 rows, 10 rows/s, 110.0 kB, 200 B/s, 55 %, 7:30 left"


@pytest.mark.parametrize(("rows", "percent"), [(0, "0 %"), (999, "99 %"), (1000, None), (5000, None)])
def test_an_estimate_that_was_too_low_never_gives_100_percent(rows, percent):
    now = Meter(Counters(rows=rows, approximate_rows=1000)).read()
    assert ("%" in str(now)) == (percent is not None)
    assert percent is None or percent in str(now)


@pytest.mark.parametrize("approximate_rows", [None, 0])
def test_without_an_estimate_there_is_no_percentage_and_no_time_left(approximate_rows):
    now = Meter(Counters(rows=10, parts=1, approximate_rows=approximate_rows)).read()
    assert (now.fraction, now.seconds_left) == (None, None)
    assert str(now).endswith("1 part")


def test_without_a_terminal_a_line_comes_every_few_seconds(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_INTERVAL_SECONDS", 0.01)
    counters = Counters(approximate_rows=100)
    with show_progress("orders", counters):
        counters.rows = 50
        time.sleep(0.2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "orders: exporting, 50 rows" in captured.err
    assert "\x1b" not in captured.err


def test_an_export_that_ends_at_once_writes_nothing(capsys):
    with show_progress("orders", Counters()):
        pass
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_live_and_gone_afterwards(on_terminal):
    shown, piped = on_terminal(
        """
        import time
        from types import SimpleNamespace
        from rivet_core.cli.progress import show_progress
        counters = SimpleNamespace(rows=50, bytes_written=0, parts=0, approximate_rows=100, phase="exporting")
        with show_progress("orders", counters):
            time.sleep(0.5)
            counters.rows = 75
            time.sleep(0.5)
            print("data")
        """,
        stream="stderr",
    )
    assert "50 rows" in shown
    assert "75 %" in shown
    assert shown.endswith("\x1b[2K")  # the last thing it does is to erase its lines
    assert piped == "data\n"
