"""Runs one export of a server's table as users configure it, and reads back what it has delivered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from integration.source.open_source import read
from rivet_core.contract.manifest import Manifest, decode
from rivet_core.engine import plan
from rivet_core.engine.result import RunResult
from servers.database import DatabaseServer
from servers.postgres import Postgres
from unit.engine.shop import Shop

Row = dict[str, Any]


class Exports(Shop):
    """A directory with a configuration of the export ``t`` and what its runs leave."""

    def __init__(self, directory: Path, server: DatabaseServer) -> None:
        self._server = server
        super().__init__(directory)

    def configure(self, *exports: str) -> None:
        type_ = "postgres" if isinstance(self._server, Postgres) else "mariadb"
        source = {"type": type_, "url": self._server.url, "tls": {"mode": "disable"}}
        lines = [f"source: {json.dumps(source)}", "exports:", *(f"  - {export}" for export in exports)]
        (self.directory / "rivet.yaml").write_text("\n".join(lines))

    def export(self, mode: str, **fields: object) -> None:
        """Configure the export of a table in a mode."""
        export = {"name": "t", "table": "t", "mode": mode, "destination": {"type": "local", "path": "out"}, **fields}
        self.configure(json.dumps(export))

    def succeed(self) -> RunResult:
        result = self.run(validate=True)
        assert result.error is None, result.error
        return result

    def forget(self) -> None:
        """Lose the state database."""
        for path in self.directory.glob(".rivet_state.db*"):
            path.unlink()

    @property
    def manifest(self) -> Manifest:
        return decode((self.out / "manifest.json").read_bytes())

    def delivered(self) -> list[Row]:
        """Every row of the certified dataset in the order in which it was delivered."""
        config, manifest = self.config, self.manifest
        format_ = plan.open_named_format(manifest.format, config.exports[0], self.registry)
        rows: list[Row] = []
        for part in manifest.parts:
            with (
                (self.out / part.path).open("rb") as source,
                format_.decoder(source, manifest.arrow_schema(part)) as decoder,
            ):
                rows += [row for batch in decoder.batches() for row in batch.to_pylist()]
        return rows

    def latest(self) -> list[Row]:
        """The last delivered version of each row by ``id``."""
        return sorted({row["id"]: row for row in self.delivered()}.values(), key=lambda row: row["id"])

    def in_source(self) -> list[Row]:
        return sorted(read(self._server.url, "t").to_pylist(), key=lambda row: row["id"])
