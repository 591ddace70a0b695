"""Columns without the extension types and dictionaries around their values: what is compared, counted and digested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rivet_core.contract.types import storage_type

if TYPE_CHECKING:
    from pyarrow import Array, DataType


def plain(array: Array[Any]) -> Array[Any]:
    """Return the values of a column by themselves."""
    while isinstance(array, pa.ExtensionArray | pa.DictionaryArray):
        array = array.storage if isinstance(array, pa.ExtensionArray) else array.dictionary_decode()
    return array


def plain_type(dtype: DataType) -> DataType:
    """Return the type of the values that ``plain`` returns."""
    storage = storage_type(dtype)
    return plain_type(storage.value_type) if pa.types.is_dictionary(storage) else storage
