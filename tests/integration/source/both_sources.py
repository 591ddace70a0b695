"""Reads one query through the native and through the built-in source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy

from rivet_core.api import Query, ReadOptions, RivetError, Source, SourceContext
from rivet_core.builtin.sqlalchemy import source as builtin
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.builtin.sqlalchemy.mysql import Mysql
from rivet_core.testing import SourceHarness, TypeCase
from rivet_mysql import source as mysql
from rivet_mysql.config import MysqlConfig
from rivet_postgres import source as postgres
from rivet_postgres.config import PostgresConfig
from servers.database import DatabaseServer

BATCH_BYTES = 1_000_000

Open = Callable[..., Source]


def open_native(url: str, **options: object) -> Source:
    """Open the native source of the URL's database; the test fails if it is not native."""
    context = SourceContext(Path("/"), ReadOptions(**options))
    if url.startswith("postgres"):
        source: Source = postgres.open_source(PostgresConfig(url=url), context)
    else:
        source = mysql.open_source(MysqlConfig(url=url), context)
    is_native = isinstance(source, postgres.NativeSource | mysql.NativeSource)
    assert is_native, "the native decoder is not built: make .venv/.installed"
    return source


def open_as_text(url: str, **options: object) -> Source:
    """Open the native source of MySQL or MariaDB as it is where the server prepares nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mysql, "BinaryMysql", Mysql)
        return open_native(url, **options)


def native_harness(server: DatabaseServer, types: Sequence[TypeCase]) -> Iterator[SourceHarness]:
    """Yield what the conformance kit needs to know about the native source of a server."""
    database = server.create_database()
    with closing(open_native(database.url)):  # or the kit would prove the built-in source once more
        pass
    engine = sqlalchemy.create_engine(database.url)
    yield SourceHarness(
        config={"url": database.url},
        engine=engine,
        types=types,
        unreachable={"url": database.through(1).url},
        secrets=[database.password],
    )
    engine.dispose()


def open_builtin(url: str, **options: object) -> Source:
    """Open the built-in source."""
    return builtin.open_source(SqlalchemyConfig(url=url), SourceContext(Path("/"), ReadOptions(**options)))


def read(
    open_source: Open, url: str, query: Query | str, batch_bytes: int = BATCH_BYTES, **options: object
) -> pa.Table:
    """Read a query, or a whole table by its name."""
    with closing(open_source(url, **options)) as source:
        query = source.table_query(query) if isinstance(query, str) else query
        with source.read(query, batch_bytes=batch_bytes) as stream:
            assert stream.schema == source.describe(query).arrow()
            table = pa.Table.from_batches(stream, stream.schema)
    table.validate(full=True)
    return table


def outcome(open_source: Open, url: str, query: Query | str, **options: object) -> object:
    """Return the rows as Python values, or the error that the read ends with."""
    try:
        table = read(open_source, url, query, **options)
    except RivetError as error:
        return type(error), error.message, error.hint
    return table.schema, [repr(column.to_pylist()) for column in table.columns]


def check_same(url: str, query: Query | str, **options: object) -> None:
    """Check that both sources come to the same, be it rows or an error."""
    expected = outcome(open_builtin, url, query, **options)
    found = outcome(open_native, url, query, **options)
    assert found == expected, (found, expected)
