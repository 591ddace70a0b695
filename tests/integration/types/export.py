"""Stores values in a table of one engine, exports it through the source and the formats, and reads the files back."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from integration.types.cases import Engine
from rivet_core.api import Format, ReadOptions, Source, SourceColumn, SourceContext
from rivet_core.builtin.csv import CsvConfig, CsvFormat
from rivet_core.builtin.parquet import ParquetConfig, ParquetFormat
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.builtin.sqlalchemy.source import open_source

GROUP_BYTES = 1 << 20


@dataclass(frozen=True)
class Column:
    """A column to create: its name is its declared type.

    Attributes:
        declared: the type as ``CREATE TABLE`` has it.
        values: what to insert, row by row.
        null: whether it is declared nullable.
    """

    declared: str
    values: Sequence[object]
    null: bool = True


@dataclass(frozen=True)
class Exported:
    """A table after its export.

    Attributes:
        columns: how the source describes them.
        parquet: the rows as pyarrow reads them from the Parquet file, without any code of ours.
        parquet_types: the Parquet type of every top-level column, by name.
        csv: the rows as the CSV decoder reads them with the schema of the source.
    """

    columns: Sequence[SourceColumn]
    parquet: pa.Table
    parquet_types: dict[str, str]
    csv: pa.Table


def create_table(connection: Any, engine: Engine, table: str, columns: Sequence[Column]) -> None:
    """Create a table and insert the columns' values through a driver's connection."""
    definitions = ", ".join(
        f"{engine.quoted(column.declared)} {column.declared} {'' if column.null else 'NOT NULL'}" for column in columns
    )
    marks = ", ".join([engine.mark] * len(columns))
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"CREATE TABLE {engine.quoted(table)} ({definitions})")
        for row in zip(*(column.values for column in columns), strict=True):
            cursor.execute(f"INSERT INTO {engine.quoted(table)} VALUES ({marks})", row)


def open_database(url: str, options: ReadOptions | None = None) -> Source:
    """Open the source on a database URL."""
    dialect = url.split(":", 1)[0].split("+", 1)[0]
    context = SourceContext(base_dir=Path("/"), options=options or ReadOptions())
    return open_source(SqlalchemyConfig(url=url, dialect=dialect), context)


def read_table(url: str, table: str) -> tuple[Sequence[SourceColumn], list[pa.RecordBatch]]:
    """Read a whole table through the source."""
    with closing(open_database(url)) as source:
        query = source.table_query(table)
        schema = source.describe(query)
        with source.read(query, batch_bytes=GROUP_BYTES) as stream:
            batches = list(stream)
    assert all(batch.schema.equals(schema.arrow()) for batch in batches)
    return schema.columns, batches


def export(url: str, table: str) -> Exported:
    """Export a table as a run does and read the Parquet and the CSV file back."""
    columns, batches = read_table(url, table)
    schema = batches[0].schema
    parquet = encode(ParquetFormat(ParquetConfig()), schema, batches)
    with pq.ParquetFile(io.BytesIO(parquet)) as file:
        from_parquet = file.read()
        types = _parquet_types(file.schema)
    csv = CsvFormat(CsvConfig())
    with csv.decoder(io.BytesIO(encode(csv, schema, batches)), schema) as decoder:
        from_csv = pa.Table.from_batches(decoder.batches(), decoder.schema)
    return Exported(columns, from_parquet, types, from_csv)


def encode(format_: Format, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> bytes:
    """Return the bytes of one part."""
    sink = io.BytesIO()
    with closing(format_.encoder(sink, schema, group_bytes=GROUP_BYTES)) as encoder:
        for batch in batches:
            encoder.write(batch)
        encoder.finish()
    return sink.getvalue()


def _parquet_types(schema: pq.ParquetSchema) -> dict[str, str]:
    types = {}
    for index in range(len(schema)):
        leaf = schema.column(index)
        name = leaf.path.removesuffix(".list.element")
        types[name] = _leaf_type(leaf) if name == leaf.path else f"LIST of {_leaf_type(leaf)}"
    return types


def _leaf_type(leaf: pq.ColumnSchema) -> str:
    """Return a leaf's logical type as the Parquet specification writes it, or its physical type."""
    logical = json.loads(leaf.logical_type.to_json())
    match logical["Type"]:
        case "None":
            return str(leaf.physical_type)
        case "Decimal":
            return f"DECIMAL({logical['precision']},{logical['scale']})"
        case "Int":
            return f"INT({logical['bitWidth']}, {'signed' if logical['isSigned'] else 'unsigned'})"
        case "Time" | "Timestamp" as kind:
            return f"{kind.upper()}({logical['timeUnit']}, {'UTC' if logical['isAdjustedToUTC'] else 'local'})"
        case name:
            return str(name).upper()
