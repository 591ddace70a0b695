"""The ``parquet`` format: exact types, row groups bounded in memory, every page with a checksum.

What Parquet has no type of its own for is read back exactly through the Arrow schema that pyarrow stores in the footer
(``ARROW:schema``): a duration is an INT64 of its unit to readers that do not look there. A type that cannot be read
back as it was written is refused before the first row.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rivet_core.api import Decoder, Encoder, Format, FormatError
from rivet_core.api.compute import call_function
from rivet_core.builtin.parquet_bounds import RowGroupBound
from rivet_core.contract.types import storage_type, type_name

_LEVELS: Final = {"zstd": range(1, 23), "gzip": range(1, 10)}
#: On lineitem-like rows zstd 3 takes a sixth more CPU than 1 for the whole encoding and saves nothing.
_DEFAULT_LEVELS: Final = {"zstd": 1, "gzip": 6}
_SINK_BUFFER_BYTES: Final = 1 << 20
_READ_BUFFER_BYTES: Final = 1 << 20
_READ_BATCH_BYTES: Final = 16 << 20
_READ_BATCH_ROWS: Final = 1 << 16
#: A column gets a dictionary if at most one in six of the first values is distinct.
_SAMPLE_ROWS: Final = 1 << 14
_SAMPLE_ROWS_PER_VALUE: Final = 6
#: A decimal of more digits is an array of bytes in the file.
_INTEGER_DIGITS: Final = 18


class ParquetConfig(BaseModel):
    """Options of Parquet files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = Field(
        default="zstd", description="Codec of the column chunks."
    )
    compression_level: int | None = Field(
        default=None, description="Level of `zstd` (1 to 22, default 1) or `gzip` (1 to 9, default 6)."
    )
    integers: Literal["plain", "delta"] = Field(
        default="plain",
        description="How whole numbers, decimals of up to 18 digits, dates and times are encoded that have too many "
        "values for a dictionary. `delta` (DELTA_BINARY_PACKED) is smaller and faster; some readers cannot read it.",
    )

    @model_validator(mode="after")
    def _level_fits(self) -> ParquetConfig:
        if self.compression_level is not None:
            levels = _LEVELS.get(self.compression)
            if levels is None:
                raise ValueError(f"compression {self.compression} has no compression_level")
            if self.compression_level not in levels:
                raise ValueError(
                    f"compression_level of {self.compression} goes from {levels[0]} to {levels[-1]}, "
                    f"not {self.compression_level}"
                )
        return self


class ParquetFormat(Format):
    """Parquet with the options of ``config``."""

    def __init__(self, config: ParquetConfig) -> None:
        self.compression = config.compression
        #: Arguments of ``pyarrow.parquet.ParquetWriter``.
        self.options: Final[dict[str, Any]] = {
            "compression": config.compression,
            "compression_level": config.compression_level or _DEFAULT_LEVELS.get(config.compression),
            "store_decimal_as_integer": True,
            "write_page_checksum": True,
        }
        self._delta = config.integers == "delta"

    def encoder(self, sink: BinaryIO, schema: pa.Schema, *, group_bytes: int) -> ParquetEncoder:
        """Open an encoder whose row groups hold at most ``group_bytes`` of Arrow data (or one row)."""
        empty = _lossless_empty_file(schema)
        if empty is None:
            raise _refusal(schema)
        return ParquetEncoder(sink, schema, empty.size, group_bytes=group_bytes, open_writer=self.open_writer)

    def open_writer(self, sink: pa.NativeFile, schema: pa.Schema, dictionary: Sequence[str]) -> RowGroupWriter:
        """Open what writes row groups into a file.

        Args:
            dictionary: paths of the leaf columns that get a dictionary.
        """
        columns = self.delta_columns(schema, dictionary)
        encodings = dict.fromkeys(columns, "DELTA_BINARY_PACKED")
        options = {**self.options, "use_dictionary": list(dictionary), "column_encoding": encodings or None}
        return _ArrowWriter(pq.ParquetWriter(sink, schema, **options))

    def delta_columns(self, schema: pa.Schema, dictionary: Sequence[str]) -> list[str]:
        """Return the columns that hold the differences of their values."""
        integers = [field.name for field in schema if self._delta and _is_integer(field.type)]
        return [name for name in integers if name not in dictionary]

    def decoder(self, source: BinaryIO, schema: pa.Schema | None = None) -> ParquetDecoder:
        """Open a decoder; the file's own schema counts, ``schema`` is not needed."""
        return ParquetDecoder(source)


class RowGroupWriter(Protocol):
    """Writes row groups into one file."""

    def write_table(self, table: pa.Table) -> None:
        """Write one row group."""

    def close(self) -> None:
        """Write the footer."""


class ParquetEncoder(Encoder):
    """Collects batches and writes them as row groups.

    Args:
        sink: any object with ``write``.
        empty_bytes: size of a file with this schema and no rows.
        group_bytes: bound of what is held back, in bytes of Arrow data.
        open_writer: opens what writes row groups, as ``ParquetFormat.open_writer``.
    """

    def __init__(
        self,
        sink: BinaryIO,
        schema: pa.Schema,
        empty_bytes: int,
        *,
        group_bytes: int,
        open_writer: Callable[[pa.NativeFile, pa.Schema, Sequence[str]], RowGroupWriter],
    ) -> None:
        self._gate = _Gate(sink)
        self._out = pa.BufferedOutputStream(pa.PythonFile(self._gate, mode="w"), _SINK_BUFFER_BYTES)
        self._schema = schema
        self._group_bytes = group_bytes
        self._open_writer = open_writer
        self._writer: RowGroupWriter | None = None
        self._footer_bytes = empty_bytes
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._bound = RowGroupBound(schema)
        self._bounded = False  # from the first question for the size on: who never asks need not wait for the answer

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; row groups are written as they fill up."""
        for piece in self._pieces(batch):
            if self._pending_bytes + piece.nbytes > self._group_bytes:
                self._flush()
            self._pending.append(piece)
            self._pending_bytes += piece.nbytes
            if self._bounded:
                self._bound.add(piece)
        if self._pending_bytes >= self._group_bytes:
            self._flush()

    def size_after(self, batch: pa.RecordBatch) -> int:
        """Return an upper bound: what is written, and the rest as if no byte of it could be compressed.

        A part therefore ends up to one row group below the size that the core rolls over at; the smaller
        ``group_bytes`` is, the closer it gets.
        """
        if not self._bounded:
            self._bounded = True
            for piece in self._pending:
                self._bound.add(piece)
        groups = 2 + batch.nbytes // self._group_bytes
        return int(self._out.tell()) + self._bound.size_with(batch, groups) + self._footer_bytes

    def finish(self) -> None:
        """Write the last row group and the footer. Without any batch the file has the schema and no rows."""
        self._flush()
        if self._writer is None:
            self._writer = self._open_writer(self._out, self._schema, [])
        self._writer.close()
        self._out.flush()
        self._gate.shut()

    def close(self) -> None:
        """Release what is held back. The library writes a footer even so, which goes nowhere."""
        self._gate.shut()
        self._pending = []
        self._writer = None

    def _flush(self) -> None:
        if not self._pending:
            return
        table = _with_one_dictionary(pa.Table.from_batches(self._pending, self._schema))
        self._footer_bytes += self._bound.footer_bytes() if self._bounded else self._bound.most_footer_bytes()
        self._bound.clear()
        self._pending, self._pending_bytes = [], 0
        if self._writer is None:
            self._writer = self._open_writer(self._out, self._schema, _repetitive_columns(table))
        with _refusals():
            self._writer.write_table(table)

    def _pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yield ``batch`` in slices of at most about ``group_bytes``."""
        if batch.nbytes <= self._group_bytes:
            yield batch
            return
        rows = max(1, batch.num_rows * self._group_bytes // batch.nbytes)
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


class ParquetDecoder(Decoder):
    """Reads one file back. Checksums of pages are verified where the file has them."""

    def __init__(self, source: BinaryIO) -> None:
        with _corruption():
            self._file = pq.ParquetFile(source, buffer_size=_READ_BUFFER_BYTES, page_checksum_verification=True)
            self._schema: pa.Schema = self._file.schema_arrow
        if self._file.metadata.num_rows < 0:
            raise FormatError("the Parquet file is damaged: it claims a negative number of rows")

    @property
    def schema(self) -> pa.Schema:
        """The schema, extension types included."""
        return self._schema

    def row_count(self) -> int:
        """Return the number of rows by the footer."""
        return int(self._file.metadata.num_rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of about 16 MiB, each one validated.

        A batch never spans row groups, so it is no larger than one however much its dictionaries save.
        """
        for group in range(self._file.metadata.num_row_groups):
            with _corruption():
                batches = self._file.iter_batches(batch_size=self._batch_rows(group), row_groups=[group])
            while True:
                with _corruption():
                    batch = next(batches, None)
                    if batch is None:
                        break
                    batch.validate(full=True)
                yield batch

    def close(self) -> None:
        """Release the reader."""
        self._file.close()

    def _batch_rows(self, group: int) -> int:
        metadata = self._file.metadata.row_group(group)
        row_bytes = max(1.0, metadata.total_byte_size / max(1, metadata.num_rows))
        return min(_READ_BATCH_ROWS, max(1, int(_READ_BATCH_BYTES / row_bytes)))


class _ArrowWriter:
    """pyarrow's writer."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer

    def write_table(self, table: pa.Table) -> None:
        for column in table.columns:
            if _has_decimals(column.type):
                column.validate(full=True)  # of one with more digits than its type the writer cuts off the high bytes
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        self._writer.close()


class _Gate(io.RawIOBase):
    """Passes writes on to a sink until it is shut.

    pyarrow writes a footer when an unfinished writer is dropped, and closes the file below; neither may reach the sink.
    """

    def __init__(self, sink: BinaryIO) -> None:
        self._sink: BinaryIO | None = sink

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # typeshed: any buffer; pyarrow passes bytes
        if self._sink is not None:
            self._sink.write(data)
        return len(data)

    def shut(self) -> None:
        self._sink = None


@contextmanager
def _refusals() -> Iterator[None]:
    """Map what pyarrow says of values that it cannot write; errors of the sink pass."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowCapacityError) as error:
        raise FormatError(f"Parquet cannot hold a value: {error}") from error


@contextmanager
def _corruption() -> Iterator[None]:
    """Map what pyarrow says of bytes that are no Parquet; errors of the destination pass.

    ``OSError`` and ``ValueError`` cover pyarrow's own classes and undecodable text; a destination raises neither.
    ``MemoryError`` is a damaged length.
    """
    try:
        yield
    except (OSError, ValueError, MemoryError, OverflowError, pa.ArrowException) as error:
        raise FormatError(
            f"the file is no intact Parquet: {error}", hint="`rivet validate` tells whether its bytes have changed"
        ) from error


def empty_file(schema: pa.Schema, **options: Any) -> pa.Buffer:
    """Return a file of no rows, written with ``options`` of pyarrow's writer."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, **options):
        pass
    return sink.getvalue()


def _lossless_empty_file(schema: pa.Schema) -> pa.Buffer | None:
    """Return a file of no rows, or ``None`` if it does not come back with the type names of ``schema``."""
    try:
        empty = empty_file(schema)
        read_back = pq.read_schema(pa.BufferReader(empty))
        same = [type_name(field.type) for field in read_back] == [type_name(field.type) for field in schema]
    except (pa.ArrowException, OSError, ValueError):  # no Parquet type, a scale it refuses, a type without a name
        return None
    return empty if same else None


def _refusal(schema: pa.Schema) -> FormatError:
    """Return the error that names every column without a lossless form, and the override to write."""
    refused = [field for field in schema if _lossless_empty_file(pa.schema([field])) is None]
    columns = ", ".join(f"{field.name} ({field.type})" for field in refused)
    block = "".join(f"\n  {json.dumps(field.name, ensure_ascii=False)}: string" for field in refused)
    return FormatError(
        f"Parquet has no lossless form for {columns}",
        hint=f"override the type in the export's configuration:\ncolumns:{block}",
    )


def _with_one_dictionary(table: pa.Table) -> pa.Table:
    """Return the table with one dictionary for each column; the writer gives them up at a column's second one."""
    try:
        return table.unify_dictionaries()
    except pa.ArrowException:  # more values than the indices can count, or of a type that Arrow does not compare
        return table


def _repetitive_columns(table: pa.Table) -> list[str]:
    """Return the paths of the leaf columns that gain by a dictionary.

    Where the first values are mostly distinct a dictionary only costs: the writer hashes every value until the
    dictionary is full, then falls back. Leaves of nested columns keep it.
    """
    sample = table.slice(0, _SAMPLE_ROWS)
    paths = []
    for name, column in zip(sample.column_names, sample.columns, strict=True):
        storage = storage_type(column.type)
        if pa.types.is_nested(storage):
            paths += _leaf_paths(table.schema.field(name))
        elif pa.types.is_dictionary(storage) or _is_repetitive(_stored(column)):
            paths.append(name)
    return paths


def _is_integer(data_type: pa.DataType) -> bool:
    """Whether Parquet keeps the values as integers of 32 or 64 bits."""
    storage = storage_type(data_type)
    if pa.types.is_decimal(storage):
        return bool(storage.precision <= _INTEGER_DIGITS)
    return pa.types.is_integer(storage) or pa.types.is_temporal(storage)


def _has_decimals(data_type: pa.DataType) -> bool:
    storage = storage_type(data_type)
    if pa.types.is_dictionary(storage):
        return _has_decimals(storage.value_type)
    if pa.types.is_nested(storage):
        return any(_has_decimals(storage.field(index).type) for index in range(storage.num_fields))
    return bool(pa.types.is_decimal(storage))


def _leaf_paths(field: pa.Field[Any]) -> list[str]:
    leaves = pq.ParquetFile(pa.BufferReader(empty_file(pa.schema([field])))).schema
    return [leaves.column(index).path for index in range(len(leaves))]


def _stored(column: Any) -> Any:
    """Return the values that an extension type stands for; ``cast`` would load ``pyarrow.compute``."""
    while isinstance(column.type, pa.BaseExtensionType):
        stored_type: Any = column.type.storage_type
        column = pa.chunked_array([array.storage for array in column.chunks], stored_type)
    return column


def _is_repetitive(column: pa.ChunkedArray[Any]) -> bool:
    try:
        distinct = call_function("count_distinct", [column]).as_py()
    except pa.ArrowNotImplementedError:
        return True
    return bool(distinct * _SAMPLE_ROWS_PER_VALUE <= len(column))
