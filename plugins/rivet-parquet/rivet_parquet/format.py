"""The format: as the built-in one, but row groups of flat columns are encoded by native code."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from rivet_core.builtin.parquet import ParquetFormat, RowGroupWriter, empty_file
from rivet_parquet.layout import Layout, layout_of
from rivet_parquet.writer import FileWriter


class NativeParquetFormat(ParquetFormat):
    """Parquet with the options of ``config``.

    Columns of nested types and some rare ones are left to pyarrow: such a file is written by the built-in format.
    """

    def open_writer(self, sink: pa.NativeFile, schema: pa.Schema, dictionary: Sequence[str]) -> RowGroupWriter:
        """Open what writes row groups into a file."""
        empty = empty_file(schema, **self.options)
        layouts = _layouts(schema, empty)
        if layouts is None:
            return super().open_writer(sink, schema, dictionary)
        return FileWriter(
            sink.write,
            empty,
            layouts,
            dictionary=dictionary,
            deltas=self.delta_columns(schema, dictionary),
            compression=(self.compression, self.options["compression_level"]),
        )


def _layouts(schema: pa.Schema, empty: pa.Buffer) -> list[Layout] | None:
    """Return how each column is encoded; ``None`` if one of them is left to pyarrow."""
    leaves = pq.ParquetFile(pa.BufferReader(empty)).schema
    if len(leaves) != len(schema) or not len(schema):
        return None
    found = [layout_of(field, leaves.column(index)) for index, field in enumerate(schema)]
    layouts = [layout for layout in found if layout is not None]
    return layouts if len(layouts) == len(found) else None
