"""A small shop to export: a real database, a real destination and a real state database in one directory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet

from rivet_core.config import Config, load
from rivet_core.engine.result import RunResult
from rivet_core.engine.run import RunOptions, run_exports
from rivet_core.plugins import discover

#: Rows of ``large_shop``.
ROWS = 1000
#: Begins a statement that selects from ``n``, whose ``i`` are the numbers from 1 to ``ROWS``.
NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
ORDERS = "{name: orders, table: orders, destination: {type: local, path: out}}"


class Shop:
    """A directory with a database, a ``rivet.yaml`` and what its runs leave."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.out = directory / "out"
        self.registry = discover({"RIVET_PLUGINS": "local"})
        self.configure(ORDERS)
        self.source("CREATE TABLE orders (id INTEGER, note TEXT)", "INSERT INTO orders VALUES (1, 'a'), (2, 'b')")

    def source(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.directory / "shop.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def configure(self, *exports: str) -> None:
        lines = ["source: {type: sqlite, database: shop.db}", "exports:", *(f"  - {export}" for export in exports)]
        (self.directory / "rivet.yaml").write_text("\n".join(lines))

    @property
    def config(self) -> Config:
        return load(self.directory / "rivet.yaml", self.registry, {})

    def run_all(self, **options: Any) -> list[RunResult]:
        config = self.config
        watch = lambda name, counters: nullcontext()  # noqa: E731
        return run_exports(config, config.exports, self.registry, RunOptions(**options), watch)

    def run(self, **options: Any) -> RunResult:
        (result,) = self.run_all(**options)
        return result

    def publish(self) -> RunResult:
        result = self.run()
        assert result.error is None, result
        return result

    def state(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.directory / ".rivet_state.db")) as connection, connection:
            return connection.execute(statement).fetchall()

    def runs(self) -> list[str]:
        """The status of every run that the state knows, the oldest first."""
        return [status for (status,) in self.state("SELECT status FROM rivet_run ORDER BY sequence")]

    def parts(self) -> list[str]:
        return sorted(path.name for path in self.out.glob("part-*"))

    def rows(self) -> int:
        return sum(pyarrow.parquet.read_metadata(path).num_rows for path in self.out.glob("part-*"))

    @contextmanager
    def state_refuses(self, table: str, event: str, condition: str) -> Iterator[None]:
        """Let the state database fail for the rows that meet a condition, as a full disk would."""
        trigger = f"CREATE TRIGGER refuse BEFORE {event} ON {table} WHEN {condition}"
        self.state(f"{trigger} BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END")
        try:
            yield
        finally:
            self.state("DROP TRIGGER refuse")


def large_shop(directory: Path, *exports: str, key: str = "i") -> Shop:
    """Return a shop with a thousand orders.

    Args:
        exports: what is configured.
        key: what the id of the ``i``-th order is.
    """
    shop = Shop(directory)
    shop.source("DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
    shop.source(f"{NUMBERS} INSERT INTO orders SELECT {key}, 'note ' || i FROM n")
    if exports:
        shop.configure(*exports)
    return shop
