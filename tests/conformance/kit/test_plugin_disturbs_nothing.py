"""The kit's pytest plugin is loaded in every pytest run beside rivet-core; most of them have nothing to do with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_plugin_loads_nothing_but_pytest_and_the_catalog(tmp_path):
    done = python(
        "import pytest, sys; before = set(sys.modules); import rivet_core.testing.plugin\n"
        "print(*sorted(set(sys.modules) - before - set(sys.stdlib_module_names)))",
        tmp_path,
    )
    foreign = {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign == {
        "rivet_core",
        "rivet_core.testing",
        "rivet_core.testing.catalog",
        "rivet_core.testing.harness",
        "rivet_core.testing.plugin",
    }, done.stderr


def test_without_hypothesis_other_tests_run_and_suites_say_what_is_missing(tmp_path):
    (tmp_path / "test_other.py").write_text(
        "import pytest, sys\n"
        "def test_other():\n"
        "    assert 'rivet_core.testing.plugin' in sys.modules\n"
        "    with pytest.raises(ImportError, match=r\"pip install 'rivet-core\\[testing\\]'\"):\n"
        "        from rivet_core.testing import DestinationSuite\n",
        encoding="utf-8",
    )
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['hypothesis'] = None\n", encoding="utf-8")
    done = python(
        "import pytest, sys\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:hypothesispytest', '-p', 'no:cacheprovider', '-W', 'error']))",
        tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("profile", "examples"), [("rivet", 20), ("thorough", 400), ("authors", 20)], ids=["rivet", "thorough", "authors"]
)
def test_profiles_of_the_kit_and_of_the_author_stay_apart(tmp_path, profile, examples):
    (tmp_path / "conftest.py").write_text(
        "from hypothesis import settings\nsettings.register_profile('authors', max_examples=3)\n", encoding="utf-8"
    )
    own = {"rivet": 20, "thorough": 400, "authors": 3}[profile]
    (tmp_path / "test_profile.py").write_text(
        "from hypothesis import settings\n"
        "from rivet_core.testing.profiles import kit_settings\n"
        "def test_profile():\n"
        f"    assert (kit_settings().max_examples, settings().max_examples) == ({examples}, {own})\n",
        encoding="utf-8",
    )
    arguments = ["-q", "-p", "no:cacheprovider", "-W", "error", f"--hypothesis-profile={profile}"]
    done = python(f"import pytest, sys; sys.exit(pytest.main({arguments}))", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("autoload", [True, False])
def test_the_plugin_may_be_named_on_the_command_line(tmp_path, autoload):
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n", encoding="utf-8")
    disable = "" if autoload else "import os; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'; "
    arguments = ["-q", "-p", "no:cacheprovider", "-W", "error", "-p", "rivet_core.testing.plugin"]
    arguments += ["--rivet-report=report.json"]
    done = python(f"{disable}import pytest, sys; sys.exit(pytest.main({arguments}))", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["verdict"] == "incomplete"
