"""``python -m bench [CASE]…``: run benchmarks, print medians and goals, keep the raw numbers in ``bench/results``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))  # the private servers of the tests serve here too

from bench.case import Case, Setting  # noqa: E402
from bench.cases import CASES  # noqa: E402
from bench.measure import CommandFailed, Race, interleave  # noqa: E402
from bench.report import chart, markdown, text_of  # noqa: E402
from bench.result import document  # noqa: E402

RESULTS = Path(__file__).with_name("results")
_CACHE = ROOT / ".cache" / "bench"
_QUICK_ROWS = 50_000
#: A peer that needs more runs once: its median would cost more time than all the others together.
_PATIENCE_SECONDS = 45


def main() -> int:
    """Run what the command line asks for; 1 if a command failed, whatever the goals say."""
    arguments = _parse()
    failed = False
    for name in arguments.cases or list(CASES):
        print(f"\n{name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="rivet-bench-") as work:
            setting = Setting(Path(work), _CACHE, arguments.rows, frozenset(arguments.only))
            try:
                with CASES[name](setting) as case:
                    race = interleave(
                        case.contenders,
                        arguments.rounds,
                        unmeasured=0 if arguments.quick else 1,
                        patience_seconds=_PATIENCE_SECONDS,
                        tell=_tell,
                    )
            except CommandFailed as error:
                print(f"  failed: {error}", file=sys.stderr)
                failed = True
                continue
        failed |= any(contender.startswith("rivet") for contender in race.failures)
        if arguments.quick:  # start-up times are most of what was measured
            case = replace(case, goals=())
        _keep(name, case, race, _CACHE / "results" if arguments.quick or arguments.only else RESULTS)
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; all of them by default")
    parser.add_argument("--rounds", type=int, help="measured runs of each command; default: 3")
    parser.add_argument("--rows", type=int, help="rows of the exported table; each case has its own default")
    parser.add_argument("--only", type=_names, default=[], metavar="NAME,NAME", help="of the peers' cases: who runs")
    quick = f"one round of {_QUICK_ROWS} rows, no unmeasured one, kept in .cache: whether everything works"
    parser.add_argument("--quick", action="store_true", help=quick)
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.rows = arguments.rows or (_QUICK_ROWS if arguments.quick else None)
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    return arguments


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _tell(line: str) -> None:
    """Show that a long case goes on."""
    print(f"  {line}", file=sys.stderr, flush=True)


def _keep(name: str, case: Case, race: Race, directory: Path) -> None:
    """Print the result and keep it in place of the case's earlier one."""
    now = datetime.now(UTC)
    result = document(name, now, case, race)
    print(indent(text_of(result), "  "), flush=True)
    stem = f"{name}-{now:%Y%m%dT%H%M%SZ}"
    directory.mkdir(parents=True, exist_ok=True)
    for earlier in directory.glob(f"{name}-[0-9]*T[0-9]*Z.*"):
        earlier.unlink()
    files = {"json": json.dumps(result, indent=2) + "\n", "md": markdown(result), "svg": chart(result)}
    for suffix, content in files.items():
        if content:
            (directory / f"{stem}.{suffix}").write_text(content)
    print(f"  kept in {(directory / stem).relative_to(ROOT)}.json")


sys.exit(main())
