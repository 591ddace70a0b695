"""Decodes Python values into Arrow arrays by their class: SQLite's storage classes, and drivers without a text form.

Each value is checked: a column takes only the classes that its type stands for, so nothing is converted by accident.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

import pyarrow as pa
from pyarrow import types as at

from rivet_core.api.compute import compute as pc
from rivet_core.builtin.sqlalchemy import text
from rivet_core.builtin.sqlalchemy.text import Refused

#: What SQLite calls the classes of its values; other classes go by their Python names.
STORAGE_CLASSES: Final[dict[type, str]] = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}

_BYTES: Final[set[type]] = {bytes, bytearray, memoryview}

# Every decimal of so many digits survives the way into a float and back, and floats hold every power of ten up to this.
_SHORT_DIGITS: Final = 15
_EXACT_POWERS: Final = 22
# Whole numbers with room for those digits, by the width of the decimal in bits.
_WHOLE: Final = {128: pa.decimal128(19), 256: pa.decimal256(19)}


def class_name(value: type) -> str:
    """Return how messages name the class of a value."""
    return STORAGE_CLASSES.get(value, value.__name__)


def classes_of(values: Iterable[object]) -> set[type]:
    """Return the classes of the values that are not NULL."""
    classes = set(map(type, values))
    classes.discard(type(None))
    return classes


def infer(values: Sequence[object]) -> tuple[pa.DataType | None, str]:
    """Return the type that a first look at a column suggests, and what was seen there.

    ``None`` stands for a mixture, or for decimals, whose precision no value tells. A column without a value is of type
    ``null``.
    """
    classes = classes_of(values)
    seen = " and ".join(sorted(class_name(item) for item in classes))
    if not classes:
        return pa.null(), "NULL"
    if classes == {int, float}:
        return pa.float64(), seen
    if len(classes) > 1:
        return None, seen
    only = classes.pop()
    if only is datetime:
        zones = {value.tzinfo is not None for value in values if isinstance(value, datetime)}
        if len(zones) > 1:
            return None, "datetime with and without time zone"
        return pa.timestamp("us", "UTC" if zones.pop() else None), seen
    return _BY_CLASS.get(only), seen


_BY_CLASS: Final[dict[type, pa.DataType]] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    bytearray: pa.binary(),
    memoryview: pa.binary(),
    date: pa.date32(),
    time: pa.time64("us"),
    timedelta: pa.duration("us"),
    UUID: pa.uuid(),
    dict: pa.json_(pa.string()),
    list: pa.json_(pa.string()),
}


def convertible(target: pa.DataType) -> bool:
    """Whether ``decode`` has a form of ``target``."""
    return any(matches(target) for matches, _, _ in _DECODERS)


def decode(values: Sequence[Any], target: pa.DataType, *, overridden: bool = False) -> pa.Array[Any]:
    """Decode one column.

    Args:
        overridden: the user asked for ``target``; text then takes every class, as its plain text.

    Raises:
        Refused: a value's class, or the value itself, has no exact form in ``target``.
        pa.ArrowException: the same, as Arrow says it.
    """
    found = _of_one_class(values, target)
    if found is not None:
        return found
    classes = classes_of(values)
    if at.is_string(target) and overridden and not classes <= {str}:
        return pa.array([None if value is None else plain_text(value) for value in values], target)
    for matches, accepted, build in _DECODERS:
        if matches(target):
            strange = classes - accepted
            if strange:
                names = " and ".join(sorted(class_name(item) for item in strange))
                raise Refused(f"is stored as {names}")
            return build(values, target, classes)
    raise AssertionError(f"no decoder for {target}")


def _of_one_class(values: Sequence[Any], target: pa.DataType) -> pa.Array[Any] | None:
    """Decode integers and texts as what Arrow takes them for by itself, which tells their class in the same pass.

    ``None`` for everything else, and for what is refused: others say why.
    """
    first = next((value for value in values if value is not None), None)
    natural = next((natural for kind, natural, takes in _NATURAL if type(first) is kind and takes(target)), None)
    if natural is None:
        return None
    try:
        array: pa.Array[Any] = pa.array(values)
        if array.type != natural:
            return None
        return array if natural == target else array.cast(target)
    except (pa.ArrowException, ValueError, OverflowError):
        return None


# Not floats, among which Arrow takes booleans.
_NATURAL: Final[tuple[tuple[type, pa.DataType, text.Predicate], ...]] = (
    (int, pa.int64(), at.is_integer),
    (str, pa.string(), at.is_string),
    (str, pa.string(), at.is_date32),
    (str, pa.string(), at.is_timestamp),
)


def plain_text(value: object) -> str:
    """Return the text that keeps a value: shortest decimal digits, ISO 8601, JSON; bytes must be UTF-8.

    Raises:
        Refused: the class has no such text.
        UnicodeDecodeError: bytes that are no text.
    """
    for classes, build in _TEXTS:
        if isinstance(value, classes):
            return build(value)
    raise Refused(f"is of the class {type(value).__name__}, which has no text form")


_TEXTS: Final[tuple[tuple[tuple[type, ...], Callable[[Any], str]], ...]] = (
    ((str,), str),
    ((bool,), lambda value: "true" if value else "false"),
    ((int, float, Decimal, UUID), str),
    ((date, time), lambda value: str(value.isoformat())),
    ((bytes, bytearray, memoryview), lambda value: bytes(value).decode("utf-8")),
    ((dict, list), lambda value: json.dumps(value, ensure_ascii=False)),
    ((timedelta,), lambda value: f"{value // timedelta(microseconds=1)} us"),
)


def _integers(values: Sequence[Any], target: pa.DataType, classes: set[type]) -> pa.Array[Any]:
    return pa.array(values, target)


def _floats(values: Sequence[Any], target: pa.DataType, classes: set[type]) -> pa.Array[Any]:
    # From Python integers Arrow takes only those that a double holds exactly.
    doubles = pa.array(values, pa.float64())
    return doubles if at.is_float64(target) else text.checked_cast(doubles, target)


def _booleans(values: Sequence[Any], target: pa.DataType, classes: set[type]) -> pa.Array[Any]:
    if classes <= {bool}:
        return pa.array(values, target)
    if bool in classes:
        values = [None if value is None else int(value) for value in values]
    try:
        numbers = pa.array(values, pa.int8())
    except (pa.ArrowInvalid, OverflowError):
        raise Refused("is neither 0 nor 1") from None
    seen: Any = pc.min_max(numbers).as_py()
    if classes and not 0 <= seen["min"] <= seen["max"] <= 1:
        raise Refused("is neither 0 nor 1")
    return numbers.cast(target)


def _decimals(values: Sequence[Any], target: Any, classes: set[type]) -> pa.Array[Any]:
    if classes <= {str}:
        return text.parse(values, target)
    if classes <= {int, float}:
        numbers = _short_decimals(values, target)
        if numbers is not None:
            return numbers
    # A float goes by its shortest digits, which give the same float back.
    return text.parse([None if value is None else str(value) for value in values], target)


def _short_decimals(values: Sequence[float | None], target: Any) -> pa.Array[Any] | None:
    """Decode numbers that stand for decimals of at most 15 digits; ``None`` if one of them does not.

    Two decimals of so few digits never share a float. So the one that gives the float back is that of the shortest
    digits. What is divided are whole numbers that floats hold exactly, so the quotient is the float nearest to it.
    """
    wide = _WHOLE.get(target.bit_width)
    if wide is None or not 0 <= target.scale <= _EXACT_POWERS:
        return None
    unit = float(10**target.scale)
    try:
        floats = pa.array(values, pa.float64())
    except (pa.ArrowInvalid, OverflowError):  # an integer that no float holds
        return None
    units: Any = pc.round(pc.multiply(floats, unit))
    bound = 10 ** min(_SHORT_DIGITS, target.precision)
    kept = pc.and_(pc.equal(pc.divide(units, unit), floats), pc.less(pc.abs(units), bound))
    if not pc.all(kept, min_count=0).as_py():
        return None
    whole = units.cast(pa.int64()).cast(wide)
    return pa.Array.from_buffers(target, len(whole), whole.buffers(), whole.null_count, whole.offset)


def _strings(values: Sequence[Any], target: pa.DataType, classes: set[type]) -> pa.Array[Any]:
    return pa.array(values, target)


def _bytes(values: Sequence[Any], target: pa.DataType, classes: set[type]) -> pa.Array[Any]:
    if not classes <= {bytes}:
        values = [None if value is None else bytes(value) for value in values]
    return pa.array(values, target)


def _json(values: Sequence[Any], target: pa.DataType, classes: set[type]) -> pa.Array[Any]:
    text.check_json(values)
    return text.parse([None if value is None else plain_text(value) for value in values], target)


def _uuids(values: Sequence[Any], target: Any, classes: set[type]) -> pa.Array[Any]:
    if bytes in classes:
        if str in classes:
            raise Refused("is stored as BLOB in one row and as TEXT in another")
        return pa.ExtensionArray.from_storage(target, pa.array(values, pa.binary(16)))
    if not classes <= {str}:
        values = [None if value is None else str(value) for value in values]
    return text.parse(values, target)


def _timestamps(values: Sequence[Any], target: Any, classes: set[type]) -> pa.Array[Any]:
    if classes <= {str}:
        return text.parse(values, target)
    zoned = target.tz is not None
    texts = [value.isoformat(sep=" ") if isinstance(value, datetime) else value for value in values]
    if datetime in classes and any(
        (value.tzinfo is not None) != zoned for value in values if isinstance(value, datetime)
    ):
        raise Refused("has no time zone" if zoned else "has a time zone")
    return text.parse(texts, target)


def _iso(values: Sequence[Any], target: pa.DataType, classes: set[type]) -> pa.Array[Any]:
    if classes <= {str}:
        return text.parse(values, target)
    if time in classes and any(value.tzinfo is not None for value in values if isinstance(value, time)):
        raise Refused("has a time zone")
    return text.parse(
        [value if value is None or isinstance(value, str) else value.isoformat() for value in values], target
    )


def _durations(values: Sequence[Any], target: pa.DataType, classes: set[type]) -> pa.Array[Any]:
    if str in classes:
        return text.parse(values, target)
    return pa.array(values, pa.duration("us")).cast(target)


_Build: TypeAlias = "Callable[[Sequence[Any], Any, set[type]], pa.Array[Any]]"
_DECODERS: Final[list[tuple[text.Predicate, set[type], _Build]]] = [
    (at.is_null, set(), _integers),
    (at.is_boolean, {bool, int}, _booleans),
    (at.is_integer, {int}, _integers),
    (at.is_floating, {float, int}, _floats),
    (at.is_decimal, {int, float, Decimal, str}, _decimals),
    (at.is_string, {str}, _strings),
    (text.is_json, {str, dict, list}, _json),
    (text.is_uuid, {str, bytes, UUID}, _uuids),
    (at.is_binary, _BYTES, _bytes),
    (at.is_fixed_size_binary, _BYTES, _bytes),
    (at.is_timestamp, {str, datetime}, _timestamps),
    (at.is_date, {str, date}, _iso),
    (at.is_time, {str, time}, _iso),
    (at.is_duration, {str, timedelta}, _durations),
]
