"""What a run reads through: the source, at one instant where the export asks for it, and not given up at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rivet_core.api.errors import ConfigError
from rivet_core.api.source import Source
from rivet_core.engine.counters import Counters
from rivet_core.engine.tries import keep_trying

if TYPE_CHECKING:
    from rivet_core.api.destination import Check
    from rivet_core.api.errors import RivetError
    from rivet_core.api.source import BatchStream, Query, Snapshot, SourceSchema
    from rivet_core.config import ExportConfig

logger = logging.getLogger(__name__)


def cut(source: Source, query: Query, export: ExportConfig) -> Sequence[Query]:
    """Return the pieces of a full export that several connections can read, or the query alone."""
    if export.mode != "full" or export.parallel == 1:
        return [query]
    return [replace(piece, columns=query.columns) for piece in source.split(query, export.parallel)]


def most_pieces(source: Source, export: ExportConfig) -> int:
    """Return how many statements may read an export at the same time, as far as that is known without asking."""
    cannot_split = type(source).split is Source.split
    return 1 if export.mode == "full" and cannot_split else export.parallel


@contextmanager
def open_view(
    source: Source,
    query: Query,
    export: ExportConfig,
    counters: Counters,
    warn: Callable[[str], None],
    *,
    pieces: Sequence[Query] = (),
) -> Iterator[View]:
    """Return what planning queries and chunks are read through.

    It is one instant of the source, if the export says so, or if it is read in pieces.

    Args:
        counters: are told how long planning queries took.
        warn: is told of queries that are tried again.
        pieces: what ``cut`` has made of the query.

    Raises:
        ConfigError: the export wants a snapshot, and the database has none.
    """
    wanted = export.chunking is not None and export.chunking.snapshot
    if not wanted and len(pieces) < 2:
        yield View(source, None, counters, warn, [query])
        return
    with source.snapshot(query, export.parallel) as snapshot:
        if snapshot is None and wanted:
            raise ConfigError(
                f"consistency: snapshot: {source.engine_name} has no view that several chunks can share",
                hint="set consistency: per_chunk, or mode: full, which reads all rows by one statement",
            )
        yield View(source, snapshot, counters, warn, [query] if snapshot is None else pieces)


def ask_again(source: Source) -> Source:
    """Return a source whose small queries are tried again, for those who keep no record but the log."""
    return View(source, None, Counters(), lambda message: logger.warning("%s", message))


def log_again(error: RivetError) -> None:
    """Log why rows are read again."""
    logger.warning("rows are read again: %s", error.message)


class View(Source):
    """A source whose planning queries are tried again and timed, and all of whose rows are of one instant, if any.

    Args:
        snapshot: the instant; ``None`` for whatever is there when it is read.
        pieces: what a full export reads, each by a connection of its own; the query alone where there is no instant.
    """

    def __init__(
        self,
        source: Source,
        snapshot: Snapshot | None,
        counters: Counters,
        warn: Callable[[str], None],
        pieces: Sequence[Query] = (),
    ) -> None:
        self.pieces = pieces
        self.engine_name = source.engine_name
        self.engine = source.engine
        self.read_overhead = source.read_overhead
        self._source = source
        self._snapshot = snapshot
        self._counters = counters
        self._warn = warn

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
        """Return the rows of a small query as they were at the instant, also after some failures."""
        return keep_trying(
            lambda: self._timed(query, snapshot or self._snapshot),
            lambda error: self._warn(f"a query for the plan is tried again: {error.message}"),
        )

    def _timed(self, query: Query, snapshot: Snapshot | None) -> Sequence[Sequence[object]]:
        started = time.monotonic()
        try:
            return self._source.fetch(query, snapshot=snapshot)
        finally:
            self._counters.timed(time.monotonic() - started)

    def split(self, query: Query, n: int) -> Sequence[Query]:
        """See ``Source.split``."""
        return self._source.split(query, n)

    def approximate_rows(self, query: Query) -> int | None:
        """See ``Source.approximate_rows``."""
        return self._source.approximate_rows(query)

    def check(self) -> Iterator[Check]:
        """See ``Source.check``."""
        return self._source.check()
