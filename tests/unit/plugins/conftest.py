"""Environments with real, installed plugins, some of which do not work."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest


class PluginEnvironment:
    """A virtual environment that sees Rivet and holds plugins of its own."""

    def __init__(self, directory: Path) -> None:
        self._sources = directory / "sources"
        self._environment = directory / "env"
        venv.create(self._environment, with_pip=False, symlinks=True)
        self.python = self._environment / "bin" / "python"
        packages = next((self._environment / "lib").glob("python*/site-packages"))
        inherited = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
        (packages / "inherited.pth").write_text(f"import site; {inherited}\n")

    def install(self, plugins: Mapping[str, str], *, version: str = "1.2.3") -> None:
        """Build and install one distribution per item: its name, and the source of its entry module."""
        directories = [self._write(name, source, version) for name, source in plugins.items()]
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--no-index"]
        command += ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", *map(str, directories)]
        subprocess.run(command, check=True)

    def _write(self, name: str, source: str, version: str) -> Path:
        module = name.replace("-", "_")
        package = self._sources / name / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(dedent(source))
        (self._sources / name / "pyproject.toml").write_text(
            f'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
            f'[project]\nname = "{name}"\nversion = "{version}"\n'
            f'[project.entry-points.rivet]\n{name.removeprefix("rivet-")} = "{module}.plugin"\n'
        )
        return self._sources / name

    def rivet(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run ``rivet`` in the environment."""
        return self.run("import sys; from rivet_core.cli.main import main; sys.exit(main())", *arguments, **environ)

    def run(self, code: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in the environment."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RIVET_")}
        command = [self.python, "-c", dedent(code), *arguments]
        return subprocess.run(command, env=clean | environ, capture_output=True, text=True, check=False)

    def plugins(self, *arguments: str, **environ: str) -> dict[str, dict[str, Any]]:
        """Return what ``rivet plugins list --json`` says, by the plugin's name."""
        result = self.rivet("plugins", "list", "--json", *arguments, **environ)
        assert result.returncode == 0, result.stderr
        return {plugin["name"]: plugin for plugin in json.loads(result.stdout)["plugins"]}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> PluginEnvironment:
    """An empty environment for one module of tests."""
    return PluginEnvironment(tmp_path_factory.mktemp("plugins"))
