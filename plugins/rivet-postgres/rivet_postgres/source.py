"""The source: what the built-in one does, but rows come by binary COPY and are decoded natively."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rivet_core.api import Query, SnapshotLost
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import readers
from rivet_core.builtin.sqlalchemy.connect import open_engine, resolve_address
from rivet_core.builtin.sqlalchemy.postgres import Postgres
from rivet_core.builtin.sqlalchemy.postgres_session import settle
from rivet_core.builtin.sqlalchemy.reading import SlowSource, and_natively
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.builtin.sqlalchemy.stream import NATIVE_OVERHEAD, ArrowBatches, Limits
from rivet_postgres.libpq import NotNative, require_native
from rivet_postgres.pages import PageRange, TablePages, cut, range_statements

if TYPE_CHECKING:
    from rivet_core.api import Check, ReadOptions, Snapshot, SourceContext
    from rivet_postgres.backend import NativePostgres, Opened
    from rivet_postgres.columns import CopiedColumn
    from rivet_postgres.config import PostgresConfig


def open_source(config: PostgresConfig, context: SourceContext) -> SqlalchemySource:
    """Open the source; nothing connects before the first query.

    Raises:
        ConfigError: the configuration names no usable database.
        DriverMissing: psycopg is not installed.
    """
    address = resolve_address(config, context.base_dir)
    engine = open_engine(address)
    try:
        require_native()
    except NotNative as reason:
        backend = Postgres(engine, context.options, tls_required=address.tls_required, read_timeout=config.read_timeout)
        return SlowSource(backend, context.options, database="PostgreSQL", reason=str(reason), package="rivet-postgres")
    from rivet_postgres.backend import NativePostgres

    native = NativePostgres(
        engine, context.options, tls_required=address.tls_required, read_timeout=config.read_timeout
    )
    return NativeSource(native, context.options)


class NativeSource(SqlalchemySource):
    """A PostgreSQL database that is read by binary COPY."""

    read_overhead = NATIVE_OVERHEAD

    def __init__(self, backend: NativePostgres, options: ReadOptions) -> None:
        super().__init__(backend, options)
        self._native = backend

    @contextmanager
    def read(self, query: Query, *, batch_bytes: int, snapshot: Snapshot | None = None) -> Iterator[ArrowBatches]:
        """Copy the rows. The connection is the stream's own meanwhile; left early or after an error it goes with it.

        A table, with its partitions and heirs, is read in many short statements, any other query in one; where the
        server bounds the time of a statement, such a query is fetched from a cursor, as the built-in source does.
        """
        from rivet_postgres.columns import copied_columns
        from rivet_postgres.copying import Copier
        from rivet_postgres.stream import CopyBatches

        with self._native.open(query, snapshot) as opened:
            resolved = readers(opened.columns, self._options, self._native.decoder)
            limits = Limits(batch_bytes, self._options.max_value_bytes)
            locate = self._locator(query, resolved)
            columns = copied_columns(opened.columns, resolved, self._options.max_value_bytes)
            with self._native.failures():
                statements = self._statements(query, opened, columns)
                self._native.take_bytes(opened.connection)
            if statements is None:
                clock = Clock()
                with self._native.fetched(opened.connection, opened.columns, clock) as rows:
                    yield ArrowBatches(resolved, rows, limits.of_objects(), self._native.failures, locate, clock=clock)
            else:
                with self._native.failures():
                    self._native.make_room(opened.connection, len(columns))
                copier = Copier(opened.connection, read_timeout=self._native.read_timeout)
                yield CopyBatches(
                    columns, copier, statements, limits=limits, failures=self._native.failures, locate=locate
                )

    def split(self, query: Query, n: int) -> Sequence[Query]:
        """Return ``n`` ranges of the pages of a table, with its partitions and heirs; any other query stays whole."""
        table = query.table
        if n < 2 or table is None or not self._is_whole_table(query):
            return [query]
        with self._native.failures(), self._native.own_connection() as connection:
            settle(connection)  # a name may mean another table to the last client of a pooler's connection
            relations = self._native.relations(connection, table)
            # What is read as a whole may be on another server, which no snapshot covers.
            by_pages = relations is not None and all(one.pages is not None for one in relations)
            pieces = cut(relations, n) if relations is not None and by_pages else []
            if len(pieces) < 2:
                return [query]
            texts = [self._native.ranges_text(connection, table, ranges) for ranges in pieces]
        names = [relation.name for relation in relations or ()]
        return [
            TablePages(text, {}, table, ranges=ranges, relations=names)
            for text, ranges in zip(texts, pieces, strict=True)
        ]

    def check(self) -> Iterator[Check]:
        """Connect, and report what answers."""
        yield from and_natively(super().check(), "binary COPY, decoded natively")

    def _is_whole_table(self, query: Query) -> bool:
        return query.table is not None and query.text == self._native.table_text(query.table)

    def _check_relations(self, piece: TablePages, opened: Opened) -> None:
        """Refuse a piece of a table that has, at the time that is read, other partitions or heirs than when it was cut.

        Raises:
            SnapshotLost: no piece would have the rows of those that came since.
        """
        relations = self._native.relations(opened.connection, piece.table) if piece.table is not None else None
        if relations is None or [relation.name for relation in relations] != list(piece.relations):
            raise SnapshotLost(
                f"the table {piece.table} has got or lost partitions, or tables that inherit from it, "
                "since it was cut into pieces",
                hint="run the command again",
            )

    def _statements(self, query: Query, opened: Opened, columns: Sequence[CopiedColumn]) -> Iterable[str] | None:
        """Return the statements that copy the query's rows, or ``None`` where one would take too long."""
        from rivet_postgres.statements import copy_query, copy_range

        ranges = self._ranges(query, opened)
        whole = not ranges or any(range_.relation.pages is None for range_ in ranges)
        if whole and self._native.bounds_statements(opened.connection):
            return None
        if ranges:
            return range_statements(partial(copy_range, columns, self._native.quote), ranges)
        return [copy_query(opened.statement, columns, self._native.quote)]

    def _ranges(self, query: Query, opened: Opened) -> Sequence[PageRange]:
        """Return the pages that hold the query's rows; none where it cannot be read by pages."""
        if isinstance(query, TablePages):
            self._check_relations(query, opened)
            return query.ranges
        if query.table is None or not self._is_whole_table(query):
            return []
        relations = self._native.relations(opened.connection, query.table)
        return [PageRange(relation) for relation in relations or []]
