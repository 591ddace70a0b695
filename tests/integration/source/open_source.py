"""Opens the source over a test server's database."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from pathlib import Path

import pyarrow as pa

from rivet_core.api import Query, ReadOptions, Source, SourceContext
from rivet_core.builtin.sqlalchemy import source
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig

BATCH_BYTES = 1_000_000


def open_database(url: str, **options: object) -> Source:
    """Open the built-in source; tests that run over another source, too, put theirs here."""
    return source.open_source(SqlalchemyConfig(url=url), SourceContext(Path("/"), ReadOptions(**options)))


def opened(url: str, **options: object) -> AbstractContextManager[Source]:
    """Open the source; the block closes it."""
    return closing(open_database(url, **options))


def read(url: str, query: Query | str, *, batch_bytes: int = BATCH_BYTES, **options: object) -> pa.Table:
    """Read a query, or a whole table by its name."""
    with opened(url, **options) as opened_source:
        query = opened_source.table_query(query) if isinstance(query, str) else query
        with opened_source.read(query, batch_bytes=batch_bytes) as stream:
            return pa.Table.from_batches(stream, stream.schema)
