"""What the decoder is told about each column, and how it says what is wrong with a stream or a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class Kind(IntEnum):
    """How a field's bytes become an Arrow value. The numbers are known to the native module, too."""

    BOOL = 0
    WORD16 = 1
    WORD32 = 2
    WORD64 = 3
    DATE = 4
    TIME = 5
    TIMESTAMP = 6
    UUID = 7
    DECIMAL128 = 8
    DECIMAL256 = 9
    BYTES = 10
    JSONB = 11


@dataclass(frozen=True)
class Field:
    """One column of the stream.

    Attributes:
        kind: how its bytes are read.
        nullable: whether NULL may come.
        max_bytes: the largest value in bytes that is taken, for ``BYTES`` and ``JSONB``; 0 for no bound.
        precision: digits of a decimal.
        scale: digits of a decimal after its point.
    """

    kind: Kind
    nullable: bool = True
    max_bytes: int = 0
    precision: int = 0
    scale: int = 0


@dataclass(frozen=True)
class Column:
    """The buffers of one column of a batch, as Arrow's columnar format has them.

    Attributes:
        validity: the bitmap of the values that are not NULL; ``None`` where all are there.
        offsets: where each value of ``BYTES`` and ``JSONB`` begins; ``None`` for the other kinds.
        data: the values.
        ascii: the values of ``BYTES`` and ``JSONB`` have no byte above 127, so they are UTF-8.
    """

    validity: pa.Buffer | None
    offsets: pa.Buffer | None
    data: pa.Buffer
    ascii: bool = False


@dataclass(frozen=True)
class Rows:
    """Some rows in columnar form."""

    count: int
    columns: list[Column]


class MalformedStream(ValueError):
    """The bytes are not what PostgreSQL's binary COPY sends."""


class Reason(IntEnum):
    """Why a value is refused. The numbers are known to the native module, too."""

    UNFIT = 1
    NULL = 2
    LARGE = 3


class RefusedField(ValueError):
    """A value has no exact form in its column's type.

    Attributes:
        column: its position, counted from 0.
        row: its number, counted from 1 since the decoder began.
        reason: why.
        size: bytes of the value.
        rows: the row alone, the refused values replaced by NULL; ``None`` where it has not come as a whole.
    """

    def __init__(self, column: int, row: int, reason: Reason, size: int, rows: Rows | None) -> None:
        super().__init__(f"row {row}, column {column}: {reason.name}")
        self.column = column
        self.row = row
        self.reason = reason
        self.size = size
        self.rows = rows
