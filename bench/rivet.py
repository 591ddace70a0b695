"""Rivet as a contender: an export by ``rivet run``, with a directory, a configuration and a state of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from bench.measure import CommandFailed, Contender, Watch
from bench.stores import LOCAL, Place

RIVET = str(Path(sys.executable).with_name("rivet"))


def rivet_run(
    directory: Path,
    engine: str,
    url: str,
    rows: int,
    *,
    name: str,
    table: str = "orders",
    place: Place = LOCAL,
    options: Mapping[str, object] | None = None,
    export: Mapping[str, object] | None = None,
    watch: Callable[[], AbstractContextManager[Watch]] | None = None,
) -> Contender:
    """Return an export of a whole table; ``options`` and ``export`` extend its configuration."""
    config, summary = directory / "rivet.yaml", directory / "summary.json"
    content = {
        "source": {"type": engine, "url_env": "BENCH_URL"},
        "state": {"url": "sqlite:///state.db"},
        "exports": [{"name": table, "table": table, "destination": place.destination, **(export or {})}],
        **(options or {}),
    }

    def prepare() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        config.write_text(json.dumps(content))  # JSON is YAML

    def check() -> None:
        found = json.loads(summary.read_bytes())["runs"][0]["rows"]
        if found != rows:
            raise CommandFailed(f"{name} exported {found} rows of {rows}")

    command = [RIVET, "run", "--config", str(config), "--summary-output", str(summary)]
    output = directory / "output" if place.destination["type"] == "local" else None
    return Contender(name, command, {"BENCH_URL": url, **place.environment}, prepare, check, output, watch)
