"""Opens a state database and records a run in it again and again, killed one step later each time.

``killed_writer.py URL DIRECTORY``: each process kills itself before its n-th statement or commit. First they create the
tables, until one succeeds; then process ``n`` records a run of export ``orders_n`` and notes each finished write in
``DIRECTORY/n``. The last one is not killed.
"""

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import sqlalchemy

from rivet_core.api import Event
from rivet_core.state import PartRow, RunStart, open_state

NOW = datetime(2026, 11, 22, 17, 21, tzinfo=UTC)


def kill_before(step: int) -> None:
    """Count statements and commits of this process and kill it at one."""
    steps = count(1)

    def look(*ignored: object) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", look)
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", look)


def record(url: str, number: int, journal: Path) -> None:
    """Make every kind of write once and note each one when it is done."""
    export, run_id = f"orders_{number}", f"run_{number}"
    with journal.open("w", buffering=1) as done, open_state(url, Path()) as store:
        kill_before(number)
        with store.acquire(export) as lease:
            done.write("acquired\n")
            store.start_run(lease, RunStart(run_id, export, "full", f"file:///{export}/", NOW))
            done.write("running\n")
            store.reserve_part(lease, run_id, "part-000001.parquet", 1)
            done.write("reserved\n")
            store.commit_part(lease, run_id, PartRow("part-000001.parquet", 1, 5, 10, "xxh3:0", "1"))
            done.write("committed\n")
            store.publishing(lease, run_id, "xxh3:0")
            done.write("publishing\n")
            store.finish_run(lease, run_id, "succeeded", finished_at=NOW, rows=5, size_bytes=10, parts=1)
            done.write("succeeded\n")
            store.record_event(lease, Event("run_succeeded", run_id, export, NOW))
            done.write("event\n")
        done.write("released\n")


def create(url: str, number: int) -> None:
    """Create the tables."""
    kill_before(number)
    open_state(url, Path()).close()


def until_one_survives(work: Callable[[int], None]) -> None:
    """Run ``work`` with 1, 2, 3 … in a process each."""
    for number in count(1):
        child = os.fork()
        if child == 0:
            work(number)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -signal.SIGKILL:
            assert code == 0
            return


def main(url: str, directory: Path) -> None:
    """Create, then record."""
    until_one_survives(lambda number: create(url, number))
    until_one_survives(lambda number: record(url, number, directory / str(number)))


main(sys.argv[1], Path(sys.argv[2]))
