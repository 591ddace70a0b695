"""A suite that proves less than it says fails, and the report tells what each test has shown."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

#: A few quick tests of the suite, so that most of these tests need no whole one.
QUICK = "guard or put_writes_the_bytes or abort_after_commit or sibling or conditional_put or not_declared"
HEADER = """
import pytest

from rivet_core.testing import DestinationSuite, ExpectedFailure, Harness, proves


class Base(DestinationSuite):
    destination = "local"

    @pytest.fixture
    def harness(self, tmp_path):
        def put(prefix, key, data):
            path = tmp_path / prefix / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        return Harness(
            config=lambda prefix: {"path": str(tmp_path / prefix)},
            get=lambda prefix, key: (tmp_path / prefix / key).read_bytes(),
            put=put,
            list=lambda prefix: [],
            delete=lambda prefix, key: None,
            exclude=self.server,
        )

    server = {}


"""


@dataclass(frozen=True)
class Outcome:
    """What pytest printed and returned, and the report that it wrote."""

    code: int
    output: str
    report: dict[str, Any]

    def test(self, id_: str) -> dict[str, Any]:
        """The report's entry of one test of the only suite."""
        (suite,) = self.report["suites"]
        (found,) = [test for test in suite["tests"] if test["id"] == id_]
        return found


@pytest.fixture
def run(tmp_path: Path):
    """Run a suite of the destination ``local`` whose class has this body."""

    def run_suite(body: str, *arguments: str, select: str = QUICK, report: bool = True) -> Outcome:
        code = HEADER + "class TestSuite(Base):\n" + indent(dedent(body) or "pass\n", "    ")
        (tmp_path / "test_suite.py").write_text(code, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-rs",
            "-W",
            "error",
            "test_suite.py",
        ]
        command += ["-k", select, *arguments]
        file = tmp_path / "report.json"
        if report:
            command.append(f"--rivet-report={file.name}")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        document = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return Outcome(done.returncode, done.stdout + done.stderr, document)

    return run_suite


def test_an_honest_suite_passes_and_what_did_not_run_is_said(run):
    outcome = run("")
    assert outcome.code == 0, outcome.output
    (suite,) = outcome.report["suites"]
    assert (suite["kind"], suite["name"], suite["plugin"]) == ("destination", "local", "rivet-local")
    assert suite["suite"] == "test_suite.py::TestSuite"
    assert suite["capabilities"]["conditional_put"] is True
    assert outcome.test("D-PUT-1")["outcome"] == "passed"
    assert outcome.test("G-SUITE-1")["outcome"] == "passed"
    assert outcome.test("D-LIST-2")["outcome"] == "not_run"
    assert outcome.test("C-PUT-3") == {
        **outcome.test("C-PUT-3"),
        "outcome": "not_applicable",
        "reason": "the destination declares conditional_put",
        "capability": "conditional_put",
    }
    assert suite["verdict"] == outcome.report["verdict"] == "incomplete"


def test_a_suite_that_proves_less_than_it_says_fails(run):
    outcome = run("test_abort_after_commit_does_nothing = None", select="guard")
    assert outcome.code == 1
    complaint = "D-WRITE-6 (test_abort_after_commit_does_nothing) is deleted in TestSuite"
    assert complaint in outcome.output
    guard = outcome.test("G-SUITE-1")
    assert guard["outcome"] == "failed"
    assert complaint in guard["failures"][0]["failure"]
    assert outcome.report["verdict"] == "failed"


@pytest.mark.parametrize("mark", ["skip(reason='slow')", "skipif(True, reason='slow')", "xfail(reason='slow')"])
def test_marks_cannot_hide_a_test(run, mark):
    outcome = run(f"pytestmark = pytest.mark.{mark}")
    assert outcome.code == 1, outcome.output
    assert "D-PUT-1 is marked as" in outcome.output
    assert outcome.test("D-PUT-1")["outcome"] == "failed"
    assert outcome.test("G-SUITE-1")["outcome"] == "failed"


def test_a_skip_by_a_fixture_of_the_authors_is_no_excuse(run):
    body = """
    @pytest.fixture
    def harness(self): pytest.skip("no server")
    """
    outcome = run(body)
    assert outcome.code == 1
    assert outcome.test("D-PUT-1")["outcome"] == "failed"


def test_what_is_excluded_with_a_reason_is_reported_as_such(run):
    outcome = run(
        """
        excluded = {"D-WRITE-6": "not yet"}
        server = {"D-LIST-1": "the emulator has one directory"}
        test_abort_after_commit_does_nothing = None
        """
    )
    assert outcome.code == 0, outcome.output
    assert outcome.test("D-WRITE-6")["outcome"] == "not_run"
    found = outcome.test("D-LIST-1")
    assert (found["outcome"], found["reason"]) == ("excluded", "the emulator has one directory")
    assert "D-LIST-1 excluded: the emulator has one directory" in outcome.output


def test_an_exclusion_by_the_harness_needs_a_test_and_a_reason(run):
    outcome = run("server = {'D-NONE-1': 'why', 'D-LIST-1': ''}")
    assert outcome.code == 1
    assert "the harness excludes D-LIST-1, D-NONE-1" in outcome.output


def test_expected_failures_are_strict(run):
    outcome = run("expected_failures = {'D-PUT-1': ExpectedFailure(KeyError, 'it is known')}")
    assert outcome.code == 1
    assert outcome.test("D-PUT-1")["outcome"] == "failed", "it passes although it is expected to fail"
    broken = """
    expected_failures = {"D-PUT-1": ExpectedFailure(%s, "it is known")}

    @pytest.fixture
    def harness(self, tmp_path):
        return Harness(
            config=lambda prefix: {"path": str(tmp_path / prefix)},
            get=lambda prefix, key: {}["nothing"],
            put=None, list=None, delete=None,
        )
    """
    known = run(broken % "KeyError", select="put_writes_the_bytes or guard")
    assert known.code == 0, known.output
    assert (known.test("D-PUT-1")["outcome"], known.test("D-PUT-1")["reason"]) == ("expected_failure", "it is known")
    other = run(broken % "ValueError", select="put_writes_the_bytes or guard")
    assert other.code == 1
    assert other.test("D-PUT-1")["outcome"] == "failed"


def test_a_failure_says_what_breaks_and_where_to_look(run):
    body = """
    @pytest.fixture
    def harness(self, tmp_path):
        return Harness(
            config=lambda prefix: {"path": str(tmp_path / prefix)},
            get=lambda prefix, key: b"something else",
            put=None, list=None, delete=None,
        )
    """
    outcome = run(body, select="put_writes_the_bytes")
    assert outcome.code == 1
    assert "what breaks: manifests and markers would not say what Rivet wrote" in outcome.output
    assert "hint: put writes exactly the bytes" in outcome.output
    assert "14 bytes, sha256" in outcome.output, "the kit's asserts are not rewritten"
    failures = outcome.test("D-PUT-1")["failures"]
    assert [failure["test"] for failure in failures] == [
        f"test_put_writes_the_bytes[{variant}]" for variant in ("text", "empty", "1_MiB")
    ]
    assert "14 bytes, sha256" in failures[0]["failure"]


def test_the_report_is_the_same_from_several_processes(run):
    alone, parallel = run(""), run("", "-n", "2")
    assert parallel.code == 0, parallel.output
    for outcome in (alone, parallel):
        outcome.report.pop("created")
    assert alone.report == parallel.report


def test_a_report_that_cannot_be_written_is_an_error(run, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    outcome = run("", "--rivet-report=file/report.json", select="guard", report=False)
    assert outcome.code != 0
    assert "cannot write the report file/report.json" in outcome.output
    assert "Traceback" not in outcome.output


def test_without_the_plugin_the_suite_fails(run):
    outcome = run("", "-p", "no:rivet_core.testing.plugin", select="put_writes_the_bytes", report=False)
    assert outcome.code == 1
    assert "pytest runs without the plugin rivet_core.testing.plugin, which guards this suite" in outcome.output
