"""ADBC's PostgreSQL driver: two ranges of the key, numerics cast from the text that it gives to what the column is."""

import re

import adbc_driver_postgresql.dbapi as driver
import pyarrow as pa
from database import LOCATION, TABLE
from parquet import both, write

DECIMAL = re.compile(r"numeric\((\d+),(\d+)\)")
COLUMNS = f"SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass"


def export(name: str, first: int, last: int) -> None:
    """Write one range."""
    with driver.connect("postgresql" + LOCATION) as connection, connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        types = dict(cursor.fetchall())
        cursor.execute(f"SELECT * FROM {TABLE} WHERE id BETWEEN {first} AND {last}")
        batches = cursor.fetch_record_batch()
        schema = pa.schema([wanted(field, types[field.name]) for field in batches.schema])
        write(name, schema, (cast(batch, schema) for batch in batches))


def wanted(field: pa.Field, declared: str) -> pa.Field:
    """Return the decimal that a numeric column is."""
    found = DECIMAL.fullmatch(declared)
    return field.with_type(pa.decimal128(*map(int, found.groups()))) if found else field


def cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the columns of the schema."""
    columns = [
        plain(column).cast(field.type) if pa.types.is_decimal(field.type) else column
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def plain(column: pa.Array) -> pa.Array:
    """Return what an extension type stores."""
    return column.storage if isinstance(column, pa.ExtensionArray) else column


both(export)
