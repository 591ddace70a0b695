"""Fresh environments that hold the third-party packages of this one, and of Rivet only what is installed there."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
# What is built here is only tried: a compiler that optimises nothing needs a third of the time.
QUICKLY = {f"RIVET_{plugin}_CFLAGS": "-O0" for plugin in ("MYSQL", "PARQUET", "POSTGRES")}
OFFLINE = ["--no-index", "--no-deps", "--no-build-isolation"]


def build_wheels(directory: Path, *projects: Path) -> dict[str, Path]:
    """Build a wheel of each project; return them by the name of the distribution."""
    command = [*PIP, "wheel", *OFFLINE, "--wheel-dir", directory, *projects]
    subprocess.run(command, env={**os.environ, **QUICKLY}, check=True)
    return {path.name.split("-")[0].replace("_", "-"): path for path in directory.glob("*.whl")}


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the variables of its processes: none that steers Rivet, Python or pytest."""

    directory: Path
    variables: Mapping[str, str] = field(
        default_factory=lambda: {
            name: value for name, value in os.environ.items() if not name.startswith(("RIVET_", "PYTHON", "PYTEST_"))
        }
    )

    @classmethod
    def create(cls, directory: Path) -> Environment:
        """Create it without any distribution of Rivet."""
        venv.create(directory, with_pip=False, symlinks=True)
        new = cls(directory)
        for path in (path for place in site.getsitepackages() for path in Path(place).iterdir()):
            # Neither the checkout's own editable installs nor the metadata that names them.
            if not path.name.startswith(("rivet_", "_rivet_", "__editable__")) and path.suffix != ".pth":
                (new.packages / path.name).symlink_to(path)
        return new

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def rivet(self) -> Path:
        return self.directory / "bin" / "rivet"

    @property
    def packages(self) -> Path:
        """Where distributions are installed."""
        return next((self.directory / "lib").glob("python*/site-packages"))

    def install(self, *what: Path) -> None:
        """Install wheels or projects without their dependencies."""
        command = [*PIP, "--python", self.python, "install", *OFFLINE, *what]
        subprocess.run(command, env={**os.environ, **QUICKLY}, check=True)
