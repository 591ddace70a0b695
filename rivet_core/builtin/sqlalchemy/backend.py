"""What differs between database engines: sessions, running a query, describing its columns, reading errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy
from sqlalchemy import event, exc

from rivet_core.api import QueryError, RivetError, SourceError, SourceUnavailable, ValueRefused
from rivet_core.api.sql import arguments, quote_name, render, single_statement
from rivet_core.builtin.sqlalchemy.config import READ_TIMEOUT

if TYPE_CHECKING:
    import pyarrow as pa

    from rivet_core.api import Check, Query, ReadOptions, Snapshot, TableName
    from rivet_core.builtin.sqlalchemy.clock import Clock
    from rivet_core.builtin.sqlalchemy.columns import ResultColumn
    from rivet_core.builtin.sqlalchemy.stream import Row
    from rivet_core.builtin.sqlalchemy.text import Decoder

#: What the driver's ``execute`` takes: the statement, and the values of its binds or ``None`` without any.
Statement = tuple[str, tuple[object, ...] | dict[str, object] | None]


@dataclass(frozen=True)
class Result:
    """A query that runs: its columns, its rows, which are read once, and how long its statements take.

    Attributes:
        cursor: the driver's, for a source that reads the rows by itself; ``None`` where there is none to read from.
    """

    columns: Sequence[ResultColumn]
    rows: Iterator[Row]
    clock: Clock | None = None
    cursor: Any = None


class Backend(ABC):
    """One database engine behind a SQLAlchemy engine.

    Args:
        engine: nothing has connected through it yet.
        options: how the export wants its values read.
        tls_required: refuse a connection without TLS.
        read_timeout: seconds of silence after which a connection is given up; only servers are waited for.
    """

    #: The manifest's ``source.engine``.
    name: ClassVar[str]

    def __init__(
        self,
        engine: sqlalchemy.Engine,
        options: ReadOptions,
        *,
        tls_required: bool,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self.engine = engine
        self.options = options
        self.tls_required = tls_required
        self.read_timeout = read_timeout
        # SQLAlchemy leaves the driver's module untyped.
        self.driver: Any = engine.dialect.dbapi
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "begin", self._on_begin)

    def close(self) -> None:
        """Close the connections that are kept between two reads."""

    def _on_connect(self, connection: Any, record: object) -> None:
        self.prepare(connection)

    def _on_begin(self, connection: sqlalchemy.Connection) -> None:
        self.begin(connection.connection.dbapi_connection)

    def prepare(self, connection: Any) -> None:
        """Set up a new connection of the driver: UTC, read-only."""

    def begin(self, connection: Any) -> None:
        """Set up a transaction of SQLAlchemy's where that is not the connection's to keep."""

    @abstractmethod
    def run(self, query: Query, snapshot: Snapshot | None = None) -> AbstractContextManager[Result]:
        """Run the query on a connection that nobody else has meanwhile, and which does not outlive an error.

        Args:
            snapshot: what ``snapshot`` has opened.
        """

    def snapshot(self, query: Query, workers: int) -> AbstractContextManager[Snapshot | None]:
        """Open one view for several connections; see ``Source.snapshot``."""
        return nullcontext(None)

    def fetch(self, query: Query, snapshot: Snapshot) -> Sequence[Sequence[object]]:
        """Run a small query in a view that ``snapshot`` has opened, and return its rows as the driver gives them."""
        raise NotImplementedError

    def describe(self, query: Query) -> Sequence[ResultColumn]:
        """Return the query's columns without reading its rows."""
        with self.run(query) as result:
            return result.columns

    @abstractmethod
    def decoder(self, column: ResultColumn, target: pa.DataType, overridden: bool) -> Decoder | None:
        """Return what decodes the column's values to ``target``; ``None`` where that would lose something."""

    @abstractmethod
    def failure(self, error: Exception, statement: str = "") -> RivetError:
        """Map an error of the driver. The message holds neither SQL nor values.

        Args:
            statement: what the driver was given, where a position in it can be told.
        """

    def table_text(self, table: TableName) -> str:
        """Return the query that reads a whole table."""
        return f"SELECT * FROM {self.quoted(table)}"

    def approximate_rows(self, table: TableName) -> int | None:
        """Return a cheap estimate of the table's rows."""
        return None

    def server_checks(self, connection: sqlalchemy.Connection) -> Iterator[Check]:
        """Yield what ``rivet doctor`` prints about a server that answers."""
        return iter(())

    def row_key(self, table: TableName, number: int) -> str:
        """Return the engine's own name of the ``number``-th row of a table; empty where it has none."""
        return ""

    def quoted(self, table: TableName) -> str:
        """Return the table's name for SQL."""
        return ".".join(quote_name(self.engine.dialect, name) for name in (table.schema, table.table) if name)

    def statement(self, query: Query) -> Statement:
        """Return what the driver executes for the query."""
        dialect = self.engine.dialect
        text = single_statement(query.text, dialect.name)
        statement, names = render(text, dialect.name, dialect.paramstyle)
        return statement, arguments(names, query.params, dialect.paramstyle)

    def connect(self) -> Any:
        """Open a connection of the driver that belongs to no pool; the caller closes it."""
        fairy = self.engine.raw_connection()
        connection = fairy.dbapi_connection
        fairy.detach()
        return connection

    def fetch_all(self, statement: str, params: Mapping[str, object] | None = None) -> Sequence[Sequence[Any]]:
        """Run a small statement of our own, with ``:name`` binds, and return its rows."""
        with self.failures(), self.engine.connect() as connection:
            return connection.execute(sqlalchemy.text(statement), params or {}).fetchall()

    @contextmanager
    def failures(self, statement: str = "") -> Iterator[None]:
        """Map every error of SQLAlchemy and the driver in the block. The original is not chained: it quotes SQL."""
        try:
            yield
        except exc.DBAPIError as error:
            original = error.orig if isinstance(error.orig, Exception) else error
            raise self.failure(original, statement) from None
        except exc.NoSuchTableError:
            raise QueryError("there is no such table") from None
        except exc.SQLAlchemyError as error:
            raise SourceError(f"SQLAlchemy failed: {type(error).__name__}") from None
        except UnicodeDecodeError:
            raise undecodable() from None
        except UnicodeError as error:
            if "idna" in str(error):  # the codec of Python's name resolution
                raise SourceUnavailable("the database's host has no valid name", hint="check host") from None
            raise QueryError("the query or a parameter is no valid Unicode text", hint="write it in UTF-8") from None
        except self.driver.Error as error:
            raise self.failure(error, statement) from None
        except TimeoutError:
            raise silence(self.read_timeout) from None
        except OSError as error:
            raise SourceUnavailable(
                f"the connection to the database failed: {error.strerror or type(error).__name__}",
                hint="run the command again",
            ) from None


def silence(seconds: float) -> SourceUnavailable:
    """Return the error for a server from which nothing has come for so long."""
    return SourceUnavailable(
        f"the database has said nothing for {seconds:g} s",
        hint="raise source.read_timeout if its statements take that long",
    )


def undecodable() -> ValueRefused:
    """Return the error for text that the driver cannot decode, which leaves no trace of where it was."""
    return ValueRefused(
        "a text value is no valid UTF-8",
        hint="correct the value, or select the column as binary data in the query",
    )
