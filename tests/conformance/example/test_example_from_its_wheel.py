"""The example of a third-party destination, built into a wheel, installed beside rivet-core and run through the kit."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from zipfile import ZipFile

import pytest

from integration.packaging.environment import ROOT, Environment, build_wheels

EXAMPLE = ROOT / "examples" / "rivet-memory"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_wheels(tmp_path_factory.mktemp("wheels"), ROOT, EXAMPLE)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Environment:
    environment = Environment.create(tmp_path_factory.mktemp("fresh") / "env")
    environment.install(wheels["rivet-core"], wheels["rivet-memory"])
    return environment


def run(environment: Environment, directory: Path, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, env=environment.variables, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_the_plugin_and_no_test(wheels: dict[str, Path]) -> None:
    with ZipFile(wheels["rivet-memory"]) as wheel:
        names = set(wheel.namelist())
    assert {name for name in names if ".dist-info/" not in name} == {
        f"rivet_memory/{name}" for name in ("__init__.py", "plugin.py", "py.typed", "store.py")
    }


def test_it_passes_the_kit(environment: Environment, tmp_path: Path) -> None:
    tests = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("rivet_memory", "__pycache__"))
    report = tmp_path / "report.json"
    done = run(environment, tests, [environment.python, "-m", "pytest", "-q", f"--rivet-report={report}"])
    assert done.returncode == 0, done.stdout + done.stderr
    (suite,) = json.loads(report.read_text())["suites"]
    assert (suite["plugin"], suite["version"], suite["verdict"]) == ("rivet-memory", "0.1.0", "passed")
    assert {test["outcome"] for test in suite["tests"]} == {"passed", "not_applicable"}


def test_an_export_into_it_is_verified(environment: Environment, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE orders (id INTEGER)")
        shop.execute("INSERT INTO orders VALUES (1), (2)")
    config = {
        "source": {"type": "sqlite", "url": "sqlite:///shop.db"},
        "exports": [
            {"name": "orders", "table": "orders", "destination": {"type": "memory", "prefix": "{export}"}},
        ],
    }
    (tmp_path / "rivet.yaml").write_text(json.dumps(config))
    done = run(environment, tmp_path, [environment.rivet, "run", "--validate", "--json"])
    assert done.returncode == 0, done.stderr
    (exported,) = json.loads(done.stdout)["runs"]
    assert (exported["rows"], exported["prefix"]) == (2, "memory://orders/")
    assert exported["validation"]["verdict"] == "verified"
