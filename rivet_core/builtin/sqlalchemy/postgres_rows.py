"""Takes the rows of a server's cursor out of libpq's results: many small statements, a list of rows from each result.

Numbers and booleans come as the driver's own values, of which Arrow makes columns without parsing; all else as text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from rivet_core.builtin.sqlalchemy.columns import is_wide

if TYPE_CHECKING:
    from rivet_core.api import ReadOptions
    from rivet_core.builtin.sqlalchemy.clock import Clock
    from rivet_core.builtin.sqlalchemy.columns import ResultColumn
    from rivet_core.builtin.sqlalchemy.stream import Row

# A FETCH is a statement of its own to statement_timeout; above these seconds the next one asks for fewer rows.
_FETCH_SECONDS: Final = 0.2
_FIRST_FETCH_ROWS: Final = 64
_MAX_FETCH_ROWS: Final = 8192
# Rows that libpq holds at a time: few, for a value may have many megabytes, and twice that as hexadecimal text.
_CHUNK_ROWS: Final = 4
_NARROW_CHUNK_ROWS: Final = 16
# What psycopg calls a type by whose loader a column is read, by the column's Arrow type.
_LOADED: Final[Mapping[pa.DataType, str]] = {
    pa.bool_(): "bool",
    pa.int16(): "int2",
    pa.int32(): "int4",
    pa.int64(): "int8",
    pa.uint32(): "oid",
    pa.float64(): "float8",
}


def loads(column: ResultColumn, target: pa.DataType) -> bool:
    """Whether the driver's values of a column are what Arrow makes the target of; else they are text."""
    return target == column.type and target in _LOADED


class FetchedRows:
    """The rows of a cursor that has been declared.

    Args:
        driver: psycopg.
        connection: of psycopg, on which nothing else runs meanwhile; it loads all but ``bytea`` as text.
        name: the cursor's.
        columns: of its result.
        options: how the export wants the values read.
    """

    def __init__(
        self, driver: Any, connection: Any, name: str, columns: Sequence[ResultColumn], options: ReadOptions
    ) -> None:
        self._driver = driver
        self._connection = connection
        self._name = name
        chunked = driver.capabilities.has_stream_chunked()
        narrow = not any(is_wide(column, options) for column in columns)
        self._chunk_rows = (_NARROW_CHUNK_ROWS if narrow else _CHUNK_ROWS) if chunked else 1
        self._loader = _loader(driver, connection, [_loaded_as(column, options) for column in columns])

    def lists(self, clock: Clock) -> Iterator[list[Row]]:
        """Yield the rows, FETCH by FETCH.

        The server computes and stores all rows of a FETCH before it sends the first one, so their number follows the
        time that this takes: statements stay short, and so does what the server stores of large rows.
        """
        count = _FIRST_FETCH_ROWS
        while True:
            clock.start()
            started, seconds, fetched = time.monotonic(), 0.0, 0
            try:
                for result in self._results(f"FETCH FORWARD {count} FROM {self._name}"):
                    seconds = seconds or time.monotonic() - started
                    if result.ntuples:
                        self._loader.set_pgresult(result, set_loaders=False)
                        yield self._loader.load_rows(0, result.ntuples, tuple)
                        fetched += result.ntuples
            finally:
                clock.stop()
            if fetched < count:
                return
            count = min(count * 2, _MAX_FETCH_ROWS) if seconds < _FETCH_SECONDS else max(count // 2, 1)

    def _results(self, statement: str) -> Iterator[Any]:
        """Yield the results of a statement as libpq has them; it is waited for where it has none yet."""
        driver, connection, pgconn = self._driver, self._connection, self._connection.pgconn
        status = driver.pq.ExecStatus
        rows = (status.TUPLES_CHUNK, status.SINGLE_TUPLE, status.TUPLES_OK)
        pgconn.send_query_params(statement.encode(), None)
        if self._chunk_rows > 1:
            pgconn.set_chunked_rows_mode(self._chunk_rows)
        else:
            pgconn.set_single_row_mode()
        connection.wait(driver.generators.send(pgconn))
        while True:
            busy = pgconn.is_busy()
            result = connection.wait(driver.generators.fetch(pgconn)) if busy else pgconn.get_result()
            if result is None:
                return
            if result.status not in rows:
                raise driver.errors.error_from_result(result, encoding=connection.info.encoding)
            yield result


def _loaded_as(column: ResultColumn, options: ReadOptions) -> str:
    """Return the type by whose loader a column is read."""
    if column.type == pa.binary():
        return "bytea"
    if column.type is not None and loads(column, options.columns.get(column.name, column.type)):
        return _LOADED[column.type]
    return "text"


def _loader(driver: Any, connection: Any, types: Sequence[str]) -> Any:
    """Return what turns results into rows, with the types' own loaders."""
    cursor = connection.cursor()
    numeric = driver.types.numeric
    for name in _LOADED.values():
        loader = {"bool": driver.types.bool.BoolLoader, "float8": numeric.FloatLoader}.get(name, numeric.IntLoader)
        cursor.adapters.register_loader(name, loader)
    transformer = driver.adapt.Transformer(cursor)
    transformer.set_loader_types([driver.adapters.types[name].oid for name in types], driver.pq.Format.TEXT)
    return transformer
