"""What the decoder is told about each column, and how it says where it stands and what is wrong with a stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Which Arrow value a field becomes. The numbers are known to the native module, too."""

    INTEGER = 0
    UNSIGNED = 1
    BOOL = 2
    DECIMAL = 3
    DATE = 4
    TIMESTAMP = 5
    DURATION = 6
    UUID = 7
    DOUBLE = 8
    TEXT = 9
    BYTES = 10


class Form(IntEnum):
    """How a value stands in its row. The numbers are known to the native module, too.

    All but ``TEXT`` are of the binary protocol alone.
    """

    TEXT = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    DOUBLE = 9
    DATE = 10
    DATETIME = 11
    TIME = 12


class State(IntEnum):
    """Where the decoder stands. The numbers are known to the native module, too."""

    MORE = 0
    FULL = 1
    ODD = 2
    END = 3
    FAILED = 4


@dataclass(frozen=True)
class Field:
    """One column of the stream.

    Attributes:
        kind: what its values become.
        width: bytes of one value in its Arrow array; 0 for ``BOOL``, ``TEXT`` and ``BYTES``.
        nullable: whether NULL may come.
        precision: digits of a decimal.
        scale: digits of a decimal after its point.
        max_bytes: the largest value in bytes that is taken, for ``TEXT`` and ``BYTES``; 0 for no bound.
        zero_is_null: a zero date is NULL.
        form: how its values stand in a row.
    """

    kind: Kind
    width: int = 0
    nullable: bool = True
    precision: int = 0
    scale: int = 0
    max_bytes: int = 0
    zero_is_null: bool = False
    form: Form = Form.TEXT


class DamagedStream(ValueError):
    """The bytes are not what the protocol allows."""
