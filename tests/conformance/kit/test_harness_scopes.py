"""A harness lives as long as one test or as its class, and pytest has nothing to say about it; none is an error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

from rivet_core.testing import DestinationSuite, Harness


class TestLocal(DestinationSuite):
    destination = "local"

    {fixture}
    def harness({first}, tmp_path_factory):
        root = tmp_path_factory.mktemp("store")
        with open("set-ups", "a") as file:
            file.write("x")
        return Harness(
            config=lambda prefix: {{"path": str(root / prefix)}},
            get=lambda prefix, key: (root / prefix / key).read_bytes(),
            put=lambda prefix, key, data: None,
            list=lambda prefix: [],
            delete=lambda prefix, key: None,
        )
"""
OWN = """

class TestOwn:
    @pytest.fixture(scope="class")
    def harness(self):
        return 1

    def test_own_put_writes(self, harness):
        assert harness == 1
"""
TESTS = 3  # test_put_writes_the_bytes with its three parameters


def run(directory: Path, code: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_suite.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-k", "put_writes"]
    return subprocess.run([*command, "test_suite.py"], cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("fixture", "first", "set_ups"),
    [
        ("@pytest.fixture", "self", TESTS),
        ('@pytest.fixture(scope="class")', "self", 1),
        ('@pytest.fixture(scope="class")\n    @classmethod', "cls", 1),
    ],
    ids=["test", "class", "classmethod"],
)
def test_a_harness_is_set_up_once_per_scope(tmp_path: Path, fixture: str, first: str, set_ups: int) -> None:
    done = run(tmp_path, SUITE.format(fixture=fixture, first=first))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{TESTS} passed" in done.stdout
    assert "warning" not in done.stdout
    assert len((tmp_path / "set-ups").read_text()) == set_ups


def test_only_suites_are_spared_the_deprecation(tmp_path: Path) -> None:
    done = run(tmp_path, SUITE.format(fixture='@pytest.fixture(scope="class")', first="self") + OWN)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"{TESTS} passed, .*1 error", done.stdout), done.stdout
    assert "Class-scoped fixtures defined as instance methods are deprecated" in done.stdout


@pytest.mark.parametrize(
    ("suite", "names", "harness"),
    [
        ("AuthSuite", 'resolver, destination = "none", "local"', "AuthHarness"),
        ("DestinationSuite", 'destination = "local"', "Harness"),
        ("SourceSuite", 'source = "sqlite"', "SourceHarness"),
        ("StreamSuite", 'destination = "stdout"', "StreamHarness"),
    ],
)
def test_a_suite_without_a_harness_says_what_is_missing(tmp_path: Path, suite: str, names: str, harness: str) -> None:
    code = f"from rivet_core.testing import {suite}\n\n\nclass TestOwn({suite}):\n    {names}\n"
    (tmp_path / "test_suite.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_suite.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"TestOwn needs a fixture named harness that returns a {harness}" in done.stdout
