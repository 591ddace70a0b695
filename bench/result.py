"""The result of one case as a document: plain data, from which every report is made."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from typing import Any, get_args

import psutil

from bench.case import Case, Goal
from bench.measure import Quantity, Race, Sample, median

#: The parsed JSON of ``bench/results/CASE-TIME.json``.
Result = dict[str, Any]

_PACKAGES = ("rivet-core", "pyarrow", "sqlalchemy", "psycopg", "pymysql", "click")


def document(name: str, at: datetime, case: Case, race: Race) -> Result:
    """Return everything that is known of a case that has run, the numbers of every round included."""
    return {
        "case": name,
        "at": at.isoformat(timespec="seconds"),
        "rows": case.rows,
        "server": case.server,
        "machine": _machine(),
        "reference": case.reference,
        "samples": {contender: [asdict(run) for run in runs] for contender, runs in race.samples.items()},
        "medians": {
            contender: {quantity: median(runs, quantity) for quantity in get_args(Quantity)}
            for contender, runs in race.samples.items()
        },
        "goals": [reached for goal in case.goals if (reached := _reached(goal, race.samples)) is not None],
        "skipped": list(case.skipped),
        "failures": race.failures,
        "notes": case.notes,
        "stages": [list(stage) for stage in case.stages],
        "series": [asdict(series) for series in case.series],
        "verdicts": {contender: asdict(verdict) for contender, verdict in case.verdicts.items()},
    }


def newest(results: Iterable[Result]) -> dict[str, Result]:
    """Return the last result of each case, by the case's name."""
    return {result["case"]: result for result in sorted(results, key=lambda result: str(result["at"]))}


def _reached(goal: Goal, samples: dict[str, list[Sample]]) -> dict[str, object] | None:
    """Return how a goal was reached, or ``None`` if somebody it is about did not run or was not measured so."""
    value = median(samples.get(goal.contender, []), goal.quantity)
    if value is not None and goal.baseline is not None:
        baseline = median(samples.get(goal.baseline, []), goal.quantity)
        value = None if baseline is None else value / baseline
    return None if value is None else {**asdict(goal), "value": value, "met": value <= goal.limit}


def _machine() -> dict[str, object]:
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
