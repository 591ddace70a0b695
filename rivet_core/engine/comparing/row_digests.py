"""Digests of rows: equal where all values are, whichever side of a comparison they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
from pyarrow import types as at
from xxhash import xxh3_128_digest

from rivet_core.api.compute import compute as pc
from rivet_core.contract.types import normalise_type, storage_type
from rivet_core.engine.plain import plain

#: Bytes of one digest.
DIGEST_BYTES: Final = 16

_BYTES: Final = pa.large_binary()
_NULL: Final = b"-"


def row_digests(batch: pa.RecordBatch, columns: Sequence[str], key: Sequence[str]) -> Iterator[bytes]:
    """Yield for each row the digest of its key and the digest of all its columns, one after the other.

    Zeros of both signs are equal, and so are all NaN, and so are NULLs.

    Args:
        columns: what is compared.
        key: what names a row; without any its values do.
    """
    encoded = {name: _netstrings(batch.column(name)) for name in dict.fromkeys([*columns, *key])}
    rows = _digests([encoded[name] for name in columns])
    keys = _digests([encoded[name] for name in key]) if key else rows
    return (key_digest + row_digest for key_digest, row_digest in zip(keys, rows, strict=True))


def key_digests(batch: pa.RecordBatch, key: Sequence[str]) -> list[bytes]:
    """Return the digest of each row's key, as ``row_digests`` begins."""
    return _digests([_netstrings(batch.column(name)) for name in key])


def _digests(encoded: Sequence[pa.Array[Any]]) -> list[bytes]:
    joined: Any = encoded[0] if len(encoded) == 1 else _join(*encoded, b"")
    return list(map(xxh3_128_digest, joined.to_pylist()))


def _netstrings(column: pa.Array[Any]) -> pa.Array[Any]:
    """Return every value with its length before it, so that values joined are equal only if each of them is."""
    values: Any = _as_bytes(column)
    lengths: Any = pc.binary_length(values).cast(pa.large_string()).cast(_BYTES)
    return _join(lengths.fill_null(_NULL), values.fill_null(b""), b":")


def _join(*arrays_and_separator: Any) -> pa.Array[Any]:
    *arrays, separator = arrays_and_separator
    join: Any = pc.binary_join_element_wise
    joined: pa.Array[Any] = join(*arrays, pa.scalar(separator, _BYTES))
    return joined


def _as_bytes(column: pa.Array[Any]) -> pa.Array[Any]:
    array = _normal(column)
    dtype = array.type
    if at.is_null(dtype):
        return pa.nulls(len(array), _BYTES)
    if at.is_nested(dtype) or at.is_union(dtype):
        return pa.array([None if value is None else repr(value).encode() for value in array.to_pylist()], _BYTES)
    if at.is_boolean(dtype):
        array = array.cast(pa.uint8())
    elif at.is_floating(dtype):
        numbers: Any = pc.add(array.cast(pa.float64()), 0.0)  # -0.0 + 0.0 is 0.0
        array = pc.if_else(pc.is_nan(numbers), float("nan"), numbers)
    try:
        width = array.type.bit_width // 8
    except ValueError:  # text and bytes
        return array.cast(_BYTES)
    buffers = array.buffers()[:2]
    fixed: Any = pa.Array.from_buffers(pa.binary(width), len(array), buffers, -1, array.offset)
    return fixed.cast(pa.binary()).cast(_BYTES)  # type: ignore[no-any-return]


def _normal(column: pa.Array[Any]) -> pa.Array[Any]:
    """Return a column in the type that stands for its own and all others of the same name, without extensions."""
    array = plain(column)
    wanted = storage_type(normalise_type(array.type))
    return array if array.type == wanted or at.is_nested(wanted) else array.cast(wanted)
