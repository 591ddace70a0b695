"""A directory with a source, a configuration and what one run published, to be damaged and validated."""

from __future__ import annotations

import json
import sqlite3
import textwrap
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash import observer
from rivet_core.cli.main import main

ROWS = 400


@dataclass(frozen=True)
class Published:
    """A directory that holds ``shop.db``, ``rivet.yaml`` and the prefix ``out``."""

    directory: Path

    @property
    def prefix(self) -> Path:
        return self.directory / "out"

    @property
    def config(self) -> str:
        return str(self.directory / "rivet.yaml")

    @property
    def manifest(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.prefix / "manifest.json").read_bytes())
        return document

    @property
    def parts(self) -> list[Path]:
        return [self.prefix / part["path"] for part in self.manifest["parts"]]

    @property
    def copy(self) -> Path:
        """The immutable manifest of the only run."""
        (path,) = self.prefix.glob("manifest-*.json")
        return path

    def certify(self, manifest: dict[str, Any] | bytes) -> None:
        """Put a manifest there and the marker that has its fingerprint, as a forger would."""
        data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        (self.prefix / "manifest.json").write_bytes(data)
        (self.prefix / "_SUCCESS").write_text(observer.fingerprint(data) + "\n")

    def run(self, *arguments: str) -> int:
        return main(["run", "-c", self.config, *arguments])

    def validate(self, *arguments: str) -> int:
        return main(["validate", "-c", self.config, *arguments])


def publish(directory: Path, suffix: str, *, settings: str = "{}") -> Published:
    """Export a table of ``ROWS`` rows to several parts.

    Args:
        settings: further fields of the export, a YAML flow mapping.
    """
    directory.mkdir(exist_ok=True)
    write_source(directory / "shop.db", "first")
    (directory / "rivet.yaml").write_text(
        textwrap.dedent(f"""\
            source: {{type: sqlite, database: shop.db}}
            exports:
              - <<: {settings}
                name: orders
                table: orders
                format: {suffix}
                compression: none
                max_file_size: 64KiB
                destination: {{type: local, path: out}}
            """)
    )
    published = Published(directory)
    assert published.run() == 0
    assert len(published.parts) >= 3
    return published


def write_source(database: Path, generation: str) -> list[dict[str, object]]:
    """Create the source table and return its rows. Generations differ in every row."""
    rows = [(number, f"{generation} {number} " + "x" * 400) for number in range(ROWS)]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE IF EXISTS orders")
        connection.execute("CREATE TABLE orders (id INTEGER NOT NULL, note TEXT NOT NULL)")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", rows)
    return [{"id": number, "note": note} for number, note in rows]
