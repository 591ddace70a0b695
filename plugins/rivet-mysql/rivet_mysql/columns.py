"""Chooses for each column how its values become Arrow's: natively, by a cast of Arrow's, or by the slow decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import types as at

from rivet_core.builtin.sqlalchemy.columns import Reader, ResultColumn
from rivet_mysql.binary import Look, as_text, form_of, look_of
from rivet_mysql.fields import Field, Form, Kind

if TYPE_CHECKING:
    from rivet_core.api import ReadOptions

Buffers = tuple[pa.Buffer | None, pa.Buffer | None, pa.Buffer]


class NeedsText(Exception):
    """A column can be read from the text protocol alone."""


class Way(Enum):
    """How what the native decoder gives becomes the exported array."""

    NATIVE = "it is the array"
    CAST = "text, which Arrow parses"
    SLOW = "text or bytes, which the decoder of the SQLAlchemy source reads"


@dataclass(frozen=True)
class Column:
    """One column of a result that is read natively.

    Attributes:
        reader: what the SQLAlchemy source would do; it also says why a value is refused.
        field: what the native decoder is told.
        storage: the type of the arrays that the native decoder's buffers make.
        way: what becomes of them.
        is_text: the value would be ``str`` in Python, not ``bytes``.
        look: what the text of its values looks like.
    """

    reader: Reader
    field: Field
    storage: pa.DataType
    way: Way
    is_text: bool
    look: Look

    def raw(self, rows: int, buffers: Buffers) -> Any:
        """Return the array that the native decoder has made."""
        validity, offsets, data = buffers
        parts = [validity, data] if offsets is None else [validity, offsets, data]
        return pa.Array.from_buffers(self.storage, rows, parts)

    def as_driver(self, raw: bytes | None) -> str | bytes | None:
        """Return a value as PyMySQL would give it from the text protocol, with no conversion.

        Raises:
            UnicodeDecodeError: text that is no UTF-8.
        """
        if raw is None:
            return None
        value = as_text(self.field.form, raw, self.look)
        return value.decode("utf-8") if self.is_text else value

    def array(self, raw: Any) -> Any:
        """Return the exported array.

        Raises:
            ValueError, pa.ArrowException, ...: as the reader's decoder does.
        """
        target: Any = self.reader.column.type
        if self.way is Way.SLOW:
            return self.reader.decode(raw.to_pylist())
        if self.way is Way.CAST:
            return raw.cast(target)
        return pa.ExtensionArray.from_storage(target, raw) if isinstance(target, pa.BaseExtensionType) else raw


def choose(
    columns: Sequence[ResultColumn],
    readers: Sequence[Reader],
    result: Any,
    options: ReadOptions,
    *,
    binary: bool,
) -> list[Column]:
    """Return how to read every column.

    Args:
        columns: as the server describes them.
        readers: what the SQLAlchemy source would do with them.
        result: PyMySQL's description.
        options: how the export wants its values read.
        binary: the rows are of the binary protocol.

    Raises:
        NeedsText: the values of a column do not suffice in their binary form.
    """
    chosen = []
    for column, reader, described, converter in zip(columns, readers, result.fields, result.converters, strict=True):
        natural, target, is_text = column.type, reader.column.type, converter[0] is not None
        form = form_of(described) if binary else Form.TEXT
        if form is None:
            raise NeedsText
        field, way = _way(natural, target, form, is_text=is_text)
        bounded = replace(
            field,
            nullable=reader.column.nullable or way is not Way.NATIVE,
            max_bytes=options.max_value_bytes if reader.wide else 0,
            zero_is_null=options.zero_dates == "null" and field.kind in (Kind.DATE, Kind.TIMESTAMP),
            form=form,
        )
        chosen.append(Column(reader, bounded, _storage(field, target, way), way, is_text, look_of(described)))
    return chosen


#: What values become without their text, by the forms that no text has.
_KINDS: Final = {
    Form.DATE: {Kind.DATE},
    Form.DATETIME: {Kind.TIMESTAMP},
    Form.TIME: {Kind.DURATION},
}
_INTEGERS: Final = {Kind.INTEGER, Kind.UNSIGNED, Kind.BOOL}


def _way(natural: pa.DataType | None, target: Any, form: Form, *, is_text: bool) -> tuple[Field, Way]:
    if form is Form.TEXT:
        return _text_way(natural, target, is_text=is_text)
    if natural is None:
        raise NeedsText
    if form is Form.DOUBLE and natural == target and at.is_floating(target):
        return Field(Kind.DOUBLE, target.bit_width // 8), Way.NATIVE
    field = _same_kind(natural, target)
    if field is None or field.kind not in _KINDS.get(form, _INTEGERS):
        raise NeedsText
    return field, Way.NATIVE


def _text_way(natural: pa.DataType | None, target: pa.DataType, *, is_text: bool) -> tuple[Field, Way]:
    if natural is not None and not at.is_null(natural):
        # Bytes become text only where they are UTF-8, which is checked in any text.
        if at.is_string(target) or (natural == target and isinstance(natural, pa.JsonType)):
            return Field(Kind.TEXT), Way.NATIVE
        if at.is_binary(natural) and at.is_binary(target):
            return Field(Kind.BYTES), Way.NATIVE
        if natural == target and at.is_floating(natural):
            return Field(Kind.TEXT), Way.CAST
        field = _same_kind(natural, target) if is_text else None
        if field is not None:
            return field, Way.NATIVE
    return Field(Kind.TEXT if is_text else Kind.BYTES), Way.SLOW


def _same_kind(natural: pa.DataType, target: Any) -> Field | None:
    """Return how to read values of fixed width; ``None`` where more than the form of the text must be checked."""
    if at.is_integer(natural) or at.is_decimal(natural) or at.is_boolean(natural):
        return _number(natural, target)
    if natural != target:
        return None
    if isinstance(target, pa.UuidType):
        return Field(Kind.UUID, 16)
    if isinstance(target, pa.TimestampType):
        return Field(Kind.TIMESTAMP, 8) if target.unit == "us" else None
    if at.is_date32(target):
        return Field(Kind.DATE, 4)
    return Field(Kind.DURATION, 8) if target == pa.duration("us") else None


def _number(natural: pa.DataType, target: Any) -> Field | None:
    if at.is_decimal128(target) or at.is_decimal256(target):
        return Field(Kind.DECIMAL, target.bit_width // 8, precision=target.precision, scale=target.scale)
    if at.is_decimal(natural):
        return None
    if at.is_boolean(target):
        return Field(Kind.BOOL)
    if at.is_integer(target):
        return Field(Kind.INTEGER if at.is_signed_integer(target) else Kind.UNSIGNED, target.bit_width // 8)
    return None


def _storage(field: Field, target: pa.DataType, way: Way) -> pa.DataType:
    """Return the Arrow type that the buffers of the native decoder have."""
    if way is Way.NATIVE and not isinstance(target, pa.BaseExtensionType):
        return target
    if field.kind is Kind.UUID:
        return pa.binary(16)
    return pa.binary() if field.kind is Kind.BYTES else pa.string()
