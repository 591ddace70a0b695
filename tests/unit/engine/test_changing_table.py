"""A table that is altered between the look at its columns and the read of its rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rivet_core.api import Query, SourceContext, SourceError
from rivet_core.builtin.parquet import ParquetConfig, ParquetFormat
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.builtin.sqlalchemy.source import open_source
from rivet_core.config.sections import QualitySection
from rivet_core.engine.counters import Counters
from rivet_core.engine.gates.quality import Gates
from rivet_core.engine.selecting.chunks import Bounds, Chunk
from rivet_core.engine.writing.extract import PartTarget
from rivet_core.engine.writing.memory import MemoryPlan
from rivet_core.engine.writing.rows import RowSteps
from rivet_core.engine.writing.workers import extract_all
from rivet_core.state import PartRow
from rivet_local.destination import LocalDestination


class NoJournal:
    def reserve(self, key: str, number: int) -> None:
        raise AssertionError("no part may open")

    def committed(self, part: PartRow) -> None:
        raise AssertionError("no part may be committed")

    def reading_again(self, chunk: Chunk, error: Exception) -> None:
        raise AssertionError("reading again does not help")


def test_columns_that_change_after_the_look_are_one_clear_error(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER, note TEXT)")
    config = SqlalchemyConfig(dialect="sqlite", database="shop.db")
    with closing(open_source(config, SourceContext(tmp_path))) as source:
        query = source.table_query("orders")
        rows = RowSteps(source.describe(query))
        with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
            connection.execute("ALTER TABLE orders ADD COLUMN price REAL")
        target = PartTarget(
            destination=LocalDestination(tmp_path / "out"),
            format=ParquetFormat(ParquetConfig()),
            suffix="parquet",
            rows=rows,
            gates=Gates(QualitySection(), rows.schema),
            memory=MemoryPlan.divide(256_000_000, None),
            max_file_size=None,
            write_empty=True,
            journal=NoJournal(),
            counters=Counters(),
        )
        with pytest.raises(SourceError, match="changed while the export started"):
            extract_all(source, [Chunk(1, Query("SELECT * FROM orders"), Bounds())], target, first_number=1)
    assert not (tmp_path / "out").exists()
