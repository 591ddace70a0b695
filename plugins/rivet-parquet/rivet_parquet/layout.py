"""Which columns are encoded here, and how: flat ones of the common types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

#: Parquet's numbers of physical types.
PHYSICAL: Final = {
    "BOOLEAN": 0,
    "INT32": 1,
    "INT64": 2,
    "FLOAT": 4,
    "DOUBLE": 5,
    "BYTE_ARRAY": 6,
    "FIXED_LEN_BYTE_ARRAY": 7,
}
#: Arrow recommends no less; what a database driver hands over may differ.
_ALIGNMENT: Final = 8
_WIDTHS: Final = {"INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8}

# As in `_pages.pyx`.
BITS, INT8, UINT8, INT16, UINT16, FIXED, DECIMAL, TEXT, LARGE_TEXT, WIDE_DECIMAL = range(10)
NO_ORDER, SIGNED, UNSIGNED, FLOATING, BYTES, SIGNED_BYTES = range(6)

#: Orders that Parquet's first, long deprecated fields of statistics mean.
SIGNED_ORDERS: Final = (SIGNED, FLOATING, SIGNED_BYTES)

#: Arrow types whose values stand in the file as they are, or widened, and how they compare.
_SOURCES: Final[dict[pa.DataType, tuple[int, str, int]]] = {
    pa.bool_(): (BITS, "BOOLEAN", SIGNED),
    pa.int8(): (INT8, "INT32", SIGNED),
    pa.uint8(): (UINT8, "INT32", UNSIGNED),
    pa.int16(): (INT16, "INT32", SIGNED),
    pa.uint16(): (UINT16, "INT32", UNSIGNED),
    pa.int32(): (FIXED, "INT32", SIGNED),
    pa.uint32(): (FIXED, "INT32", UNSIGNED),
    pa.int64(): (FIXED, "INT64", SIGNED),
    pa.uint64(): (FIXED, "INT64", UNSIGNED),
    pa.float32(): (FIXED, "FLOAT", FLOATING),
    pa.float64(): (FIXED, "DOUBLE", FLOATING),
    pa.date32(): (FIXED, "INT32", SIGNED),
    pa.time32("ms"): (FIXED, "INT32", SIGNED),
    pa.time64("us"): (FIXED, "INT64", SIGNED),
    pa.time64("ns"): (FIXED, "INT64", SIGNED),
    pa.string(): (TEXT, "BYTE_ARRAY", BYTES),
    pa.binary(): (TEXT, "BYTE_ARRAY", BYTES),
    pa.large_string(): (LARGE_TEXT, "BYTE_ARRAY", BYTES),
    pa.large_binary(): (LARGE_TEXT, "BYTE_ARRAY", BYTES),
}


@dataclass(frozen=True)
class Layout:
    """How a column stands in the file.

    Attributes:
        name: of the column.
        physical: Parquet's name of the physical type.
        source: what its values are in Arrow, for ``_pages.Column``.
        width: of a value in the file, in bytes; 0 for texts and booleans.
        order: how its values compare, for ``_pages.Column``.
        nullable: whether there may be NULLs.
        digits: how many a decimal may have; 0 for what is none.
    """

    name: str
    physical: str
    source: int
    width: int
    order: int
    nullable: bool
    digits: int


def layout_of(field: pa.Field[Any], leaf: pq.ColumnSchema) -> Layout | None:
    """Return how a column is encoded; ``None`` if that is left to pyarrow.

    Args:
        leaf: what pyarrow makes of the column.
    """
    if leaf.path != field.name or leaf.max_repetition_level or leaf.max_definition_level != int(field.nullable):
        return None
    found = _source(field.type, leaf)
    if found is None or found[1] != leaf.physical_type:
        return None
    source, physical, order = found
    width = leaf.length or 0 if physical == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(physical, 0)
    storage: Any = storage_of(field.type)
    digits = storage.precision if source in (DECIMAL, WIDE_DECIMAL) else 0
    return Layout(field.name, physical, source, width, order, field.nullable, digits)


def storage_of(data_type: pa.DataType) -> pa.DataType:
    """Return the type whose values are written: that of an extension's storage and of a dictionary's values."""
    if isinstance(data_type, pa.BaseExtensionType):
        return storage_of(data_type.storage_type)
    return storage_of(data_type.value_type) if isinstance(data_type, pa.DictionaryType) else data_type


def storage_array(array: Any) -> Any:
    """Return the array of that type, with buffers whose values stand at multiples of their width."""
    if isinstance(array, pa.ExtensionArray):
        return storage_array(array.storage)
    if isinstance(array, pa.DictionaryArray):
        return storage_array(array.dictionary_decode())
    if any(buffer is not None and buffer.address % _ALIGNMENT for buffer in array.buffers()[:2]):
        return pa.concat_arrays([array, array.slice(0, 0)])  # copied into buffers of pyarrow's own
    return array


def levels_array(array: Any) -> Any:
    """Return an array with the NULLs of ``storage_array`` and any values: a dictionary's are not looked up."""
    if isinstance(array, pa.ExtensionArray):
        return levels_array(array.storage)
    if isinstance(array, pa.DictionaryArray) and not array.dictionary.null_count:
        return array.indices
    return storage_array(array)


def _source(data_type: pa.DataType, leaf: pq.ColumnSchema) -> tuple[int, str, int] | None:
    storage = storage_of(data_type)
    if isinstance(storage, pa.Decimal128Type):
        return DECIMAL, leaf.physical_type, SIGNED if leaf.physical_type in _WIDTHS else SIGNED_BYTES
    if isinstance(storage, pa.Decimal256Type):
        return WIDE_DECIMAL, "FIXED_LEN_BYTE_ARRAY", SIGNED_BYTES
    # By its id: decimals are of subclasses, and their bytes stand the other way round.
    if pa.types.is_fixed_size_binary(storage) and storage.byte_width:
        return FIXED, "FIXED_LEN_BYTE_ARRAY", BYTES
    if isinstance(storage, pa.TimestampType) and storage.unit != "s":
        return FIXED, "INT64", SIGNED
    if isinstance(storage, pa.DurationType):
        return FIXED, "INT64", SIGNED
    return _SOURCES.get(storage)
