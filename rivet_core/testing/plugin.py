"""The kit's pytest plugin: it guards the suites and writes the report.

pytest loads it in every run of an environment with rivet-core, so it imports nothing but pytest and the catalog, and
does nothing where no test uses a suite.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rivet_core.testing.catalog import Case, case_of

if TYPE_CHECKING:
    from rivet_core.testing.suite import Suite

# The asserts of the kit show their values, as those of a test module do.
pytest.register_assert_rewrite(
    "rivet_core.testing.auth",
    "rivet_core.testing.destination",
    "rivet_core.testing.format",
    "rivet_core.testing.source",
    "rivet_core.testing.stream",
)

_FACT = "rivet_fact"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--rivet-report``."""
    parser.getgroup("rivet", "Rivet's conformance kit").addoption(
        "--rivet-report", type=Path, metavar="FILE", help="Write the verdict of Rivet's conformance suites as JSON."
    )


@pytest.hookimpl(tryfirst=True)  # before hypothesis loads the profile
def pytest_configure(config: pytest.Config) -> None:
    """Make the kit's profiles known where one of them is asked for, and gather the verdict where that is."""
    profile = config.getoption("--hypothesis-profile", default=None)
    if profile in ("rivet", "thorough"):
        from rivet_core.testing.profiles import register

        register()
    path = config.getoption("--rivet-report")
    # A worker of pytest-xdist shows nothing, and a run that only collects has no verdict.
    if path is not None and not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(Reporter(path, "thorough" if profile == "thorough" else "rivet"))


class GuardItem(pytest.Item):
    """A test that every suite has, whatever its class has deleted or overridden."""

    def runtest(self) -> None:
        """Fail if the suite cannot be believed."""
        from rivet_core.testing.guard import problems_of

        assert self.cls is not None
        problems = problems_of(self.cls)
        if problems:
            pytest.fail("\n".join(["this suite proves less than it says:", *problems]), pytrace=False)

    @property
    def cls(self) -> type[Suite] | None:
        """The class of the suite."""
        return _suite_of(self.parent)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where the suite is; pytest asks for a line, too."""
        return self.path, 0, self.name


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Add the guard to the tests of each suite."""
    report = yield
    if isinstance(collector, pytest.Class) and _suite_of(collector) is not None and report.passed:
        report.result.append(GuardItem.from_parent(collector, name="guard"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Let a suite's ``harness`` have the scope of its class and be written as a method, as in every other scope.

    pytest deprecates such fixtures because tests do not see what they set on ``self``. The kit's tests look at what the
    harness returns and at nothing else, so nothing can be missed.
    """
    if fixturedef.argname != "harness" or _suite_of(request.node.getparent(pytest.Class)) is None:
        return (yield)
    with warnings.catch_warnings():
        about = r"\w+-scoped fixtures defined as instance methods"
        warnings.filterwarnings("ignore", about, pytest.PytestDeprecationWarning)
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest's own treatment of expected failures
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test of the kit be skipped without a reason, and attach what it says to its report."""
    report = yield
    suite = _suite_of(item.parent)
    case = _case_of(item)
    if suite is None or case is None:
        return report
    outcome, reason = _outcome(suite, case, report, call)
    if outcome == "failed" and not report.failed:
        report.outcome = "failed"
        report.longrepr = (
            f"{case.id} is marked as {'xfail' if hasattr(report, 'wasxfail') else 'skipped'} ({reason}); "
            "list it in `excluded` or `expected_failures` of the suite, with the reason"
        )
        vars(report).pop("wasxfail", None)
    elif isinstance(report.longrepr, tuple):  # a skip: path, line and why
        report.longrepr = (*report.longrepr[:2], f"{case.id} {outcome.replace('_', ' ')}: {reason}")
    if report.failed:
        report.sections.insert(0, (f"Rivet {case.id}", _advice(case, report, call)))
    if outcome:
        from rivet_core.testing.report import describe, failure_of

        about = describe(suite)  # type: ignore[arg-type]  # mypy takes the __hash__ of the instances for the class's
        fact: dict[str, Any] = {"suite": item.nodeid.rpartition("::")[0], "about": about, "id": case.id}
        fact |= {"test": item.name, "outcome": outcome, "reason": reason}
        fact["failure"] = failure_of(_message(report)) if outcome == "failed" else ""
        setattr(report, _FACT, fact)
    return report


class Reporter:
    """Gathers the facts of all tests and writes the report at the end; lives in the process that shows the outcome."""

    def __init__(self, path: Path, profile: str) -> None:
        from rivet_core.testing.report import Collector

        self._path, self._profile, self._collector = path, profile, Collector()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the fact of one test."""
        fact = getattr(report, _FACT, None)
        if fact is not None:
            self._collector.add(fact)

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        from rivet_core.testing.report import write_report

        try:
            write_report(self._path, self._collector.document(self._profile))
        except OSError as error:
            raise pytest.UsageError(f"cannot write the report {self._path}: {error.strerror}") from error

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the report is and what it says."""
        document = self._collector.document(self._profile)
        terminalreporter.section("Rivet conformance")
        for suite in document["suites"]:
            counts = ", ".join(f"{count} {outcome}" for outcome, count in suite["counts"].items())
            terminalreporter.line(f"{suite['verdict']}: {suite['kind']} {suite['name']} ({counts})")
        terminalreporter.line(f"report: {self._path}")


def _suite_of(node: object) -> type[Suite] | None:
    """Return the suite that a collected class is, if it is one."""
    loaded = sys.modules.get("rivet_core.testing.suite")
    found = getattr(node, "obj", None) if isinstance(node, pytest.Class) else None
    if loaded is None or not isinstance(found, type) or not issubclass(found, loaded.Suite):
        return None
    return found


def _case_of(item: pytest.Item) -> Case | None:
    if isinstance(item, GuardItem):
        from rivet_core.testing.guard import GUARD

        return GUARD
    return case_of(getattr(item, "function", None))


def _outcome(suite: type[Suite], case: Case, report: pytest.TestReport, call: pytest.CallInfo[None]) -> tuple[str, str]:
    """Return the outcome that one phase of a test decides, and the reason; empty for a phase that decides nothing."""
    from rivet_core.testing.suite import Excluded, NotApplicable

    raised = call.excinfo.value if call.excinfo else None
    expected = getattr(report, "wasxfail", None)
    if report.failed:
        return "failed", ""
    if expected is not None:
        return ("expected_failure" if case.id in suite.expected_failures else "failed"), str(expected)
    if report.passed:
        return ("passed" if report.when == "call" else ""), ""
    kinds = {Excluded: "excluded", NotApplicable: "not_applicable"}
    return kinds.get(type(raised), "failed"), str(raised)


def _advice(case: Case, report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    """Return what a failure means, and what its own exception advises."""
    own = getattr(call.excinfo.value, "hint", "") if call.excinfo else ""
    if report.when == "setup":  # nothing was tried yet
        return f"the test could not begin\nhint: {own or 'see the error above: harness, installation or factory'}"
    advice = f"what breaks: {case.breaks}\nhint: {case.hint}"
    return f"{advice}\nthe error's own hint: {own}" if own else advice


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message) if crash is not None else report.longreprtext
