"""Whatever a page tells the reader to run does what the page says, in a fresh directory, from top to bottom."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from docs.code_blocks import RUNNABLE, SHOWN, Block, code_blocks, missing_lines
from integration.packaging.environment import Environment, build_wheels
from rivet_core.config import load
from rivet_core.plugins import discover

ROOT = Path(__file__).parents[2]
PAGES = [
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/**/*.md"))]
]
SECONDS = 300

#: Pages whose reader writes a plugin and installs it; each gets an environment of its own.
PLUGIN_PAGES = frozenset(f"docs/plugins/{name}.md" for name in ("auth", "destination", "format", "source"))

#: Blocks that no test can run, by page and first line: each needs what a test has not, and the page says what.
NOT_RUN = {
    ("docs/benchmarks.md", "make bench                                      # every case"),
    ("README.md", "pip install . ./plugins/rivet-local"),
    ("docs/cloud-destinations.md", "from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor"),
    ("docs/getting-started.md", "pip install . ./plugins/rivet-local"),
    ("docs/how-to/schedule.md", "import subprocess"),
    ("docs/sources/mysql.md", "pip install ./plugins/rivet-mysql"),
    ("docs/sources/postgres.md", "pip install ./plugins/rivet-postgres"),
    ("docs/plugins/destination.md", "pip install '/path/to/rivet[testing]'"),
}


@dataclass(frozen=True)
class Reader:
    """Who follows a page: the Python that is first on the path, and what else the variables of processes say."""

    python: Path = Path(sys.executable)
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables of a process: nothing in them configures Rivet."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RIVET_", "PYTHON", "PYTEST"))}
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", **self.variables}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(build_wheels(tmp_path_factory.mktemp("wheels"), ROOT, ROOT / "plugins" / "rivet-local").values())


@pytest.fixture
def reader_of(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], Reader]:
    def reader_of(page: str) -> Reader:
        if page not in PLUGIN_PAGES:
            return Reader()
        environment = Environment.create(tmp_path_factory.mktemp("reader") / "env")
        environment.install(*request.getfixturevalue("wheels"))
        # Plugins are built with the tools that are there. For pip, "no build isolation: no" means to isolate nothing.
        return Reader(environment.python, {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "no"})

    return reader_of


def blocks_of(page: str) -> list[Block]:
    return code_blocks(ROOT / page, page)


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in blocks_of(page))])
def test_blocks_run(page, tmp_path, reader_of):
    reader = reader_of(page)
    for block in blocks_of(page):
        if block.title:
            file = tmp_path / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.content, encoding="utf-8")
        elif block.runs:
            run(block, tmp_path, reader)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_have_a_known_language(page):
    assert {str(block): block.language for block in blocks_of(page) if block.language not in RUNNABLE | SHOWN} == {}


def test_only_known_blocks_are_not_run():
    marked = [block for page in PAGES for block in blocks_of(page) if block.not_run]
    assert {(block.page, block.content.partition("\n")[0]) for block in marked} == NOT_RUN
    for block in marked:
        if block.language == "python":
            compile(block.content, str(block), "exec")


def test_complete_configurations_are_valid(tmp_path):
    """A reader copies them; only ``wrong.yaml`` is wrong, and its page shows the message."""
    registry = discover({"RIVET_PLUGINS": "local"})
    pages = [page for page in PAGES if page not in PLUGIN_PAGES]
    shown = [block for page in pages for block in blocks_of(page) if block.title.endswith("yaml")]
    assert shown
    for block in shown:
        if block.title != "wrong.yaml":
            file = tmp_path / "rivet.yaml"
            file.write_text(block.content, encoding="utf-8")
            load(file, registry, {"SHOP_PASSWORD": "correct horse"})


def run(block: Block, directory: Path, reader: Reader) -> None:
    if block.language == "pycon":
        test = doctest.DocTestParser().get_doctest(block.content, {}, str(block), block.page, block.line)
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test)
        assert runner.summarize(verbose=False).failed == 0, str(block)
        return
    shell = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [reader.python, "-c"]
    done = subprocess.run(
        [*shell, block.content],
        cwd=directory,
        env=reader.environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{block} exits with {done.returncode}:\n{done.stdout}"
    if block.output is not None:
        missing = missing_lines(block.output, done.stdout)
        assert not missing, f"{block} does not print {missing}, but:\n{done.stdout}"
