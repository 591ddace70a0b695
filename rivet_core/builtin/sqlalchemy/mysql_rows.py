"""Takes the rows of an unbuffered PyMySQL result out of its packets, in one pass over each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rivet_core.api import SourceUnavailable

# What stands in front of a value: its length in one byte, or what follows it (protocol, "length-encoded string").
_NULL: Final = 251
_WIDTHS: Final = {252: 2, 253: 3, 254: 8}


def rows_of(cursor: Any) -> Iterator[list[Any]]:
    """Yield the rows of a cursor that has executed a query: text as ``str``, all else as ``bytes``, NULL as ``None``.

    Raises:
        SourceUnavailable: a packet is no row of the result.
        UnicodeDecodeError: text that is none.
    """
    # PyMySQL calls three functions for each value, which takes most of its time.
    result = cursor._result
    encodings = [encoding for encoding, _ in result.converters]
    read, ended = result.connection._read_packet, result._check_packet_is_eof
    while not ended(packet := read()):
        yield _values(packet.get_all_data(), encodings)
    result.unbuffered_active = False
    result.connection = None


def _values(data: bytes, encodings: Sequence[str | None]) -> list[Any]:
    values: list[Any] = []
    position, end = 0, len(data)
    for encoding in encodings:
        if position >= end:
            break
        length = data[position]
        position += 1
        if length == _NULL:
            values.append(None)
            continue
        if length > _NULL:
            width = _WIDTHS.get(length, end)
            length = int.from_bytes(data[position : position + width], "little")
            position += width
        value = data[position : position + length]
        position += length
        values.append(value if encoding is None else value.decode(encoding))
    if position != end or len(values) != len(encodings):
        raise SourceUnavailable(
            "what the server sent breaks the MySQL protocol: a packet is no row of the result",
            hint="run the command again",
        )
    return values
