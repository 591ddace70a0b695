"""Decides how each column of a result is copied: in its binary form, or as the text that the server makes of it.

What has no binary form of ours arrives as text, and the SQLAlchemy source's own decoders read that; so the values are
the same whichever of the two sources reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import types as at

from rivet_core.builtin.sqlalchemy.columns import SHORT_BYTES
from rivet_postgres.fields import Column, Field, Kind

if TYPE_CHECKING:
    from rivet_core.builtin.sqlalchemy.columns import Reader, ResultColumn

Predicate = Callable[[Any], bool]

_KINDS: Final[tuple[tuple[Predicate, Kind], ...]] = (
    (at.is_boolean, Kind.BOOL),
    (at.is_int16, Kind.WORD16),
    (at.is_int32, Kind.WORD32),
    (at.is_uint32, Kind.WORD32),
    (at.is_int64, Kind.WORD64),
    (at.is_float32, Kind.WORD32),
    (at.is_float64, Kind.WORD64),
    (at.is_date32, Kind.DATE),
    (at.is_time64, Kind.TIME),
    (at.is_timestamp, Kind.TIMESTAMP),
    (lambda type_: isinstance(type_, pa.UuidType), Kind.UUID),
    (at.is_decimal128, Kind.DECIMAL128),
    (at.is_decimal256, Kind.DECIMAL256),
    (at.is_binary, Kind.BYTES),
)


@dataclass(frozen=True)
class CopiedColumn:
    """How one column is copied.

    Attributes:
        reader: what it becomes; its decoder reads what arrives where that is not ``direct``.
        field: what the native decoder is told.
        as_text: the server sends the value's text.
        arrives: the Arrow type of what the native decoder makes.
        direct: what arrives is the column already, but for the wrapping of an extension type.
    """

    reader: Reader
    field: Field
    as_text: bool
    arrives: pa.DataType
    direct: bool

    def array(self, column: Column, count: int) -> pa.Array[Any]:
        """Return what has arrived as an array over the decoder's buffers."""
        values = [column.data] if column.offsets is None else [column.offsets, column.data]
        nulls = 0 if column.validity is None else -1
        array: pa.Array[Any] = pa.Array.from_buffers(self.arrives, count, [column.validity, *values], null_count=nulls)
        return array

    def finished(self, array: Any) -> pa.Array[Any]:
        """Return a direct column's array in its type."""
        target: Any = self.reader.column.type
        if at.is_dictionary(target):
            return array.dictionary_encode().cast(target)  # type: ignore[no-any-return]
        return pa.ExtensionArray.from_storage(target, array) if isinstance(target, pa.BaseExtensionType) else array


def copied_columns(
    described: Sequence[ResultColumn], readers: Sequence[Reader], max_value_bytes: int
) -> list[CopiedColumn]:
    """Return how each column is copied, in order."""
    return [_copied(column, reader, max_value_bytes) for column, reader in zip(described, readers, strict=True)]


def _copied(column: ResultColumn, reader: Reader, max_value_bytes: int) -> CopiedColumn:
    target = reader.column.type
    kind, as_text, direct = _way(column, target, max_value_bytes)
    precision, scale = (target.precision, target.scale) if isinstance(target, _DECIMALS) else (0, 0)
    field = Field(kind, reader.column.nullable, max_value_bytes if reader.wide else 0, precision, scale)
    return CopiedColumn(reader, field, as_text, _arrives(column, target, kind, as_text=as_text), direct)


def _way(column: ResultColumn, target: pa.DataType, max_value_bytes: int) -> tuple[Kind, bool, bool]:
    """Return the kind that arrives, whether it is the server's text, and whether it is the column already."""
    natural = column.type
    if _is_sent_as_text(column):
        return Kind.BYTES, False, at.is_string(target) or (natural == target and at.is_dictionary(target))
    if natural is not None and at.is_binary(natural):
        return Kind.BYTES, False, natural == target
    if isinstance(target, _DECIMALS) and _is_numeric(column) and max_value_bytes >= SHORT_BYTES and target.scale >= 0:
        kind = Kind.DECIMAL128 if at.is_decimal128(target) else Kind.DECIMAL256
        return kind, False, True
    if natural == target:
        if isinstance(target, pa.JsonType):
            return (Kind.JSONB if column.source_type == "jsonb" else Kind.BYTES), False, True
        for matches, kind in _KINDS:
            if matches(target):
                return kind, False, True
    return Kind.BYTES, True, at.is_string(target)


def _is_sent_as_text(column: ResultColumn) -> bool:
    """Whether the binary form is the text."""
    if column.type is None or column.fidelity != "exact" or column.source_type == '"char"':
        return False
    return at.is_string(column.type) or at.is_dictionary(column.type)


def _is_numeric(column: ResultColumn) -> bool:
    return column.numeric == "value" or isinstance(column.type, _DECIMALS)


def _arrives(column: ResultColumn, target: Any, kind: Kind, *, as_text: bool) -> pa.DataType:
    if kind is Kind.UUID:
        return pa.binary(16)
    if kind not in {Kind.BYTES, Kind.JSONB}:
        return target  # type: ignore[no-any-return]
    return pa.binary() if not as_text and column.type is not None and at.is_binary(column.type) else pa.string()


_DECIMALS: Final = (pa.Decimal128Type, pa.Decimal256Type)
