"""How large a row group can become in a Parquet file, before it is encoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.types

from rivet_core.api.compute import compute as pc
from rivet_core.contract.types import storage_type

# pyarrow's own annotations lack the attributes of concrete arrays and types and many calls of compute functions.
Array: TypeAlias = Any
DataType: TypeAlias = Any
kinds: Any = pyarrow.types

#: Metadata of a column chunk without its name and statistics; 64 to 90 bytes were measured.
_CHUNK_METADATA_BYTES: Final = 128
_PATH_STEP_BYTES: Final = 16
#: The library leaves out statistics of larger values.
_MAX_STATISTIC_BYTES: Final = 4096
_FIXED_STATISTIC_BYTES: Final = 32
#: A statistic may stand in the metadata four times: least and greatest value, in the old and the new fields.
_STATISTIC_COPIES: Final = 4


class RowGroupBound:
    """Upper bound of the bytes that the batches of one row group take in a file.

    Data counts as Parquet's plain form, as if no byte of it could be compressed, and a codec's growth on noise on top.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [_ColumnBound(field.name, field.type, may_be_null=field.nullable) for field in schema]
        self.clear()

    def clear(self) -> None:
        """Begin the next row group."""
        self._data_bytes = 0.0
        self._longest = [0] * len(self._columns)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch."""
        self._data_bytes += self._plain_bytes(batch)
        self._longest = self._longest_with(batch)

    def footer_bytes(self) -> int:
        """Return what the row group takes in the footer."""
        return self._metadata_bytes(self._longest)

    def most_footer_bytes(self) -> int:
        """Return what a row group may take in the footer, whatever its values are."""
        return sum(bound.most_metadata_bytes() for bound in self._columns)

    def size_with(self, batch: pa.RecordBatch, groups: int) -> int:
        """Return what all batches and one more take, footer included, if they become ``groups`` row groups."""
        data = (self._data_bytes + self._plain_bytes(batch)) * 33 / 32
        # Statistics stand in the footer and in the headers of pages.
        return int(data) + 2 * groups * self._metadata_bytes(self._longest_with(batch))

    def _plain_bytes(self, batch: pa.RecordBatch) -> float:
        pairs = zip(self._columns, batch.columns, strict=True)
        return sum(bound.plain_bytes(column) for bound, column in pairs)

    def _longest_with(self, batch: pa.RecordBatch) -> list[int]:
        triples = zip(self._columns, self._longest, batch.columns, strict=True)
        return [max(longest, bound.longest_value(column)) for bound, longest, column in triples]

    def _metadata_bytes(self, longest: list[int]) -> int:
        return sum(bound.metadata_bytes(value) for bound, value in zip(self._columns, longest, strict=True))


class _ColumnBound:
    """Bounds of one column; nested columns have several leaves."""

    def __init__(self, name: str, data_type: DataType, *, may_be_null: bool) -> None:
        leaves = list(_leaves(data_type, len(name.encode())))
        self._may_be_null = may_be_null
        self._is_nested = kinds.is_nested(storage_type(data_type))
        self._widening = max((_widening(leaf) for _, leaf in leaves), default=1.0)
        self._is_variable = _is_variable(storage_type(data_type))
        self._fixed_bytes = sum(_CHUNK_METADATA_BYTES + path_bytes for path_bytes, _ in leaves)
        if not self._is_variable:
            self._fixed_bytes += sum(_STATISTIC_COPIES * _statistic_bytes(leaf) for _, leaf in leaves)

    def plain_bytes(self, column: Array) -> float:
        """Return the size of the values in Parquet's plain form."""
        values = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
        # Without NULLs all levels of a flat column are one run.
        definitions = int(self._may_be_null and (self._is_nested or values.null_count > 0))
        return float(values.nbytes * self._widening + _level_bits(values, len(values), definitions, 0) / 8)

    def longest_value(self, column: Array) -> int:
        """Return the length of the longest value that statistics may hold; 0 where the type tells."""
        if not self._is_variable:
            return 0
        storage = column.storage if isinstance(column, pa.ExtensionArray) else column
        return min(_MAX_STATISTIC_BYTES, pc.max(pc.binary_length(storage)).as_py() or 0)

    def metadata_bytes(self, longest: int) -> int:
        """Return the size of the column's metadata if its longest value has ``longest`` bytes."""
        return self._fixed_bytes + _STATISTIC_COPIES * longest

    def most_metadata_bytes(self) -> int:
        """Return the size of the column's metadata whatever its values are."""
        return self.metadata_bytes(_MAX_STATISTIC_BYTES if self._is_variable else 0)


def _leaves(data_type: DataType, path_bytes: int) -> Iterator[tuple[int, DataType]]:
    """Yield the type of every leaf column with the length of its path."""
    storage = storage_type(data_type)
    if not kinds.is_nested(storage):
        yield path_bytes, storage
        return
    for index in range(storage.num_fields):
        child = storage.field(index)
        yield from _leaves(child.type, path_bytes + len(child.name.encode()) + _PATH_STEP_BYTES)


def _level_bits(array: Array, entries: int, definitions: int, repetitions: int) -> float:
    """Return what the levels of a column's leaves take at most.

    Args:
        entries: how many values, NULLs and empty lists there are of the array, those of its parents included.
        definitions: the highest definition level of the array.
        repetitions: how many lists it is in.
    """
    values = array.storage if isinstance(array, pa.ExtensionArray) else array
    if kinds.is_struct(values.type):
        children = [values.field(index) for index in range(values.type.num_fields)]
        return sum(_level_bits(child, entries, definitions + 1, repetitions) for child in children)
    if kinds.is_nested(values.type) and not kinds.is_union(values.type):
        child = _elements(values)
        return _level_bits(child, entries + len(child), definitions + 2, repetitions + 1)
    return entries * (_bits_per_level(definitions) + _bits_per_level(repetitions))


def _bits_per_level(most: int) -> float:
    """Return what a level takes where groups of eight are packed and repeated in turns, with a head of a byte each."""
    return (3 + most.bit_length()) / 2 if most else 0.0


def _elements(lists: Array) -> Array:
    """Return the elements of all lists of an array, those behind NULLs included."""
    if kinds.is_fixed_size_list(lists.type):
        size = lists.type.list_size
        return lists.values.slice(lists.offset * size, len(lists) * size)
    if kinds.is_list_view(lists.type) or kinds.is_large_list_view(lists.type) or not len(lists):
        return lists.values
    first, last = lists.offsets[0].as_py(), lists.offsets[-1].as_py()
    return lists.values.slice(first, last - first)


def _is_variable(leaf: DataType) -> bool:
    text = kinds.is_string(leaf) or kinds.is_large_string(leaf)
    return bool(text or kinds.is_binary(leaf) or kinds.is_large_binary(leaf))


def _statistic_bytes(leaf: DataType) -> int:
    """Return how long a statistic of a type may be, without a look at the values."""
    fixed = kinds.is_primitive(leaf) or kinds.is_decimal(leaf) or kinds.is_null(leaf)
    return _FIXED_STATISTIC_BYTES if fixed else _MAX_STATISTIC_BYTES


def _widening(leaf: DataType) -> float:
    """Return how much larger a value is in Parquet's plain form than in Arrow: small integers take four bytes."""
    return 32 / leaf.bit_width if kinds.is_integer(leaf) and leaf.bit_width < 32 else 1.0
