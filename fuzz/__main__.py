"""``python -m fuzz TARGET``: fuzz one of the native decoders under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from fuzz.build import NoCompiler, build, environment
from fuzz.targets import ROOT, TARGETS, Target


def main() -> int:
    """Fuzz as the command line says; 1 after a crash."""
    arguments = _parse()
    target = TARGETS[arguments.target]
    try:
        program = build(target)
    except NoCompiler as missing:
        print(missing, file=sys.stderr)
        return 1
    grown, crashes = target.work / "corpus", target.work / "crashes"
    for directory in (grown, crashes, target.corpus):
        directory.mkdir(parents=True, exist_ok=True)
    if arguments.inputs:
        return _run(target, str(program), *arguments.inputs)
    status = 0
    if arguments.seconds:
        status = _run(
            target,
            str(program),
            f"-max_total_time={arguments.seconds}",
            f"-artifact_prefix={crashes}/",
            "-max_len=1024",
            "-use_value_profile=1",  # bounds are compared with numbers, not only with each other's branches
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            str(grown),
            str(target.corpus),
        )
    if arguments.keep and status == 0:
        status = _run(target, str(program), "-merge=1", str(target.corpus), str(grown))
    return 1 if status else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=main.__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("inputs", nargs="*", help="files to try instead of fuzzing")
    parser.add_argument("--seconds", type=int, default=60, help="how long to fuzz")
    parser.add_argument("--keep", action="store_true", help="add what reaches more code to the inputs that are kept")
    return parser.parse_args()


def _run(target: Target, *command: str) -> int:
    return subprocess.run(command, env=os.environ | environment(target), cwd=ROOT, check=False).returncode


sys.exit(main())
