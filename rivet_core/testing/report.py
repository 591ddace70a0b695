"""The verdict of a pytest run about plugins, as JSON that can be published.

::

    {"report_version": 1, "kit": "0.1.0", "api": 1, "python": "3.11.7", "created": "2026-11-22T21:00:00Z",
     "profile": "rivet", "verdict": "passed",
     "suites": [{"suite": "tests/test_memory.py::TestMemory", "kind": "destination", "name": "memory",
                 "plugin": "rivet-memory", "version": "0.1.0", "capabilities": {…}, "verdict": "passed",
                 "counts": {"passed": 60, "excluded": 1},
                 "tests": [{"id": "D-PUT-1", "outcome": "passed", "breaks": "…", "hint": "…", "capability": null,
                            "reason": "", "failures": []}]}]}

Outcomes of a test: ``passed``, ``failed``, ``excluded`` (by the author, with the reason), ``expected_failure`` (the
same), ``not_applicable`` (found by the kit, with the reason), ``not_run``. A suite's verdict is ``failed`` if any test
has failed, ``incomplete`` if any has not run, else ``passed``.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from rivet_core import __version__
from rivet_core.api.errors import PluginError
from rivet_core.api.secret import redact
from rivet_core.api.specs import API_VERSION
from rivet_core.testing.guard import GUARD, inherited_cases
from rivet_core.testing.suite import Suite, installed

REPORT_VERSION: Final = 1
_LONGEST_FAILURE: Final = 4_000
#: From the best to the worst; variants of one test count as the worst of them.
_OUTCOMES: Final = ("not_applicable", "passed", "excluded", "expected_failure", "not_run", "failed")


@cache
def describe(suite: type[Suite]) -> dict[str, Any]:
    """Return what a report says about a suite before any of its tests has run.

    Plain data, because under pytest-xdist it comes from another process.
    """
    kind, name = _subject(suite)
    described: dict[str, Any] = {"kind": kind, "name": name, "plugin": None, "version": None, "capabilities": None}
    with suppress(PluginError):
        registry = installed()
        for info in registry.plugins:
            if any(provided.kind in (kind, f"fallback {kind}") and provided.name == name for provided in info.provides):
                described |= {"plugin": info.distribution, "version": info.version}
        if kind == "destination":
            described["capabilities"] = asdict(registry.destination(name).capabilities)
    cases = {GUARD.id: GUARD} | {case.id: case for case in inherited_cases(suite)}
    return described | {"cases": [asdict(cases[id_]) for id_ in sorted(cases)]}


def _subject(suite: type[Suite]) -> tuple[str, str]:
    """Return the kind and the name of what a suite tests, as ``rivet plugins list`` shows it."""
    if hasattr(suite, "resolver"):
        return "auth resolver", f"{getattr(suite, 'destination', '')}/{suite.resolver}"
    kinds = [kind for kind in ("destination", "format", "source") if hasattr(suite, kind)]
    return (kinds[0], str(getattr(suite, kinds[0]))) if kinds else ("unknown", suite.__name__)


def failure_of(text: str) -> str:
    """Return the short form of a failure, free of secrets."""
    text = redact(text).strip()
    return text if len(text) <= _LONGEST_FAILURE else f"{text[:_LONGEST_FAILURE]}…"


@dataclass
class _Test:
    """One test of a suite, all its variants together."""

    outcome: str = ""
    reason: str = ""
    failures: list[dict[str, str]] = field(default_factory=list)

    def add(self, outcome: str, reason: str) -> None:
        if not self.outcome or _OUTCOMES.index(outcome) > _OUTCOMES.index(self.outcome):
            self.outcome, self.reason = outcome, reason


class Collector:
    """Gathers what the tests of a pytest run say, on the process that shows them."""

    def __init__(self) -> None:
        self._suites: dict[str, dict[str, Any]] = {}
        self._tests: dict[str, dict[str, _Test]] = {}

    def add(self, fact: Mapping[str, Any]) -> None:
        """Take one test's fact, as ``rivet_core.testing.plugin`` attaches it to pytest's reports."""
        suite = str(fact["suite"])
        self._suites.setdefault(suite, fact["about"])
        test = self._tests.setdefault(suite, {}).setdefault(str(fact["id"]), _Test())
        test.add(str(fact["outcome"]), str(fact["reason"]))
        if fact["failure"]:
            test.failures.append({"test": str(fact["test"]), "failure": str(fact["failure"])})

    def document(self, profile: str) -> dict[str, Any]:
        """Return the report.

        Args:
            profile: the hypothesis profile of the run.
        """
        suites = [self._suite(name) for name in sorted(self._suites)]
        return {
            "report_version": REPORT_VERSION,
            "kit": __version__,
            "api": API_VERSION,
            "python": platform.python_version(),
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "profile": profile,
            "verdict": _worst([str(suite["verdict"]) for suite in suites] or ["incomplete"]),
            "suites": suites,
        }

    def _suite(self, name: str) -> dict[str, Any]:
        about = dict(self._suites[name])
        tests = []
        for case in about.pop("cases"):
            test = self._tests[name].get(case["id"], _Test("not_run"))
            tests.append({**case, "outcome": test.outcome, "reason": test.reason, "failures": test.failures})
        counts = Counter(str(test["outcome"]) for test in tests)
        verdict = "failed" if counts["failed"] else "incomplete" if counts["not_run"] else "passed"
        return {"suite": name, **about, "verdict": verdict, "counts": dict(sorted(counts.items())), "tests": tests}


def write_report(path: Path, document: Mapping[str, Any]) -> None:
    """Write a report, and the directories above it.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _worst(verdicts: list[str]) -> str:
    return next(verdict for verdict in ("failed", "incomplete", "passed") if verdict in verdicts)
