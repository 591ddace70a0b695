"""The plugin of broken destinations, installed for processes of their own, and the kit's verdict of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rivet_core.testing import DestinationSuite
from rivet_core.testing.catalog import cases_of

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[3] / "examples" / "rivet-memory"
DIST_INFO = {
    "METADATA": "Metadata-Version: 2.1\nName: rivet-broken\nVersion: 0.1.0\n",
    "entry_points.txt": "[rivet]\nbroken = broken_destinations\n",
}


@dataclass(frozen=True)
class Installed:
    """A directory with the plugin's ``.dist-info``, and the environment variables by which Python finds it."""

    directory: Path
    variables: Mapping[str, str]

    @classmethod
    def install(cls, directory: Path) -> Installed:
        """Install the plugin beside the packages of this environment."""
        dist_info = directory / "rivet_broken-0.1.0.dist-info"
        dist_info.mkdir()
        for name, text in DIST_INFO.items():
            (dist_info / name).write_text(text)
        (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("RIVET_", "PYTEST_"))}
        return cls(directory, {**variables, "PYTHONPATH": os.pathsep.join(map(str, [directory, HERE, EXAMPLE]))})

    def types(self) -> set[str]:
        """Return the destination types of the plugin, as the command line finds them."""
        done = self._run(Path(sys.executable).with_name("rivet"), "plugins", "list", "--json")
        (plugin,) = (plugin for plugin in json.loads(done.stdout)["plugins"] if plugin["name"] == "broken")
        return {provided["name"] for provided in plugin["provides"]}

    def verdict(self, destination: str, *, only: Sequence[str] = ()) -> dict[str, Any]:
        """Run the kit over one of the destinations and return what its report says.

        Args:
            destination: the type.
            only: beginnings of the ids that run; empty: the whole kit.
        """
        report, suite = self.directory / f"{destination}.json", HERE / "suite_of_one.py"
        tests = [
            f"{suite}::TestDestination::{name}"
            for name, case in cases_of(DestinationSuite).items()
            if case.id.startswith(tuple(only))
        ]
        options = ["-q", "-p", "no:cacheprovider", "-c", "pytest.ini", "--rootdir", ".", f"--rivet-report={report}"]
        command = [sys.executable, "-m", "pytest", *options, *(tests if only else [suite])]
        done = self._run(*command, DESTINATION=destination)
        assert done.returncode in {0, 1}, done.stdout + done.stderr
        (verdict,) = json.loads(report.read_text())["suites"]
        assert (done.returncode == 1) == (verdict["verdict"] == "failed"), done.stdout + done.stderr
        return dict(verdict)

    def _run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.directory,
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
