"""Runs the original Rivet, as its users do: a configuration of its own and its command line."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: It needs a source to read a configuration, and never connects to validate.
NOWHERE = "postgresql://nobody:nothing@127.0.0.1:1/nothing"


@dataclass(frozen=True)
class OriginalRivet:
    """The program, and the directory for its configuration and state."""

    program: Path
    directory: Path

    def run(self, url: str, exports: list[dict[str, Any]]) -> None:
        """Export from a PostgreSQL database."""
        done = self._call("run", self._configure(url, exports))
        assert done.returncode == 0, done.stderr

    def validate(self, prefix: Path, *, suffix: str = "parquet", depth: str = "full") -> dict[str, Any]:
        """Return what it reports of one prefix."""
        export = {"name": "ours", "query": "SELECT 1", "mode": "full", "format": suffix}
        config = self._configure(NOWHERE, [{**export, "destination": {"type": "local", "path": f"{prefix}/"}}])
        done = self._call("validate", config, "--format", "json", "--depth", depth)
        (report,) = json.loads(done.stdout)["exports"]
        verification: dict[str, Any] = report["verification"]
        assert verification["passed"] == (done.returncode == 0)
        return verification

    def _configure(self, url: str, exports: list[dict[str, Any]]) -> Path:
        config = self.directory / "original.yaml"
        config.write_text(yaml.safe_dump({"source": {"type": "postgres", "url": url}, "exports": exports}))
        return config

    def _call(self, command: str, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, command, "-c", config, *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
