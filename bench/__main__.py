"""``python -m bench [CASE]…``: run benchmarks, print medians and goals, keep the raw numbers in ``bench/results``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))  # the private servers of the tests serve here too

from bench.cases import CASES, Case, Goal, Setting  # noqa: E402
from bench.measure import CommandFailed, Quantity, Sample, interleave, median  # noqa: E402

RESULTS = Path(__file__).with_name("results")
_PACKAGES = ("rivet-core", "pyarrow", "sqlalchemy", "psycopg", "click")


def main() -> int:
    """Run what the command line asks for; 1 if a command failed, whatever the goals say."""
    arguments = _parse()
    failed = False
    for name in arguments.cases or list(CASES):
        print(f"\n{name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="rivet-bench-") as work:
            setting = Setting(Path(work), ROOT / ".cache" / "bench", arguments.rows, arguments.peer_python)
            try:
                with CASES[name](setting) as case:
                    samples = interleave(case.contenders, arguments.rounds)
            except CommandFailed as error:
                print(f"  failed: {error}", file=sys.stderr)
                failed = True
                continue
        reached = _report(case, samples)
        _keep(name, arguments, case, samples, reached)
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each command")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of the exported table")
    parser.add_argument("--peer-python", default=sys.executable, help="the interpreter that has the peers installed")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    return arguments


def _report(case: Case, samples: dict[str, list[Sample]]) -> list[dict[str, object]]:
    """Print the medians and return how each goal was reached."""
    for line in case.skipped:
        print(f"  skipped {line}")
    width = max((len(name) for name in samples), default=0)
    print(f"  {'':{width}}  wall s (min to max)          CPU s   peak MiB")
    for name, runs in samples.items():
        walls = [run.wall_seconds for run in runs]
        print(
            f"  {name:{width}}  {median(runs, 'wall_seconds'):8.3f} ({min(walls):.3f} to {max(walls):.3f})"
            f"  {median(runs, 'cpu_seconds'):8.3f}  {median(runs, 'peak_rss_mib'):8.0f}"
        )
    return [_reach(goal, samples) for goal in case.goals]


def _reach(goal: Goal, samples: dict[str, list[Sample]]) -> dict[str, object]:
    value = median(samples[goal.contender], goal.quantity)
    unit: str = goal.quantity
    if goal.baseline is not None:
        value /= median(samples[goal.baseline], goal.quantity)
        unit = f"times {goal.baseline}"
    met = value <= goal.limit
    print(f"  {'met   ' if met else 'MISSED'} {goal.contender}: {value:.2f} {unit}, at most {goal.limit:.2f}")
    return {**asdict(goal), "value": value, "met": met}


def _keep(
    name: str,
    arguments: argparse.Namespace,
    case: Case,
    samples: dict[str, list[Sample]],
    goals: list[dict[str, object]],
) -> None:
    now = datetime.now(UTC)
    result = {
        "case": name,
        "at": now.isoformat(timespec="seconds"),
        "rows": None if name == "startup" else arguments.rows,
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
        "samples": {contender: [asdict(run) for run in runs] for contender, runs in samples.items()},
        "medians": {
            contender: {quantity: median(runs, quantity) for quantity in get_args(Quantity)}
            for contender, runs in samples.items()
        },
        "goals": goals,
        "skipped": list(case.skipped),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"  kept in {path.relative_to(ROOT)}")


sys.exit(main())
