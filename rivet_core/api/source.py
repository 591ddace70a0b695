"""What the author of a source implements: describe a query, stream its rows as Arrow record batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    import sqlalchemy

    from rivet_core.api.destination import Check

#: ``exact``: every value survives and is the same type. ``text``: every value survives as its text.
#: ``widened``: every value survives in a larger type. ``checked``: values are proven one by one while they are read.
Fidelity = Literal["exact", "text", "widened", "checked"]


@dataclass(frozen=True)
class TableName:
    """A table as the configuration names it, unquoted."""

    table: str
    schema: str | None = None

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}" if self.schema else self.table


@dataclass(frozen=True)
class Query:
    """One read-only statement and its bound values. Neither values nor text are in its ``repr``.

    Attributes:
        text: SQL in the engine's own dialect; ``${name}`` outside quotes and comments is a bind.
        params: the value of every bind.
        table: set where the query reads one whole table, which then gives nullability and declared types.
        columns: what ``describe`` has said of the query of which this is a piece. An engine that can tell types only by
            values reads every piece as these.
    """

    text: str = field(repr=False)
    params: Mapping[str, object] = field(default_factory=dict, repr=False)
    table: TableName | None = None
    columns: Sequence[SourceColumn] = field(default=(), repr=False, kw_only=True)


@dataclass(frozen=True)
class SourceColumn:
    """One column of a result.

    Attributes:
        name: the column's name as the result has it, any Unicode.
        type: the Arrow type that it is exported as.
        source_type: the engine's own name of the type, for the manifest and for messages.
        nullable: whether NULL can occur; ``True`` where the engine does not say.
        fidelity: what the mapping promises.
    """

    name: str
    type: pa.DataType
    source_type: str
    nullable: bool = True
    fidelity: Fidelity = "exact"


@dataclass(frozen=True)
class SourceSchema:
    """The columns of a query's result, in order."""

    columns: Sequence[SourceColumn]

    def arrow(self) -> pa.Schema:
        """Return the Arrow schema of the batches that ``Source.read`` yields."""
        import pyarrow as pa

        return pa.schema([pa.field(column.name, column.type, column.nullable) for column in self.columns])


@dataclass(frozen=True)
class ReadOptions:
    """How one export wants its values read.

    Attributes:
        columns: Arrow types that override the source's mapping, by column name.
        unbounded_numeric: for numerics without precision: ``error``, ``string``, or a decimal type's name such as
            ``decimal(38,9)``, to which each value must fit exactly.
        zero_dates: for MySQL's ``0000-00-00``, and dates with a zero month or day: ``error`` or ``null``.
        tinyint1: what MySQL's ``tinyint(1)`` is: ``number``, or ``bool``, where other values than 0 and 1 are errors.
        max_value_bytes: a larger single value is an error that names column and key.
    """

    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    unbounded_numeric: str = "error"
    zero_dates: Literal["error", "null"] = "error"
    tinyint1: Literal["number", "bool"] = "number"
    max_value_bytes: int = 16_000_000


@dataclass(frozen=True)
class SourceContext:
    """What the core hands to a source's factory beside its configuration.

    Attributes:
        base_dir: directory of the configuration file; relative paths in the configuration start there.
        options: how the export wants its values read.
    """

    base_dir: Path
    options: ReadOptions = field(default_factory=ReadOptions)


class Snapshot(Protocol):
    """One instant of the database that several connections see; a source hands it out and alone knows its insides."""

    @property
    def description(self) -> str:
        """What the view is, for messages."""


class BatchStream(ABC):
    """The rows of one query: iterate once, in one thread, inside the ``with`` block of ``Source.read``."""

    #: The schema of every batch.
    schema: pa.Schema
    #: Seconds of the longest statement that the rows have taken so far; ``None`` where that is not known.
    longest_statement_seconds: float | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most the requested bytes (one row that is larger comes alone)."""


class Source(ABC):
    """A database that is read for one export."""

    #: The manifest's ``source.engine``: ``sqlite``, ``postgres``, ``mysql``, …
    engine_name: str
    #: For metadata, counts, bounds and SQL generation with proper quoting.
    engine: sqlalchemy.Engine
    #: How many times the size of a batch ``read`` takes in memory to make it; rows as Python objects are about ten.
    read_overhead: int = 10

    @abstractmethod
    def table_query(self, table: str) -> Query:
        """Return the query that reads one whole table, its name quoted (``schema.table`` or ``table``).

        Raises:
            QueryError: there is no such table or view; the hint names similar ones.
        """

    @abstractmethod
    def describe(self, query: Query) -> SourceSchema:
        """Return the columns of the query's result without reading its rows.

        Raises:
            TypeMappingError: columns without a lossless mapping, all of them, and the override to write.
            QueryError: the database refuses the query; duplicate column names; no columns.
        """

    @abstractmethod
    def read(
        self, query: Query, *, batch_bytes: int, snapshot: Snapshot | None = None
    ) -> AbstractContextManager[BatchStream]:
        """Stream the rows. Leaving the block early is prompt: the connection is cancelled or dropped, never drained.

        Args:
            batch_bytes: bound of one batch in bytes of Arrow data.

        Raises:
            ValueRefused: a value cannot be kept without loss; names column and row.
            SourceUnavailable: the connection was lost, or the server has no room now; the same read may succeed later.
            SnapshotLost: ``snapshot`` is gone.
        """

    def fetch(self, query: Query, *, snapshot: Snapshot | None = None) -> Sequence[Sequence[object]]:
        """Run a small query of the core's own and return its rows as the driver gives them.

        Such a value, bound to another query, means itself: boundaries of chunks are found and used this way.

        Args:
            snapshot: what the query shall see; never given to a source whose ``snapshot`` opens none.
        """
        from rivet_core.api.sql import arguments, render

        dialect = self.engine.dialect
        text, names = render(query.text, dialect.name, dialect.paramstyle)
        values = arguments(names, query.params, dialect.paramstyle)
        # Without values a driver must not look for a % to format, which it would with an empty list of them, too.
        with self.engine.connect().execution_options(no_parameters=True) as connection:
            return connection.exec_driver_sql(text, values).fetchall()

    def split(self, query: Query, n: int) -> Sequence[Query]:
        """Return up to ``n`` queries that together give the same rows, each row once; the core adds ``columns``."""
        return [query]

    def snapshot(self, query: Query, workers: int) -> AbstractContextManager[Snapshot | None]:
        """Open one view for all workers, where the engine can; ``None`` where it cannot.

        Every ``read`` and ``fetch`` that gets the view sees the same instant, however late it comes and however often.
        At most ``workers`` of them are open at the same time; one that ends, in whatever way, makes room for the next.
        When the block is left nothing of the view remains on the server. A view that is lost is never replaced by a
        later one: each ``read`` and ``fetch`` from then on raises ``SnapshotLost``.

        Args:
            query: what will be read, whole or in chunks; its tables must not lose rows that the view has.

        Raises:
            SourceDenied: the engine can, but this user may not.
            QueryError: the query reads what no view covers.
        """
        return nullcontext(None)

    def approximate_rows(self, query: Query) -> int | None:
        """Return a cheap estimate of the row count for progress, or ``None``; never a full scan of a large table."""
        return None

    def check(self) -> Iterator[Check]:
        """Yield what ``rivet doctor`` prints about this source: reachable, version, encryption, clock."""
        return iter(())

    def close(self) -> None:
        """Release connections. Called once, after the last use."""
        self.engine.dispose()
