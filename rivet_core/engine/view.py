"""What a run reads through: the source, at one instant for all chunks where the export asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from rivet_core.api.errors import ConfigError
from rivet_core.api.source import Source

if TYPE_CHECKING:
    from rivet_core.api.destination import Check
    from rivet_core.api.source import BatchStream, Query, Snapshot, SourceSchema
    from rivet_core.config import ExportConfig


@contextmanager
def at_one_instant(source: Source, query: Query, export: ExportConfig) -> Iterator[Source]:
    """Return a source whose planning queries and reads show one instant, or the source itself.

    Raises:
        ConfigError: the export wants a snapshot, and the database has none.
    """
    if export.chunking is None or not export.chunking.snapshot:
        yield source
        return
    with source.snapshot(query, export.chunking.parallel) as snapshot:
        if snapshot is None:
            raise ConfigError(
                f"consistency: snapshot: {source.engine_name} has no view that several chunks can share",
                hint="set consistency: per_chunk, or mode: full, which reads all rows by one statement",
            )
        yield View(source, snapshot)


class View(Source):
    """A source that is read at one instant.

    Args:
        snapshot: the instant.
    """

    def __init__(self, source: Source, snapshot: Snapshot) -> None:
        self.engine_name = source.engine_name
        self.engine = source.engine
        self._source = source
        self._snapshot = snapshot

    def table_query(self, table: str) -> Query:
        """See ``Source.table_query``."""
        return self._source.table_query(table)

    def describe(self, query: Query) -> SourceSchema:
        """See ``Source.describe``."""
        return self._source.describe(query)

    def read(
        self, query: Query, *, batch_bytes: int, snapshot: Snapshot | None = None
    ) -> AbstractContextManager[BatchStream]:
        """Stream the rows as they were at the instant."""
        return self._source.read(query, batch_bytes=batch_bytes, snapshot=snapshot or self._snapshot)

    def fetch(self, query: Query, *, snapshot: Snapshot | None = None) -> Sequence[Sequence[object]]:
        """Return the rows of a small query as they were at the instant."""
        return self._source.fetch(query, snapshot=snapshot or self._snapshot)

    def split(self, query: Query, n: int) -> Sequence[Query]:
        """See ``Source.split``."""
        return self._source.split(query, n)

    def approximate_rows(self, query: Query) -> int | None:
        """See ``Source.approximate_rows``."""
        return self._source.approximate_rows(query)

    def check(self) -> Iterator[Check]:
        """See ``Source.check``."""
        return self._source.check()
