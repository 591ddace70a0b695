"""Writes a Parquet file of flat columns: row groups from native code, the schema as pyarrow writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa

from rivet_parquet import __version__
from rivet_parquet.chunk import UNCOMPRESSED, Chunk, Codec, ColumnWriter, Output
from rivet_parquet.layout import Layout
from rivet_parquet.thrift import STRUCT, Long, Raw, Struct, Value, encode, split

_MAGIC: Final = b"PAR1"
_LENGTH_BYTES: Final = 4
#: Parquet's number and pyarrow's name of each codec.
_CODECS: Final[dict[str, tuple[int, Any]]] = {
    "snappy": (1, "snappy"),
    "gzip": (2, "gzip"),
    "zstd": (6, "zstd"),
    "lz4": (7, "lz4_raw"),
}
# Fields of the footer.
_ROWS: Final = 3
_ROW_GROUPS: Final = 4
_CREATED_BY: Final = 6


class FileWriter:
    """Writes row groups into one file; takes the place of ``pyarrow.parquet.ParquetWriter``.

    Args:
        write: takes the bytes of the file.
        empty: a file of the same columns without rows, by pyarrow; its footer says what the columns are.
        layouts: of all columns, in order.
        dictionary: names of the columns that may have a dictionary.
        deltas: names of the columns whose values stand as differences.
        compression: the codec, as ``ParquetConfig`` names it, and its level.
    """

    def __init__(
        self,
        write: Callable[[pa.Buffer | bytes], object],
        empty: pa.Buffer,
        layouts: Sequence[Layout],
        *,
        dictionary: Sequence[str],
        deltas: Sequence[str],
        compression: tuple[str, int | None],
    ) -> None:
        self._out = Output(write)
        self._footer = _footer_of(empty)
        codec = _codec(*compression)
        self._columns = [
            ColumnWriter(layout, codec, self._out, dictionary=layout.name in dictionary, delta=layout.name in deltas)
            for layout in layouts
        ]
        self._groups: list[bytes] = []
        self._rows = 0
        self._out.write(_MAGIC)

    def write_table(self, table: pa.Table) -> None:
        """Write one row group; none for no rows.

        Raises:
            FormatError: a value does not fit its type.
        """
        if not table.num_rows:
            return
        start = self._out.position
        chunks = [writer.chunk(column) for writer, column in zip(self._columns, table.columns, strict=True)]
        self._groups.append(encode(_row_group(chunks, table.num_rows, start)))
        self._rows += table.num_rows

    def close(self) -> None:
        """Write the footer."""
        groups = [Raw(STRUCT, group) for group in self._groups]
        created_by = f"rivet version {__version__}".encode()
        fields: dict[int, Value] = {
            **self._footer,
            _ROWS: Long(self._rows),
            _ROW_GROUPS: groups,
            _CREATED_BY: created_by,
        }
        footer = encode(dict(sorted(fields.items())))
        self._out.write(footer)
        self._out.write(len(footer).to_bytes(_LENGTH_BYTES, "little") + _MAGIC)


def _codec(name: str, level: int | None) -> Codec:
    if name == "none":
        return UNCOMPRESSED
    number, arrow_name = _CODECS[name]
    return Codec(number, partial(pa.Codec(arrow_name, level).compress, asbytes=False))


def _footer_of(empty: pa.Buffer) -> Mapping[int, Raw]:
    end = empty.size - _LENGTH_BYTES - len(_MAGIC)
    size = int.from_bytes(empty[end : end + _LENGTH_BYTES].to_pybytes(), "little")
    return split(empty[end - size : end].to_pybytes())


def _row_group(chunks: Sequence[Chunk], rows: int, start: int) -> Struct:
    return {
        1: [chunk.metadata for chunk in chunks],
        2: Long(sum(chunk.plain_bytes for chunk in chunks)),
        3: Long(rows),
        5: Long(start),
        6: Long(sum(chunk.stored_bytes for chunk in chunks)),
    }
