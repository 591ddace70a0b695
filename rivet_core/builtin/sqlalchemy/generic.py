"""Any other database with a SQLAlchemy dialect: types by reflection or by a first look, values by their class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pyarrow as pa
import sqlalchemy
from sqlalchemy import types

from rivet_core.api import QueryError, RivetError, SourceError, SourceUnavailable
from rivet_core.builtin.sqlalchemy import values
from rivet_core.builtin.sqlalchemy.backend import Backend, Result
from rivet_core.builtin.sqlalchemy.clock import Clock
from rivet_core.builtin.sqlalchemy.columns import MAX_DECIMAL_DIGITS, ResultColumn
from rivet_core.builtin.sqlalchemy.look import first_look, looked_at

if TYPE_CHECKING:
    from rivet_core.api import Query, Snapshot, TableName
    from rivet_core.builtin.sqlalchemy.text import Decoder

#: SQLAlchemy's generic types, the narrower ones first.
REFLECTED_TYPES: Final[tuple[tuple[type[types.TypeEngine[Any]], pa.DataType], ...]] = (
    (types.Boolean, pa.bool_()),
    (types.SmallInteger, pa.int16()),
    (types.BigInteger, pa.int64()),
    (types.Integer, pa.int64()),
    (types.Float, pa.float64()),
    (types.Date, pa.date32()),
    (types.Time, pa.time64("us")),
    (types.Interval, pa.duration("us")),
    (types.Uuid, pa.uuid()),
    (types.JSON, pa.json_(pa.string())),
    (types.LargeBinary, pa.binary()),
    (types.String, pa.string()),
)
_FETCH_ROWS: Final = 100


class Generic(Backend):
    """A database that this source knows through its dialect alone."""

    name: ClassVar[str] = "sqlalchemy"

    @contextmanager
    def run(self, query: Query, snapshot: Snapshot | None = None) -> Iterator[Result]:
        """Run the query with the dialect's way to stream; the raw cursor is read, so nothing converts its values."""
        statement, params = self.statement(query)
        declared = self._declared(query.table) if query.table is not None else {}
        with self.failures():
            connection = self.engine.connect().execution_options(stream_results=True)
        clock = Clock()
        try:
            with self.failures():
                cursor: Any = connection.exec_driver_sql(statement, params).cursor
                if cursor is None or cursor.description is None:
                    raise QueryError("the query has no columns", hint="write a SELECT statement")
                names = [str(item[0]) for item in cursor.description]
                seen, rows = first_look(_fetch(cursor))
            columns = [
                declared.get(name) or looked_at(name, [row[index] for row in seen], query.columns)
                for index, name in enumerate(names)
            ]
            yield Result(columns, clock.until_the_end(rows), clock)
        finally:
            connection.invalidate()
            connection.close()

    def _declared(self, table: TableName) -> dict[str, ResultColumn | None]:
        with self.failures():
            reflected = sqlalchemy.inspect(self.engine).get_columns(table.table, schema=table.schema)
        return {
            item["name"]: replace(column, nullable=item.get("nullable", True))
            if (column := reflected_column(item["name"], item["type"]))
            else None
            for item in reflected
        }

    def decoder(self, column: ResultColumn, target: pa.DataType, overridden: bool) -> Decoder | None:
        """Decode by the class of the driver's values."""
        if not values.convertible(target):
            return None
        return partial(values.decode, target=target, overridden=overridden)

    def failure(self, error: Exception, statement: str = "") -> RivetError:
        """Map by the classes of PEP 249; drivers' messages are left out, for they quote values."""
        name = type(error).__name__
        for base, build, message in _FAILURES:
            if isinstance(error, getattr(self.driver, base, ())):
                return build(f"{message} ({name})", hint="try the query in the database's own client")
        return SourceError(f"the database failed ({name})")


_FAILURES: Final[tuple[tuple[str, type[RivetError], str], ...]] = (
    ("ProgrammingError", QueryError, "the database refuses the query"),
    ("DataError", QueryError, "the query fails on a value"),
    ("NotSupportedError", QueryError, "the database does not support the query"),
    ("OperationalError", SourceUnavailable, "cannot connect to the database, or it failed"),
    ("InterfaceError", SourceUnavailable, "cannot connect to the database, or it failed"),
)


def reflected_column(name: str, type_: types.TypeEngine[Any]) -> ResultColumn | None:
    """Map a column by its reflected type; ``None`` for one that a first look must tell."""
    source_type = str(type_).lower() if not isinstance(type_, types.NullType) else ""
    column: Callable[..., ResultColumn] = partial(ResultColumn, name, source_type, fidelity="checked")
    if isinstance(type_, types.DateTime):
        return column(pa.timestamp("us", "UTC" if type_.timezone else None))
    if isinstance(type_, types.Numeric) and not isinstance(type_, types.Float):
        precision, scale = type_.precision or 0, type_.scale or 0
        if not scale <= precision <= MAX_DECIMAL_DIGITS or not precision:
            return column(None, problem="has no precision that a decimal has", numeric="value")
        return column(pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale))
    return next((column(arrow) for kind, arrow in REFLECTED_TYPES if isinstance(type_, kind)), None)


def _fetch(cursor: Any) -> Iterator[Sequence[Any]]:
    while rows := cursor.fetchmany(_FETCH_ROWS):
        yield from rows
