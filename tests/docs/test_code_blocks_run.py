"""Whatever a page tells the reader to run does what the page says, in a fresh directory, from top to bottom."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs.code_blocks import RUNNABLE, SHOWN, Block, code_blocks, missing_lines
from rivet_core.config import load
from rivet_core.plugins import discover

ROOT = Path(__file__).parents[2]
PAGES = [
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/**/*.md"))]
]
SECONDS = 120

#: Blocks that no test can run, by page and first line: each needs what a test has not, and the page says what.
NOT_RUN = {
    ("README.md", "pip install . ./plugins/rivet-local"),
    ("docs/getting-started.md", "pip install . ./plugins/rivet-local"),
    ("docs/how-to/schedule.md", "import subprocess"),
}


def blocks_of(page: str) -> list[Block]:
    return code_blocks(ROOT / page, page)


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in blocks_of(page))])
def test_blocks_run(page, tmp_path):
    for block in blocks_of(page):
        if block.title:
            file = tmp_path / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.content, encoding="utf-8")
        elif block.runs:
            run(block, tmp_path)


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
    shown = [block for page in PAGES for block in blocks_of(page) if block.title.endswith("yaml")]
    assert shown
    for block in shown:
        if block.title != "wrong.yaml":
            file = tmp_path / "rivet.yaml"
            file.write_text(block.content, encoding="utf-8")
            load(file, registry, {"SHOP_PASSWORD": "correct horse"})


def run(block: Block, directory: Path) -> None:
    if block.language == "pycon":
        test = doctest.DocTestParser().get_doctest(block.content, {}, str(block), block.page, block.line)
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test)
        assert runner.summarize(verbose=False).failed == 0, str(block)
        return
    shell = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*shell, block.content],
        cwd=directory,
        env=environment(directory),
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


def environment(home: Path) -> dict[str, str]:
    """A reader's environment: the installed programs first on the path, nothing that configures Rivet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RIVET_", "PYTHON", "PYTEST"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
