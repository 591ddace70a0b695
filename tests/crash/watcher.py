"""Polls ``_SUCCESS`` in a process of its own, as consumers do, and proves every dataset that it is shown.

As a program it reads one JSON object a line: an address (``Address``) to poll from now on, or ``{}``: then it polls
once more and answers with what it has seen so far (``Report``). Between the lines it never stops polling. It ends with
its standard input.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

TESTS = Path(__file__).parents[1]
PAUSE_SECONDS = 0.01


@dataclass
class Report:
    """What was seen.

    Attributes:
        polls: looks at a prefix.
        nothing: looks that found no ``_SUCCESS``.
        replaced: datasets that another one replaced while they were read, so that the reader started over.
        shown: for each run that was ever certified the digest of its rows.
        current: the run that was certified at the last look.
        violation: the promise that was broken, if any was.
    """

    polls: int = 0
    nothing: int = 0
    replaced: int = 0
    shown: dict[str, str] = field(default_factory=dict)
    current: str | None = None
    violation: str | None = None


class Watcher:
    """The parent's side; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.watcher"],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def watch(self, address: dict[str, str]) -> None:
        """Poll this prefix from now on."""
        self._say(address)

    def report(self) -> Report:
        """Let it look once more, and return what it has seen."""
        self._say({})
        assert self._process.stdout is not None
        return Report(**json.loads(self._process.stdout.readline()))

    def _say(self, message: dict[str, str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def digest(rows: Iterable[Iterable[object]]) -> str:
    """Fingerprint a multiset of rows, whichever driver or file they come from."""
    from crash.observer import fingerprint

    lines = sorted(json.dumps([_text(value) for value in row]) for row in rows)
    return fingerprint("\n".join(lines).encode())


def _text(value: object) -> str | None:
    if isinstance(value, datetime):
        value = value.astimezone(UTC).isoformat()
    return None if value is None else f"{type(value).__name__} {value}"


def look(place: Any, report: Report) -> None:
    """Read the certified dataset as the contract tells readers to, and add what was found to the report."""
    from crash.observer import prove

    while True:
        marker = place.read("_SUCCESS")
        try:
            found = prove(place)
            break
        except AssertionError:
            if place.read("_SUCCESS") == marker:
                raise
            report.replaced += 1
    report.polls += 1
    report.nothing += found is None
    report.current = found and found.run_id
    if found is None or found.run_id in report.shown:
        return
    rows = found.rows()
    assert len(rows) == found.manifest["row_count"], f"{found.run_id} has {len(rows)} rows"
    report.shown[found.run_id] = digest(row.values() for row in rows)


def main() -> None:
    from crash.places import Address

    report, place = Report(), None
    # Without a buffer, or a second line could wait in it unseen.
    with open(0, "rb", buffering=0, closefd=False) as lines, ExitStack() as opened:
        while True:
            told = bool(select.select([lines], [], [], PAUSE_SECONDS)[0])
            line = lines.readline() if told else b""
            if told and not line:
                return
            message = json.loads(line or b"null")
            if message:
                opened.close()
                place = opened.enter_context(Address(**message).open())
            try:
                if place is not None and report.violation is None:
                    look(place, report)
            except AssertionError as broken:
                report.violation = str(broken)
            if message == {}:
                print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main()
