"""Counts distinct values exactly in bounded memory: keys that do not fit wait in a temporary file.

A value's key is the value itself where it has at most 16 bytes, else its 128-bit digest (XXH3). Keys on disk are
partitioned by a hash, so that each partition is counted by itself, and cut again where it is too large.
"""

from __future__ import annotations

import os
import tempfile
import threading
from array import array
from collections.abc import Iterator
from itertools import accumulate
from typing import IO, Any, Final

import pyarrow as pa
from pyarrow import types as at
from xxhash import xxh3_128_digest

from rivet_core.api.compute import compute as pc
from rivet_core.api.errors import StorageFull
from rivet_core.engine.plain import plain, plain_type

_WIDE: Final = pa.binary(16)
#: Arrow's hash table over 8-byte keys has up to so many times their size (measured, while it grows).
WORKING_FACTOR: Final = 28
#: By so many bits of the hash keys are partitioned first, and by so many again where a partition is still too large.
_FIRST_BITS: Final = 8
_MORE_BITS: Final = 4
#: Beyond it the 64 bits of the hash are used up.
_MAX_LEVEL: Final = (64 - _FIRST_BITS) // _MORE_BITS
# Odd multipliers with well mixed bits: 2**64 divided by the golden ratio, and one of MurmurHash3's.
_FIRST: Final = pa.scalar(0x9E3779B97F4A7C15, pa.uint64())
_SECOND: Final = pa.scalar(0xC4CEB9FE1A85EC53, pa.uint64())
_HALF: Final = pa.scalar(32, pa.uint64())

#: Where keys were written at one time: the offset in bytes, and for each partition the position of its first key,
#: counted from there, then the number of all keys. A billion keys are described in some megabytes.
_Run = tuple[int, "array[int]"]


def is_comparable(dtype: pa.DataType) -> bool:
    """Whether values of this type have keys: all but lists, structs, maps and intervals."""
    dtype = plain_type(dtype)
    return not (at.is_nested(dtype) or at.is_interval(dtype) or at.is_union(dtype))


def keys_of(array: pa.Array[Any]) -> pa.Array[Any]:
    """Return one key for each value that is not NULL: 8 or 16 bytes, equal where the values are.

    Zeros of both signs are equal, and so are all NaN.
    """
    array = plain(array).drop_null()
    dtype = array.type
    if at.is_null(dtype):
        return pa.array([], pa.uint64())
    if at.is_boolean(dtype) or at.is_unsigned_integer(dtype):
        return array.cast(pa.uint64())
    if at.is_signed_integer(dtype) or at.is_temporal(dtype):
        numbers = array.view(pa.int32()) if at.is_date32(dtype) or at.is_time32(dtype) else array
        return (numbers.cast(pa.int64()) if at.is_integer(numbers.type) else numbers).view(pa.uint64())
    if at.is_floating(dtype):
        return _float_keys(array)
    return _wide_keys(array)


def _float_keys(array: pa.Array[Any]) -> pa.Array[Any]:
    numbers: Any = pc.add(array.cast(pa.float64()), 0.0)  # -0.0 + 0.0 is 0.0
    keys: pa.Array[Any] = pc.if_else(pc.is_nan(numbers), float("nan"), numbers).view(pa.uint64())
    return keys


def _wide_keys(array: pa.Array[Any]) -> pa.Array[Any]:
    dtype = array.type
    if at.is_decimal(dtype) and dtype.bit_width < 128:
        array = array.cast(pa.decimal128(dtype.precision, dtype.scale))
    if at.is_decimal(dtype) and dtype.bit_width == 256:
        array = array.view(pa.binary(32))
    elif at.is_decimal(dtype) or dtype == _WIDE:
        return array.view(_WIDE)
    values: Any = array.cast(
        pa.large_binary() if at.is_large_string(dtype) or at.is_large_binary(dtype) else pa.binary()
    )
    digests = b"".join(map(xxh3_128_digest, values.to_pylist()))
    return pa.Array.from_buffers(_WIDE, len(values), [None, pa.py_buffer(digests)])


class SpillFile:
    """A temporary file without a name, so that a process which is killed leaves nothing; made when it is needed.

    Safe for threads.

    Attributes:
        working: held while keys are compared or moved, which takes memory: one set of keys at a time.
    """

    def __init__(self) -> None:
        self.working = threading.Lock()
        self._file: IO[bytes] | None = None
        self._end = 0
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """What was written so far."""
        return self._end

    def append(self, data: pa.Buffer) -> int:
        """Write ``data`` and return its offset.

        Raises:
            StorageFull: the directory for temporary files has no room.
        """
        with self._lock:
            start, self._end = self._end, self._end + data.size
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix="rivet-", buffering=0)  # noqa: SIM115  closed in close
            left = memoryview(data)
            while left:
                left = left[os.pwrite(self._file.fileno(), left, start + data.size - len(left)) :]
        except OSError as error:
            raise StorageFull(
                f"the check of unique columns cannot write to {tempfile.gettempdir()}: {error.strerror}",
                hint="make room there, or name another directory in TMPDIR",
            ) from error
        return start

    def read(self, offset: int, length: int) -> pa.Buffer:
        """Return what was written there, in bytes."""
        if self._file is None:
            raise ValueError("nothing was written")
        pieces = []
        while length:
            pieces.append(os.pread(self._file.fileno(), length, offset))
            if not pieces[-1]:
                raise ValueError("nothing was written there")
            offset, length = offset + len(pieces[-1]), length - len(pieces[-1])
        return pa.py_buffer(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def close(self) -> None:
        """Give the room back."""
        if self._file is not None:
            self._file.close()


class KeySet:
    """Keys of one column, of which only the number of distinct ones is asked.

    Args:
        spill: where keys go that do not fit.
        limit_bytes: how many bytes of keys stay in memory; while they are compared it is ``WORKING_FACTOR`` times more.
        level: how often these keys have been partitioned before.

    Attributes:
        added: how many keys were added, repeated ones too.
    """

    def __init__(self, spill: SpillFile, limit_bytes: int, level: int = 0) -> None:
        self._spill = spill
        self._limit = limit_bytes
        self._level = level
        self.added = 0
        self._type: pa.DataType | None = None
        self._repetitive = True
        self._pending: list[pa.Array[Any]] = []
        self._pending_bytes = 0
        self._runs: list[_Run] = []

    def add(self, keys: pa.Array[Any]) -> None:
        """Add keys; all are of one type."""
        if len(keys) == 0:
            return
        self.added += len(keys)
        self._keep(keys)

    def _keep(self, keys: pa.Array[Any]) -> None:
        self._type = keys.type
        self._pending.append(keys)
        self._pending_bytes += keys.nbytes
        if self._pending_bytes <= self._limit:
            return
        with self._spill.working:
            if self._repetitive:
                before = self._pending_bytes
                self._compact()
                self._repetitive = self._pending_bytes < before // 2
            if not self._repetitive and self._level <= _MAX_LEVEL:
                self._write()

    def merge(self, other: KeySet) -> None:
        """Add the keys of another set over the same file; it must not be used any more."""
        self.added += other.added
        self._type = self._type or other._type
        self._runs += other._runs
        self._repetitive = self._repetitive and other._repetitive
        for keys in other._pending:
            self._keep(keys)

    def count_distinct(self) -> int:
        """Return how many different keys there are; nothing can be added afterwards."""
        if not self._runs:
            with self._spill.working:
                self._compact()
            return sum(map(len, self._pending))
        if self._pending:
            with self._spill.working:
                self._write()
        total = 0
        for partition in range(1 << _bits(self._level)):
            part = KeySet(self._spill, self._limit, self._level + 1)
            part._repetitive = self._repetitive
            for keys in self._read(partition):
                part.add(keys)
            total += part.count_distinct()
        return total

    def _compact(self) -> None:
        """Keep one of each key."""
        if self._pending:
            different: Any = pa.chunked_array(self._pending).unique()
            self._hold(different)

    def _hold(self, *arrays: pa.Array[Any]) -> None:
        self._pending = list(arrays)
        self._pending_bytes = sum(array.nbytes for array in arrays)

    def _write(self) -> None:
        """Move the keys in memory to the file, those of one partition side by side."""
        keys = pa.concat_arrays(self._pending)
        self._hold()
        partitions = _partitions(keys, self._level)
        keys = keys.take(pc.array_sort_indices(partitions))
        width = keys.type.bit_width // 8
        values: Any = keys.buffers()[1]
        data = values.slice(keys.offset * width, len(keys) * width)
        counts = {item["values"].as_py(): item["counts"].as_py() for item in pc.value_counts(partitions)}
        starts = accumulate((counts.get(partition, 0) for partition in range(1 << _bits(self._level))), initial=0)
        self._runs.append((self._spill.append(data), array("I", starts)))

    def _read(self, partition: int) -> Iterator[pa.Array[Any]]:
        dtype: Any = self._type
        width = dtype.bit_width // 8
        for offset, starts in self._runs:
            first, count = starts[partition], starts[partition + 1] - starts[partition]
            if count:
                buffer = self._spill.read(offset + first * width, count * width)
                yield pa.Array.from_buffers(dtype, count, [None, buffer])


def _bits(level: int) -> int:
    return _FIRST_BITS if level == 0 else _MORE_BITS


def _partitions(keys: pa.Array[Any], level: int) -> pa.Array[Any]:
    """Return the partition of every key, by the bits of its hash that belong to the level."""
    if keys.type == _WIDE:
        words = pa.Array.from_buffers(pa.uint64(), 2 * len(keys), [None, keys.buffers()[1]], offset=2 * keys.offset)
        pairs = pa.FixedSizeListArray.from_arrays(words, 2)
        low, high = pc.list_element(pairs, 0), pc.list_element(pairs, 1)
        mixed = pc.bit_wise_xor(pc.multiply(low, _FIRST), pc.multiply(high, _SECOND))
    else:
        mixed = pc.multiply(keys, _FIRST)
    mixed = pc.multiply(pc.bit_wise_xor(mixed, pc.shift_right(mixed, _HALF)), _SECOND)
    shift = pa.scalar(64 - _FIRST_BITS - _MORE_BITS * level, pa.uint64())
    mask = pa.scalar((1 << _bits(level)) - 1, pa.uint64())
    partitions: pa.Array[Any] = pc.bit_wise_and(pc.shift_right(mixed, shift), mask).cast(pa.uint8())
    return partitions
