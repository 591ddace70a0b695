"""The forms of values in the binary protocol: which a column has, and the text that stands for a value otherwise."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from rivet_mysql.fields import Form

# Field types of the protocol (include/field_types.h).
_FLOAT: Final = 4
_INTEGERS: Final = {1: Form.INT8, 2: Form.INT16, 13: Form.INT16, 3: Form.INT32, 9: Form.INT32, 8: Form.INT64}
_OTHERS: Final = {5: Form.DOUBLE, 7: Form.DATETIME, 10: Form.DATE, 11: Form.TIME, 12: Form.DATETIME, 14: Form.DATE}
_UNSIGNED: Final = {
    Form.INT8: Form.UINT8,
    Form.INT16: Form.UINT16,
    Form.INT32: Form.UINT32,
    Form.INT64: Form.UINT64,
}
_UNSIGNED_FLAG, _ZEROFILL_FLAG = 32, 64
_MOST_DECIMALS: Final = 6

_DATE: Final = struct.Struct("<HBB")
_CLOCK: Final = struct.Struct("<BBB")
_SPAN: Final = struct.Struct("<?IBBB")
_MICROS: Final = struct.Struct("<I")


def form_of(field: Any) -> Form | None:
    """Return the form that a column's values have, by the protocol's description of it.

    ``None`` stands for FLOAT, whose text has six digits: what it becomes must not depend on the protocol.
    """
    code = field.type_code
    if code == _FLOAT:
        return None
    if code in _INTEGERS:
        form = _INTEGERS[code]
        return _UNSIGNED[form] if field.flags & _UNSIGNED_FLAG else form
    return _OTHERS.get(code, Form.TEXT)


@dataclass(frozen=True)
class Look:
    """What the text of a column's values looks like.

    Attributes:
        digits: an integer has at least so many.
        decimals: digits of a second; more than six where the server does not know.
    """

    digits: int = 0
    decimals: int = 0


def look_of(field: Any) -> Look:
    """Return what the text of a column looks like, by the protocol's description of it."""
    return Look(field.length if field.flags & _ZEROFILL_FLAG else 0, field.scale)


def as_text(form: Form, raw: bytes, look: Look) -> bytes:
    """Return what the server sends for a value in the text protocol.

    Args:
        form: how the value stands in its row.
        raw: the value without a length in front; of a form and size that the decoder has checked.
        look: the column's.
    """
    if form is Form.TEXT:
        return raw
    if form is Form.DOUBLE:
        return repr(struct.unpack("<d", raw)[0]).encode()
    if form is Form.TIME:
        return _time(raw, look.decimals).encode()
    if form in {Form.DATE, Form.DATETIME}:
        return _moment(form, raw, look.decimals).encode()
    return str(int.from_bytes(raw, "little", signed=form <= Form.INT64)).zfill(look.digits).encode()


def _moment(form: Form, raw: bytes, decimals: int) -> str:
    year, month, day = _DATE.unpack_from(raw) if raw else (0, 0, 0)
    date = f"{year:04}-{month:02}-{day:02}"
    if form is Form.DATE and len(raw) <= _DATE.size:
        return date
    clock = _CLOCK.unpack_from(raw, _DATE.size) if len(raw) > _DATE.size else (0, 0, 0)
    return f"{date} {clock[0]:02}:{clock[1]:02}:{clock[2]:02}{_fraction(raw, _DATE.size + _CLOCK.size, decimals)}"


def _time(raw: bytes, decimals: int) -> str:
    negative, days, hours, minutes, seconds = _SPAN.unpack_from(raw) if raw else (False, 0, 0, 0, 0)
    sign = "-" if negative else ""
    return f"{sign}{24 * days + hours:02}:{minutes:02}:{seconds:02}{_fraction(raw, _SPAN.size, decimals)}"


def _fraction(raw: bytes, at: int, decimals: int) -> str:
    """Return the fraction of a second that begins ``at``, where there is one."""
    micros = _MICROS.unpack_from(raw, at)[0] if len(raw) > at else 0
    # An expression may have more digits than any value: the server says so for one whose digits it does not know.
    digits = _MOST_DECIMALS if micros and (decimals > _MOST_DECIMALS or not decimals) else decimals
    return f".{micros:06}"[: 1 + digits] if 0 < digits <= _MOST_DECIMALS else ""
