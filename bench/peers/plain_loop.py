"""The loop that one writes by hand: ``plain_loop.py rows|columns TARGET`` exports ``mixed`` of BENCH_URL with zstd 1.

``rows`` makes a dict of each of SQLAlchemy's rows, which SQLAlchemy has converted, and lets pyarrow turn the dicts into
columns. ``columns`` takes tuples from the driver's own cursor and turns each column into an array; what SQLite's driver
does not convert, the loop converts value by value.
"""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy
from pymysql.cursors import SSCursor

FETCH_ROWS = 10_000

FIELDS = [
    ("id", pa.int64()),
    ("customer", pa.int32()),
    ("quantity", pa.int16()),
    ("weight", pa.float64()),
    ("price", pa.decimal128(12, 2)),
    ("discount", pa.decimal128(6, 4)),
    ("status", pa.string()),
    ("note", pa.string()),
    ("ordered", pa.date32()),
    ("shipped", pa.date32()),
    ("updated", pa.timestamp("us")),
]
Values = tuple[Any, ...]
CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "price": lambda value: Decimal(str(value)),
    "discount": lambda value: Decimal(str(value)),
    "ordered": date.fromisoformat,
    "shipped": date.fromisoformat,
    "updated": datetime.fromisoformat,
}


def rows(engine: sqlalchemy.Engine, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read row by row."""
    with engine.connect() as connection:
        table = sqlalchemy.Table("mixed", sqlalchemy.MetaData(), autoload_with=connection)
        table.c.weight.type = sqlalchemy.Double()  # MySQL's dialect makes decimals of them
        result = connection.execution_options(yield_per=FETCH_ROWS).execute(sqlalchemy.select(table))
        for partition in result.partitions():
            yield pa.RecordBatch.from_pylist([dict(row._mapping) for row in partition], schema)


def columns(engine: sqlalchemy.Engine, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read batches of rows and transpose them."""
    conversions = CONVERSIONS if engine.dialect.name == "sqlite" else {}
    cursor = open_cursor(engine)
    cursor.execute("SELECT * FROM mixed")
    while fetched := cursor.fetchmany(FETCH_ROWS):
        converted = [
            convert_all(values, conversions.get(name))
            for name, values in zip(schema.names, zip(*fetched, strict=True), strict=True)
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(converted, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def open_cursor(engine: sqlalchemy.Engine) -> Any:
    """Open a cursor that does not fetch the whole result at once."""
    connection: Any = engine.raw_connection()
    if engine.dialect.name == "postgresql":
        return connection.cursor("mixed")
    if engine.dialect.name == "mysql":
        return connection.cursor(SSCursor)
    return connection.cursor()


def convert_all(values: Values, convert: Callable[[Any], Any] | None) -> Values | list[Any]:
    """Convert what is not NULL."""
    if convert is None:
        return values
    return [None if value is None else convert(value) for value in values]


def main() -> None:
    """Export the table."""
    form, target = sys.argv[1:]
    engine = sqlalchemy.create_engine(os.environ["BENCH_URL"])
    # SQLite has one width of integers.
    wide = engine.dialect.name == "sqlite"
    schema = pa.schema([(name, pa.int64() if wide and pa.types.is_integer(type_) else type_) for name, type_ in FIELDS])
    read = {"rows": rows, "columns": columns}[form]
    with pq.ParquetWriter(target, schema, compression="zstd", compression_level=1) as writer:
        for batch in read(engine, schema):
            writer.write_batch(batch)


main()
