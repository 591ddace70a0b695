"""Who imports whom, and what a light module must not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

#: What loads only when it is used: each of these costs more than all that a light module may need.
HEAVY = {"pyarrow", "pydantic", "sqlalchemy", "yaml", "rich", "stamina", "tenacity", "xxhash", "psutil"}
HEAVY |= {"boto3", "botocore", "awscrt", "google", "azure", "psycopg", "pymysql", "pytest", "hypothesis"}
PROJECT = {"rivet_azure", "rivet_core", "rivet_gcs", "rivet_local", "rivet_mysql", "rivet_parquet", "rivet_postgres"}
PROJECT |= {"rivet_s3"}

MAIN = "import sys; from rivet_core.cli.main import main; main({!r})"


def modules_after(code: str) -> set[str]:
    """Return the modules that are loaded after ``code`` and were not before it."""
    program = f"import sys; before = set(sys.modules)\n{code}\nprint('|', *(set(sys.modules) - before), sep='\\n')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.rpartition("|")[2].split())


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_the_import_rules_are_kept():
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "module",
    [
        "rivet_core.api",
        "rivet_core.hookspecs",
        "rivet_core.plugins",
        "rivet_core.builtin.plugin",
        "rivet_azure.plugin",
        "rivet_gcs.plugin",
        "rivet_local.plugin",
        "rivet_mysql.plugin",
        "rivet_parquet.plugin",
        "rivet_postgres.plugin",
        "rivet_s3.plugin",
    ],
)
def test_light_modules_load_the_standard_library_and_pluggy_only(module):
    loaded = modules_after(f"import {module}")
    foreign = packages(loaded) - sys.stdlib_module_names - PROJECT
    assert foreign <= {"pluggy"}
    allowed = ("rivet_core.api", "rivet_core.hookspecs", "rivet_core.plugins", module, module.rpartition(".")[0])
    ours = {name for name in loaded if name.partition(".")[0] in PROJECT and name != "rivet_core"}
    assert {name for name in ours if not name.startswith(allowed)} == set()


def test_the_version_loads_no_plugin_and_does_not_look_for_any():
    loaded = modules_after(MAIN.format(["--version"]))
    assert packages(loaded) & (HEAVY | {"pluggy", "rivet_local"}) == set()
    assert "importlib.metadata" not in loaded
    assert {name for name in loaded if name.startswith("rivet_core")} == {
        "rivet_core",
        "rivet_core.cli",
        "rivet_core.cli.main",
    }


def test_the_help_loads_entry_modules_and_nothing_heavy():
    loaded = modules_after(MAIN.format(["--help"]))
    assert "rivet_local.plugin" in loaded
    assert packages(loaded) & HEAVY == set()
    parts = {name.split(".")[1] for name in loaded if name.startswith("rivet_core.")}
    assert parts == {"api", "builtin", "cli", "hookspecs", "plugins"}


@pytest.mark.parametrize("arguments", [["plugins", "list"], ["plugins", "list", "--json"]])
def test_listing_plugins_loads_nothing_heavy(arguments):
    assert packages(modules_after(MAIN.format(arguments))) & HEAVY == set()


def test_a_run_loads_nothing_that_only_other_verbs_need():
    modules = ["engine.run", "builtin.parquet", "builtin.sqlalchemy.source"]
    loaded = modules_after("; ".join(f"import rivet_core.{module}" for module in modules))
    assert {"pyarrow", "sqlalchemy", "rivet_core.engine.publish"} <= loaded
    assert loaded & {"pyarrow.compute", "rivet_core.engine.reconcile", "rivet_core.engine.verify"} == set()
