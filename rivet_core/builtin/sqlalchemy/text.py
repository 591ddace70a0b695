"""Decodes values that arrive as the server's own text, a column at a time, into Arrow arrays.

The parsing is Arrow's, in C++; Python looks at single values only where Arrow has no parser. Every decoder either
keeps the value exactly or raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeAlias

import pyarrow as pa
from pyarrow import types as at

from rivet_core.api.compute import compute as pc

Decoder: TypeAlias = "Callable[[Sequence[Any]], pa.Array[Any]]"
Parser: TypeAlias = "Callable[[Sequence[Any], Any], pa.Array[Any]]"
Predicate: TypeAlias = Callable[[Any], bool]

_UUID_LENGTH: Final = 36
_UUID_DASHES: Final = (8, 13, 18, 23)
_CLOCK: Final = re.compile(r"(-?)(\d{2,}):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?")
_BOOLEANS: Final = {"t": True, "f": False, "1": True, "0": False, "true": True, "false": False}
_ARRAY_ITEM: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,]+)', re.DOTALL)
_ARRAY_MARK: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL)
_INNER: Final = 2
_OTHER_DIMENSIONS: Final = "is an array of other dimensions or with bounds of its own"
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_DECIMAL: Final = re.compile(r"([-+]?)(?=\.?\d)0*(\d*)(?:\.(\d*))?", re.ASCII)
_EXPONENT: Final = re.compile(r"[-+]?\d{1,40}(?:\.\d{0,40})?[eE][-+]?\d{1,3}", re.ASCII)


class Refused(ValueError):
    """A value has no exact form in the target type; the message says why without the value."""


def is_uuid(type_: pa.DataType) -> bool:
    """Whether values are UUIDs."""
    return isinstance(type_, pa.UuidType)


def is_json(type_: pa.DataType) -> bool:
    """Whether values are JSON texts."""
    return isinstance(type_, pa.JsonType)


def is_naive(type_: pa.DataType) -> bool:
    """Whether values are timestamps without a time zone."""
    return isinstance(type_, pa.TimestampType) and type_.tz is None


def is_instant(type_: pa.DataType) -> bool:
    """Whether values are timestamps in UTC."""
    return isinstance(type_, pa.TimestampType) and type_.tz is not None


# What text keeps exactly. Binary floating point is not among it: most decimal texts have no such value.
_PARSABLE: Final[tuple[Predicate, ...]] = (
    at.is_string,
    at.is_boolean,
    at.is_integer,
    at.is_decimal,
    at.is_date32,
    at.is_timestamp,
    at.is_time,
    at.is_duration,
    is_uuid,
    is_json,
)
_LOSSLESS: Final[tuple[tuple[Predicate, tuple[Predicate, ...]], ...]] = (
    (at.is_null, _PARSABLE),
    (at.is_string, _PARSABLE),
    (at.is_boolean, (at.is_integer,)),
    (at.is_integer, (at.is_integer, at.is_decimal, at.is_boolean, at.is_floating)),
    (at.is_floating, (at.is_floating,)),
    (at.is_decimal, (at.is_decimal, at.is_integer)),
    (at.is_date, (is_naive,)),
    (is_naive, (is_naive, at.is_date32)),
    (is_instant, (is_instant,)),
    (at.is_time, (at.is_time, at.is_duration)),
    (at.is_duration, (at.is_duration, at.is_time)),
    (is_uuid, (at.is_binary, at.is_fixed_size_binary)),
    (at.is_binary, (is_uuid, at.is_fixed_size_binary)),
)


def parsable(target: pa.DataType) -> bool:
    """Whether text keeps values of ``target`` exactly, so that ``parse`` may read them from it."""
    return any(matches(target) for matches in _PARSABLE)


def convertible(natural: pa.DataType | None, target: pa.DataType) -> bool:
    """Whether values of a column can be exported as ``target`` without loss, each value checked.

    Args:
        natural: what the column maps to by itself; ``None`` for a numeric without precision.
    """
    if at.is_string(target) or natural == target:
        return True
    if natural is not None and at.is_dictionary(natural):
        natural = natural.value_type
    if natural is None:
        return bool(at.is_decimal(target) or at.is_integer(target))
    if isinstance(natural, pa.ListType):
        return isinstance(target, pa.ListType) and (
            convertible(natural.value_type, target.value_type) or convertible(natural, target.value_type)
        )
    return any(source(natural) and any(accepts(target) for accepts in targets) for source, targets in _LOSSLESS)


def decoder(natural: pa.DataType | None, target: pa.DataType) -> Decoder:
    """Return what decodes a column's values to ``target``; ``convertible`` says whether it can."""
    if natural is not None and natural != target and at.is_dictionary(natural):
        natural = natural.value_type
    if natural is not None and natural != target:
        if at.is_binary(natural):
            return partial(_from_bytes, target=target)
        if at.is_string(natural):
            return partial(_from_free_text, target=target)
    if at.is_integer(target) and (natural is None or at.is_decimal(natural)):
        return partial(_whole_numbers, target=target)
    if natural is not None and any(source(natural) and accepts(target) for source, accepts in _BY_CAST):
        return partial(_through, natural=natural, target=target)
    return partial(parse, target=target)


# Where the text of the one type is no text of the other.
_BY_CAST: Final[tuple[tuple[Predicate, Predicate], ...]] = (
    (at.is_boolean, at.is_integer),
    (at.is_integer, at.is_floating),
    (at.is_floating, at.is_floating),
    (is_naive, at.is_date32),
    (is_uuid, at.is_binary),
    (is_uuid, at.is_fixed_size_binary),
)


def parse(values: Sequence[Any], target: pa.DataType) -> pa.Array[Any]:
    """Parse one column of text (``None`` for NULL; bytes where ``target`` is binary) to ``target``.

    Raises:
        Refused: a value has no exact form in ``target``.
        pa.ArrowException: the same, as Arrow says it.
    """
    for matches, build in _PARSERS:
        if matches(target):
            return build(values, target)
    strings: pa.Array[Any] = pa.array(values, pa.string())
    return strings if at.is_string(target) else strings.cast(target)


def clock_microseconds(text: str) -> int:
    """Return the microseconds of ``[-]HH:MM:SS[.ffffff]`` with any number of hours."""
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise Refused("is no time of the form HH:MM:SS")
    sign, hours, minutes, seconds, fraction = found.groups(default="")
    micros = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 1_000_000 + int(fraction.ljust(6, "0"))
    return -micros if sign else micros


def _parse_booleans(values: Sequence[str | None], target: pa.DataType) -> pa.Array[Any]:
    try:
        return pa.array([None if value is None else _BOOLEANS[value] for value in values], target)
    except KeyError:
        raise Refused("is neither true nor false") from None


def _parse_decimals(values: Sequence[str | None], target: Any) -> pa.Array[Any]:
    """Parse decimal texts. Arrow makes another number of digits that a decimal has no room for, so none may come."""
    strings: Any = pa.array(values, pa.string())
    room = (38 if at.is_decimal128(target) else 76) - target.scale
    longest = pc.max(pc.binary_length(strings)).as_py() or 0
    if longest > room or _has_exponent(strings):
        plain = [None if value is None else _plain_decimal(value, target) for value in values]
        strings = pa.array(plain, pa.string())
    array: pa.Array[Any] = strings.cast(target)
    return array


def _has_exponent(strings: pa.Array[Any]) -> bool:
    """Look for its letter in the values of a new array, which lie one after the other."""
    data = strings.buffers()[2]
    text = b"" if data is None else data.to_pybytes()
    return b"e" in text or b"E" in text


def _plain_decimal(text: str, target: Any) -> str:
    """Return a number's text without exponent and zeros that do not count; any other text as it is.

    Raises:
        pa.ArrowInvalid: it has more digits before or after its point than ``target``.
    """
    if "e" in text.lower() and _EXPONENT.fullmatch(text):
        text = format(Decimal(text), "f")
    found = _PLAIN_DECIMAL.fullmatch(text)
    if found is None:
        return text
    sign, whole, fraction = found.groups(default="")
    fraction = fraction.rstrip("0")
    if len(whole) > target.precision - target.scale or len(fraction) > target.scale:
        raise pa.ArrowInvalid("more digits than the decimal has")
    return f"{sign}{whole or '0'}" + (f".{fraction}" if fraction else "")


def _parse_times(values: Sequence[str | None], target: pa.DataType) -> pa.Array[Any]:
    return _clock_times(pa.array(values, pa.string())).cast(target)


def _clock_times(strings: Any) -> pa.Array[Any]:
    # Arrow parses timestamps but not times of day.
    day: Any = "1970-01-01 "
    moments: Any = pc.binary_join_element_wise(day, strings, "")
    times: pa.Array[Any] = moments.cast(pa.timestamp("us")).cast(pa.time64("us"))
    return times


def _parse_durations(values: Sequence[str | None], target: pa.DataType) -> pa.Array[Any]:
    micros = _durations_of_a_day(pa.array(values, pa.string()))
    if micros is None:
        counted = [None if value is None else clock_microseconds(value) for value in values]
        micros = pa.array(counted, pa.duration("us"))
    return micros.cast(target)


def _durations_of_a_day(strings: Any) -> pa.Array[Any] | None:
    """Parse durations that are times of day as well, which most are; ``None`` if one is none."""
    shortest = pc.min(pc.binary_length(strings)).as_py()
    if shortest is not None and shortest < len("HH:MM:SS"):  # Arrow would do without seconds
        return None
    try:
        return _clock_times(strings).view(pa.duration("us"))
    except pa.ArrowInvalid:
        return None


def _parse_bytes(values: Sequence[str | bytes | None], target: pa.DataType) -> pa.Array[Any]:
    return pa.array([_unhex(value) if isinstance(value, str) else value for value in values], target)


def _unhex(value: str) -> bytes:
    if not value.startswith("\\x"):
        raise Refused("is no hexadecimal bytea")
    return bytes.fromhex(value[2:])


def _parse_dictionary(values: Sequence[str | None], target: Any) -> pa.Array[Any]:
    return parse(values, target.value_type).dictionary_encode().cast(target)


def _parse_json(values: Sequence[str | None], target: Any) -> pa.Array[Any]:
    return pa.ExtensionArray.from_storage(target, pa.array(values, pa.string()))


def _parse_uuids(values: Sequence[str | None], target: Any) -> pa.Array[Any]:
    """Parse all UUIDs as one text of hexadecimal digits."""
    present = [value for value in values if value is not None]
    together = "".join(present)
    if not set(map(len, present)) <= {_UUID_LENGTH} or any(
        together[place::_UUID_LENGTH] != "-" * len(present) for place in _UUID_DASHES
    ):
        raise Refused("is no UUID")
    try:
        digits = bytes.fromhex(together.replace("-", ""))
    except ValueError:
        raise Refused("is no UUID") from None
    if len(digits) != 16 * len(present):  # further dashes, or the white space that Python skips
        raise Refused("is no UUID")
    raw: Any = pa.Array.from_buffers(pa.binary(16), len(present), [None, pa.py_buffer(digits)])
    if len(present) < len(values):
        places = accumulate((value is not None for value in values), initial=0)
        raw = raw.take(
            pa.array(
                [None if value is None else place for value, place in zip(values, places, strict=False)], pa.int64()
            )
        )
    return pa.ExtensionArray.from_storage(target, raw)


def _parse_arrays(values: Sequence[str | None], target: Any) -> pa.Array[Any]:
    """Parse PostgreSQL's array output (manual 8.15.6) of one dimension for each list, with default lower bounds."""
    items_of: Callable[[str], Sequence[str | None]] = _inner_arrays if at.is_list(target.value_type) else _array_items
    lists = [None if value is None else items_of(value) for value in values]
    items = [item for entry in lists if entry is not None for item in entry]
    offsets = pa.array(accumulate((len(entry or ()) for entry in lists), initial=0), pa.int32())
    mask = pa.array([entry is None for entry in lists], pa.bool_())
    return pa.ListArray.from_arrays(offsets, parse(items, target.value_type), type=target, mask=mask)


def _array_items(text: str) -> list[str | None]:
    if text == "{}":
        return []
    if text[0] != "{" or text[1] == "{":
        raise Refused(_OTHER_DIMENSIONS)
    inner = text[1:-1]
    if '"' not in inner:
        return [None if item == "NULL" else item for item in inner.split(",")]
    return [
        (None if bare == "NULL" else bare) if bare else _ESCAPED.sub(r"\1", quoted)
        for quoted, bare in _ARRAY_ITEM.findall(inner)
    ]


def _inner_arrays(text: str) -> list[str]:
    """Return the texts of the arrays that an array of several dimensions holds."""
    if text == "{}":
        return []
    found = []
    depth = start = 0
    for mark in _ARRAY_MARK.finditer(text):
        if mark[0] == "{":
            depth += 1
            if depth == _INNER:
                start = mark.start()
        elif mark[0] == "}":
            if depth == _INNER:
                found.append(text[start : mark.end()])
            depth -= 1
    if text[0] != "{" or not found:
        raise Refused(_OTHER_DIMENSIONS)
    return found


_PARSERS: Final[tuple[tuple[Predicate, Parser], ...]] = (
    (at.is_null, pa.array),
    (at.is_boolean, _parse_booleans),
    (at.is_decimal, _parse_decimals),
    (at.is_time, _parse_times),
    (at.is_duration, _parse_durations),
    (at.is_binary, _parse_bytes),
    (at.is_list, _parse_arrays),
    (at.is_dictionary, _parse_dictionary),
    (is_uuid, _parse_uuids),
    (is_json, _parse_json),
)


def _through(values: Sequence[str | None], natural: pa.DataType, target: pa.DataType) -> pa.Array[Any]:
    """Decode as what the column is, cast, and prove by casting back that nothing was lost."""
    array: Any = parse(values, natural)
    return array.storage.cast(target) if is_uuid(natural) else checked_cast(array, target)


def _whole_numbers(values: Sequence[str | None], target: pa.DataType) -> pa.Array[Any]:
    """Parse decimals without a fraction other than zeros."""
    return parse(values, pa.decimal256(76, 0)).cast(target)


def checked_cast(array: pa.Array[Any], target: pa.DataType) -> pa.Array[Any]:
    """Cast and prove by casting back that no value changed.

    Raises:
        Refused: a value changed.
        pa.ArrowInvalid: a value does not fit.
    """
    cast = array.cast(target)
    back = cast.cast(array.type)
    same: Any = pc.equal(back, array)
    if at.is_floating(array.type):
        same = pc.or_(same, pc.and_(pc.is_nan(back), pc.is_nan(array)))
    if not pc.all(same, min_count=0).as_py():
        raise Refused("would change")
    return cast


def _from_free_text(values: Sequence[str | None], target: pa.DataType) -> pa.Array[Any]:
    """Parse text of the user's, which need not be canonical as the server's is."""
    array = parse(values, target)
    if at.is_integer(target) and not array.cast(pa.string()).equals(pa.array(values, pa.string())):
        raise Refused("is no integer in its plain form")
    if is_json(target):
        check_json(values)
    return array


def check_json(values: Iterable[object]) -> None:
    """Refuse text that is no JSON (RFC 8259).

    Raises:
        Refused: a text is none.
    """
    for value in values:
        if isinstance(value, str):
            try:
                # Numbers are not looked at, for Python takes no integer of more than 4300 digits.
                json.loads(value, parse_constant=_refuse_constant, parse_int=len, parse_float=len)
            except ValueError:
                raise Refused("is no JSON") from None
            except RecursionError:
                raise Refused("is JSON of too many levels to be checked") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _from_bytes(values: Sequence[bytes | None], target: pa.DataType) -> pa.Array[Any]:
    if at.is_string(target):
        return pa.array([None if value is None else value.decode("utf-8") for value in values], target)
    if isinstance(target, pa.UuidType):
        return pa.ExtensionArray.from_storage(target, pa.array(values, pa.binary(16)))
    return pa.array(values, target)
