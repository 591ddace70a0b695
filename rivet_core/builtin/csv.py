"""The ``csv`` format: RFC 4180, UTF-8, in which every value can be told apart and read back exactly.

Lines end in CRLF. Columns of text and bytes stand in quotes, all others never do (``csv_values`` has the table); NULL
is the ``null`` text without quotes, by default nothing. So NULL (nothing), the empty string (``""``) and the text
``NULL`` (``"NULL"``) stay apart. In a file of one column NULL is written ``NULL`` instead of nothing: most readers skip
a blank line, and the row with it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, Literal, cast

import pyarrow as pa
import pyarrow.csv as pacsv
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rivet_core.api import Decoder, Encoder, Format, FormatError
from rivet_core.api.compute import compute as pc
from rivet_core.builtin.csv_values import Array, from_text, is_quoted, is_supported, parsed_type, to_text

_EOL: Final = "\r\n"
#: Characters of values that stand without quotes.
_UNQUOTED: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-.:\\")
_NULLS: Final = ["", "NULL", "\\N"]
#: The texts of a batch are built for so many bytes of Arrow data at a time.
_SLICE_BYTES: Final = 4 << 20
#: A row must fit in a block; what does not is read again with the next size.
_BLOCK_BYTES: Final = (4 << 20, 64 << 20, 1 << 30)


class CsvConfig(BaseModel):
    """Options of CSV files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compression: Literal["none"] = Field(default="none", description="CSV files are not compressed.")
    delimiter: str = Field(
        default=",", description="One ASCII character between the fields, such as `,`, `;` or a tab."
    )
    header: bool = Field(default=True, description="Whether the first line holds the column names.")
    null: Literal["", "NULL", "\\N"] = Field(
        default="",
        description=(
            "What NULL is written as, never in quotes; text always is in quotes, so the two cannot be confused. A file "
            "of one column has `NULL` where this is empty, because most readers skip blank lines."
        ),
    )

    @field_validator("delimiter")
    @classmethod
    def _usable(cls, delimiter: str) -> str:
        if len(delimiter) != 1 or not delimiter.isascii():
            raise ValueError("the delimiter is one ASCII character")
        if delimiter in _UNQUOTED or delimiter in '"\r\n\0':
            raise ValueError(f"the delimiter cannot be {delimiter!r}, which values hold without quotes")
        return delimiter


class CsvFormat(Format):
    """CSV with the options of ``config``."""

    self_describing = False

    def __init__(self, config: CsvConfig) -> None:
        self._config = config

    def encoder(self, sink: BinaryIO, schema: pa.Schema, *, group_bytes: int) -> CsvEncoder:
        """Open an encoder. It holds nothing back, whatever ``group_bytes`` is."""
        schema = _plain(schema)
        refused = [field for field in schema if not is_supported(field.type)]
        if refused:
            columns = ", ".join(f"{field.name} ({field.type})" for field in refused)
            block = "".join(f"\n  {json.dumps(field.name, ensure_ascii=False)}: string" for field in refused)
            raise FormatError(
                f"CSV has no lossless form for {columns}",
                hint=f"override the type in the export's configuration:\ncolumns:{block}",
            )
        return CsvEncoder(sink, schema, self._config)

    def decoder(self, source: BinaryIO, schema: pa.Schema | None = None) -> CsvDecoder:
        """Open a decoder; without ``schema`` the columns are those of the header, and every value is text.

        Raises:
            FormatError: there is neither a schema nor a header, or the header names other columns.
        """
        if schema is None:
            schema = _text_schema(source, self._config)
        return CsvDecoder(source, _plain(schema), self._config)


class CsvEncoder(Encoder):
    """Writes the header and then each batch as it comes."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, config: CsvConfig) -> None:
        self._sink = sink
        self._schema = schema
        self._delimiter = config.delimiter
        self._null = config.null or ("NULL" if len(schema) == 1 else "")
        self._written = 0
        self._header = _header(schema, config.delimiter) if config.header else b""
        self._sized: tuple[pa.RecordBatch, list[pa.Buffer]] | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a batch's lines."""
        lines = self._lines(batch)
        self._sized = None
        self._write_header()
        for text in lines:
            self._write(text)

    def size_after(self, batch: pa.RecordBatch) -> int:
        """Return the exact size; the lines are kept for a ``write`` of the same batch."""
        lines = self._lines(batch)
        self._sized = (batch, lines)
        return self._written + len(self._header) + sum(text.size for text in lines)

    def finish(self) -> None:
        """Write the header if there was no batch."""
        self._write_header()

    def close(self) -> None:
        """Forget lines that were not written."""
        self._sized = None

    def _write_header(self) -> None:
        header, self._header = self._header, b""
        if header:
            self._write(header)

    def _write(self, text: bytes | pa.Buffer) -> None:
        self._sink.write(text)
        self._written += len(text)

    def _lines(self, batch: pa.RecordBatch) -> list[pa.Buffer]:
        if self._sized is not None and self._sized[0] is batch:
            return self._sized[1]
        rows = max(1, batch.num_rows * _SLICE_BYTES // max(1, batch.nbytes))
        return [self._slice_lines(batch.slice(start, rows)) for start in range(0, batch.num_rows, rows)]

    def _slice_lines(self, batch: pa.RecordBatch) -> pa.Buffer:
        fields: list[Array] = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                fields.append(_field_text(column))
            except FormatError as error:
                raise FormatError(f"column {name}: {error.message}", hint=error.hint) from error
            except pa.ArrowException as error:
                raise FormatError(f"column {name}: {error}") from error
        rows = pc.binary_join_element_wise(
            *fields, self._delimiter, null_handling="replace", null_replacement=self._null
        )
        return _content(pc.binary_join_element_wise(rows, "", _EOL))


class CsvDecoder(Decoder):
    """Reads one file back with the schema that the manifest records."""

    def __init__(self, source: BinaryIO, schema: pa.Schema, config: CsvConfig) -> None:
        self._source = source
        self._start = source.tell()
        self._schema = schema
        self._config = config

    @property
    def schema(self) -> pa.Schema:
        """The schema that was given, dictionaries as their values."""
        return self._schema

    def row_count(self) -> int:
        """Return the number of rows by parsing the whole file."""
        return sum(batch.num_rows for batch in self._parse(self._schema.names[:1], typed=False))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, about 4 MiB of text at a time."""
        for batch in self._parse(self._schema.names, typed=True):
            with _malformed():
                columns = [
                    from_text(column, field.type) for column, field in zip(batch.columns, self._schema, strict=True)
                ]
                converted = pa.RecordBatch.from_arrays(columns, schema=self._schema)
                converted.validate(full=True)  # pyarrow's parser lets decimals of one digit too many pass
            yield converted

    def _parse(self, names: list[str], *, typed: bool) -> Iterator[pa.RecordBatch]:
        """Yield the named columns as ``csv_values.parsed_type`` says, or as strings."""
        if not self._config.header and not self._has_content():
            return
        done = 0
        for block_bytes in _BLOCK_BYTES:
            seen = 0
            try:
                for batch in self._blocks(names, block_bytes, typed=typed):
                    fresh = batch.slice(max(0, done - seen))
                    seen += batch.num_rows
                    if fresh.num_rows:
                        done += fresh.num_rows
                        yield fresh
            except _RowTooLong:
                continue
            return
        raise FormatError(
            f"a row of the CSV file is longer than {_BLOCK_BYTES[-1] >> 20} MiB, or a quote is not closed"
        )

    def _blocks(self, names: list[str], block_bytes: int, *, typed: bool) -> Iterator[pa.RecordBatch]:
        self._source.seek(self._start)
        watched = _Watched(self._source)
        header = self._config.header
        with _malformed():
            reader = pacsv.open_csv(
                cast(BinaryIO, watched),
                pacsv.ReadOptions(
                    block_size=block_bytes, column_names=None if header else self._schema.names, use_threads=False
                ),
                pacsv.ParseOptions(delimiter=self._config.delimiter, newlines_in_values=True, ignore_empty_lines=False),
                pacsv.ConvertOptions(
                    column_types={
                        field.name: parsed_type(field.type) if typed else pa.string() for field in self._schema
                    },
                    null_values=_NULLS,
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    true_values=["true"],
                    false_values=["false"],
                    timestamp_parsers=[cast(str, pacsv.ISO8601)],
                ),
            )
            if reader.schema.names != self._schema.names:
                raise FormatError(f"the header of the CSV file names other columns: {', '.join(reader.schema.names)}")
        with reader:
            while True:
                with _malformed():
                    batch = next(reader, None)
                    selected = None if batch is None else batch.select(names)
                if selected is None:
                    break
                yield selected
        watched.check_end()

    def _has_content(self) -> bool:
        self._source.seek(self._start)
        return bool(self._source.read(1))


class _RowTooLong(Exception):
    """A row does not fit in a block of the parser."""


class _Watched(io.RawIOBase):
    """Counts quotes on the way to pyarrow's parser, which takes a file that ends inside a field for a whole one."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._quotes = 0
        self._last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._quotes += data.count(b'"')
        self._last = data[-1:] or self._last
        return data

    def check_end(self) -> None:
        if self._quotes % 2 or self._last != b"\n":
            raise FormatError("the CSV file ends in the middle of a row", hint="it was cut off or damaged")


@contextmanager
def _malformed() -> Iterator[None]:
    """Map what pyarrow and the conversions say of text that is no CSV of this schema; a destination's errors pass."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, pa.ArrowException) as error:
        if "straddl" in str(error):
            raise _RowTooLong from error
        raise FormatError(
            f"the file is no CSV of its schema: {error}", hint="`rivet validate` tells whether its bytes have changed"
        ) from error


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return the schema with dictionary columns as their values, which is how CSV holds them."""
    return pa.schema(
        [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema]
    )


def _text_schema(source: BinaryIO, config: CsvConfig) -> pa.Schema:
    """Return the columns that the header names, all of them text, and leave ``source`` where it was."""
    if not config.header:
        raise FormatError("a CSV file without a header does not say its columns", hint="no manifest records its schema")
    start = source.tell()
    lines = io.TextIOWrapper(source, encoding="utf-8", newline="")
    try:
        names = next(csv.reader(lines, delimiter=config.delimiter), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"the file is no CSV: {error}") from error
    finally:
        lines.detach()
        source.seek(start)
    return pa.schema([(name, pa.string()) for name in names])


def _header(schema: pa.Schema, delimiter: str) -> bytes:
    names = ('"' + name.replace('"', '""') + '"' for name in schema.names)
    return (delimiter.join(names) + _EOL).encode()


def _field_text(column: Array) -> Array:
    """Return a column as it stands in the file, NULL as NULL."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    text = to_text(column)
    if not is_quoted(column.type):
        return text
    if b'"' in memoryview(_content(text)).tobytes():
        text = pc.replace_substring(text, '"', '""')
    return pc.binary_join_element_wise('"', text, '"', "")


def _content(text: Array) -> pa.Buffer:
    """Return the characters of a string array as one buffer."""
    _, offsets, content = text.buffers()
    bounds = memoryview(offsets).cast("i")
    start, stop = bounds[text.offset], bounds[text.offset + len(text)]
    return content.slice(start, stop - start) if content is not None else pa.py_buffer(b"")
