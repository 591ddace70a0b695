"""Writes ``docs/benchmarks.md`` and its pictures from the newest result of each case in ``bench/results``.

Usage: ``python scripts/generate_benchmarks.py [--check]``. With ``--check`` nothing is written, and files that are out
of date are named with exit code 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the benchmark, and the servers that its cases name

from bench.page import charts, page  # noqa: E402
from bench.result import newest  # noqa: E402

PICTURES = ROOT / "docs" / "benchmarks"


def main(arguments: list[str]) -> int:
    """Write every file that is out of date, or only name it."""
    results = newest(json.loads(path.read_bytes()) for path in (ROOT / "bench" / "results").glob("*.json"))
    wanted = {PICTURES / f"{case}.svg": picture for case, picture in charts(results).items()}
    wanted[ROOT / "docs" / "benchmarks.md"] = page(results)
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    stale += [path for path in PICTURES.glob("*.svg") if path not in wanted]
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is out of date' if '--check' in arguments else 'written'}")
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path]) if path in wanted else path.unlink()
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
