"""Writes one column of a row group: its dictionary, its pages and what the footer says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pyarrow as pa

from rivet_core.api import FormatError
from rivet_parquet import _pages
from rivet_parquet.layout import BITS, PHYSICAL, SIGNED_BYTES, SIGNED_ORDERS, Layout, levels_array, storage_array
from rivet_parquet.thrift import Long, Struct, Value, encode

# Parquet's numbers of encodings and of kinds of pages.
_PLAIN: Final = 0
_RLE: Final = 3
_DELTA: Final = 5
_RLE_DICTIONARY: Final = 8
_DATA_PAGE: Final = 0
_DICTIONARY_PAGE: Final = 2

#: zstd is fastest with pages of this size, and more is saved in smaller ones than it costs in bytes.
_PAGE_BYTES: Final = 1 << 18
_PAGE_ROWS: Final = 1 << 16
_MAX_PAGE_BYTES: Final = (1 << 31) - 1
#: Statistics of larger values are left out, as pyarrow does.
_MAX_STATISTIC_BYTES: Final = 4096
#: Where the codec makes the first page by less smaller, it costs more than it gains. Too small a page says nothing.
_LEAST_GAIN: Final = 1 / 32
_TRIAL_BYTES: Final = 1 << 10

# pyarrow's annotations lack much of concrete arrays.
_Array: TypeAlias = Any
#: What `_pages.Column` takes of an array: addresses of validity (or 0), values, data; bytes of data; offset, length.
_Piece: TypeAlias = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Codec:
    """What pages are compressed with.

    Attributes:
        number: Parquet's number of it.
        compress: returns bytes that are compressed; the codec that compresses nothing has none.
    """

    number: int
    compress: Callable[[pa.Buffer], pa.Buffer] | None


UNCOMPRESSED: Final = Codec(0, None)


class Output:
    """The file so far.

    Args:
        write: takes its bytes.

    Attributes:
        position: how many bytes were written.
    """

    def __init__(self, write: Callable[[pa.Buffer | bytes], object]) -> None:
        self._write = write
        self.position = 0

    def write(self, data: pa.Buffer | bytes) -> None:
        """Append bytes."""
        self._write(data)
        self.position += len(data)


@dataclass(frozen=True)
class Chunk:
    """A chunk that is written.

    Attributes:
        metadata: what the footer says of it.
        plain_bytes: its size before the codec, headers of pages included.
        stored_bytes: its size in the file.
    """

    metadata: Struct
    plain_bytes: int
    stored_bytes: int


@dataclass
class _Totals:
    """What the pages of a chunk add up to."""

    codec: Codec
    plain_bytes: int = 0
    stored_bytes: int = 0
    nulls: int = 0
    data_pages: int = 0
    #: The dictionary's page with its header, 0 without one.
    dictionary_bytes: int = 0


@dataclass(frozen=True)
class _Trial:
    """The codec of a chunk, and what it has made of the first page and of the dictionary, if that is to be written."""

    codec: Codec
    page: pa.Buffer | None = None
    dictionary: pa.Buffer | None = None


class ColumnWriter:
    """Writes a column, row group after row group; the buffers are used again.

    Args:
        dictionary: whether to try a dictionary.
        delta: whether values stand as differences otherwise.
    """

    def __init__(self, layout: Layout, codec: Codec, out: Output, *, dictionary: bool, delta: bool) -> None:
        self._layout = layout
        self._codec = codec
        self._dictionary = dictionary and layout.source != BITS
        self._out = out
        self._encoder = _pages.Column(layout.source, layout.width, layout.order, layout.nullable, delta)
        self._plain = _DELTA if delta else _PLAIN

    def chunk(self, column: pa.ChunkedArray[Any]) -> Chunk:
        """Write the column's chunk of a row group.

        Raises:
            FormatError: a value does not fit its type, or a page.
        """
        try:
            return self._chunk(column.chunks)
        except _pages.ValueTooLarge as error:
            raise FormatError(
                f"Parquet cannot hold a value: a decimal of {self._layout.name!r} has more digits than its type"
            ) from error

    def _chunk(self, arrays: list[_Array]) -> Chunk:
        start = self._out.position
        rows = sum(len(array) for array in arrays)
        totals = _Totals(self._codec)
        self._encoder.begin()
        coded = self._dictionary and self._code(arrays)
        dictionary = self._dictionary_body() if coded else None
        packed = coded or self._plain == _DELTA
        page_rows = _PAGE_ROWS if packed else _rows_of_a_page(arrays, rows)
        # The codes are there already, so that of the arrays only the levels are asked for.
        for number, page in enumerate(_pages_of(arrays, page_rows, levels_array if coded else storage_array)):
            body = self._data_body(page, totals, coded=coded)
            stored = None
            if number == 0:
                trial = self._trial(body, dictionary, -(-rows // page_rows))
                totals.codec, stored = trial.codec, trial.page
                if dictionary is not None:
                    self._put_dictionary(*dictionary, totals, trial.dictionary)
            self._put_data(body, sum(len(array) for array in page), totals, stored, coded=coded)
        metadata = self._metadata(rows, totals, start, coded=coded)
        return Chunk(metadata, totals.plain_bytes, totals.stored_bytes)

    def _code(self, arrays: Sequence[_Array]) -> bool:
        """Give a code to every value; ``False`` if a dictionary does not pay."""
        size = 0
        for (array,) in _pages_of_each(arrays):
            if not self._encoder.add_to_dictionary(*_piece(array)):
                break
            width = self._layout.width
            size += width * (len(array) - array.null_count) if width else array.nbytes
        else:
            if self._encoder.coded_bytes() <= size:
                return True
        self._encoder.begin()
        return False

    def _dictionary_body(self) -> tuple[pa.Buffer, int]:
        address, size, count = self._encoder.dictionary()
        return pa.foreign_buffer(address, size, self._encoder), count

    def _data_body(self, page: Sequence[_Array], totals: _Totals, *, coded: bool) -> pa.Buffer:
        if not self._layout.nullable and any(array.null_count for array in page):
            raise FormatError(f"Parquet cannot hold a value: {self._layout.name!r} is declared non-nullable")
        encoder = self._encoder
        pieces = [_piece(array) for array in page]
        encoder.begin_page()
        nulls = sum(encoder.add_levels(piece[0], piece[4], piece[5]) for piece in pieces)
        encoder.end_levels()
        if coded:
            encoder.add_codes(sum(piece[5] for piece in pieces) - nulls)
        else:
            for piece in pieces:
                encoder.add_values(*piece)
            encoder.end_values()
        totals.nulls += nulls
        address, size = encoder.page()
        if size > _MAX_PAGE_BYTES:
            raise FormatError(f"Parquet cannot hold a value: a page of {self._layout.name!r} would have {size} bytes")
        return pa.foreign_buffer(address, size, encoder)

    def _trial(self, body: pa.Buffer, dictionary: tuple[pa.Buffer, int] | None, pages: int) -> _Trial:
        """Compress the dictionary and the first page, and choose the chunk's codec by what that makes of them."""
        compress = self._codec.compress
        if compress is None or body.size < _TRIAL_BYTES:
            return _Trial(self._codec)
        stored = compress(body)
        plain = body.size * pages
        gain = (body.size - stored.size) * pages
        stored_dictionary = None
        if dictionary is not None:
            stored_dictionary = compress(dictionary[0])
            plain += dictionary[0].size
            gain += dictionary[0].size - stored_dictionary.size
        return _Trial(self._codec, stored, stored_dictionary) if gain >= _LEAST_GAIN * plain else _Trial(UNCOMPRESSED)

    def _put_dictionary(self, body: pa.Buffer, count: int, totals: _Totals, stored: pa.Buffer | None) -> None:
        self._put(body, _DICTIONARY_PAGE, {7: {1: count, 2: _PLAIN, 3: False}}, totals, stored)
        totals.dictionary_bytes = totals.stored_bytes

    def _put_data(self, body: pa.Buffer, rows: int, totals: _Totals, stored: pa.Buffer | None, *, coded: bool) -> None:
        encoding = _RLE_DICTIONARY if coded else self._plain
        self._put(body, _DATA_PAGE, {5: {1: rows, 2: encoding, 3: _RLE, 4: _RLE}}, totals, stored)
        totals.data_pages += 1

    def _put(
        self, body: pa.Buffer, kind: int, details: dict[int, Value], totals: _Totals, stored: pa.Buffer | None
    ) -> None:
        """Write a page; ``stored`` is its body as the codec makes it, where that has been tried already."""
        if stored is None:
            stored = body if totals.codec.compress is None else totals.codec.compress(body)
        crc = _pages.crc32(stored.address, stored.size)
        signed = crc - (1 << 32) if crc >> 31 else crc
        header = encode({1: kind, 2: body.size, 3: stored.size, 4: signed, **details})
        self._out.write(header)
        self._out.write(stored)
        totals.plain_bytes += len(header) + body.size
        totals.stored_bytes += len(header) + stored.size

    def _metadata(self, rows: int, totals: _Totals, start: int, *, coded: bool) -> Struct:
        encoding = _RLE_DICTIONARY if coded else self._plain
        statistics = [{1: _DATA_PAGE, 2: encoding, 3: totals.data_pages}]
        if coded:
            statistics.insert(0, {1: _DICTIONARY_PAGE, 2: _PLAIN, 3: 1})
        fields: dict[int, Value] = {
            1: PHYSICAL[self._layout.physical],
            2: [_PLAIN, _RLE, _RLE_DICTIONARY] if coded else [_RLE, encoding],
            3: [self._layout.name.encode()],
            4: totals.codec.number,
            5: Long(rows),
            6: Long(totals.plain_bytes),
            7: Long(totals.stored_bytes),
            9: Long(start + totals.dictionary_bytes),
        }
        if coded:
            fields[11] = Long(start)
        fields[12] = self._statistics(totals.nulls)
        fields[13] = statistics
        return {2: Long(0), 3: fields}

    def _statistics(self, nulls: int) -> Struct:
        bounds = self._encoder.bounds()
        least, greatest = bounds or (None, None)
        for bound in bounds or ():
            self._check_digits(bound)
        if least is not None and len(least) > _MAX_STATISTIC_BYTES:
            least = None
        if greatest is not None and len(greatest) > _MAX_STATISTIC_BYTES:
            greatest = None
        # The old fields are for values that compare as signed numbers alone.
        old = self._layout.order in SIGNED_ORDERS
        fields: dict[int, Value | None] = {
            1: greatest if old else None,
            2: least if old else None,
            3: Long(nulls),
            5: greatest,
            6: least,
            7: None if greatest is None else True,
            8: None if least is None else True,
        }
        return {number: value for number, value in fields.items() if value is not None}

    def _check_digits(self, bound: bytes) -> None:
        """Refuse a decimal that fits into the bytes of its type and has too many digits all the same."""
        digits = self._layout.digits
        order: Any = "big" if self._layout.order == SIGNED_BYTES else "little"
        if digits and abs(int.from_bytes(bound, order, signed=True)) >= 10**digits:
            raise _pages.ValueTooLarge


def _piece(array: _Array) -> _Piece:
    buffers = array.buffers()
    validity = buffers[0].address if array.null_count else 0
    data = buffers[2] if len(buffers) > 2 else None
    return (
        validity,
        buffers[1].address,
        data.address if data is not None else 0,
        data.size if data is not None else 0,
        array.offset,
        len(array),
    )


def _rows_of_a_page(arrays: Sequence[_Array], rows: int) -> int:
    size: int = sum(array.nbytes for (array,) in _pages_of_each(arrays))
    return min(_PAGE_ROWS, max(1, rows * _PAGE_BYTES // max(1, size)))


def _pages_of_each(arrays: Sequence[_Array]) -> Iterator[list[_Array]]:
    """Yield the values of each array by itself, so many at a time as a page holds at most."""
    for array in arrays:
        yield from _pages_of([array], _PAGE_ROWS, storage_array)


def _pages_of(arrays: Sequence[_Array], rows: int, read: Callable[[_Array], _Array]) -> Iterator[list[_Array]]:
    """Yield what ``read`` returns of the arrays of each page: ``rows`` of them, the last one's fewer.

    A page is read when it is asked for: the values of dictionary arrays, of all of a row group at once, may take many
    times its memory.
    """
    page: list[_Array] = []
    room = rows
    for array in arrays:
        done = 0
        while done < len(array):
            part = read(array.slice(done, room))
            page.append(part)
            done, room = done + len(part), room - len(part)
            if room == 0:
                yield page
                page, room = [], rows
    if page:
        yield page
