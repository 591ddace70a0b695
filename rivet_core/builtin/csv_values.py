"""How the values of one column look in CSV, both ways, a column at a time.

=========================  ======  ==========================================================================
type                       quoted  text
=========================  ======  ==========================================================================
string, json               yes     as it is
binary                     yes     base64 (RFC 4648, padded)
list, struct, map          yes     JSON: arrays; objects; arrays of ``[key, value]``. Integers, booleans and
                                   finite floats are JSON's own, every other value is a string as in this table
bool                       no      ``true``, ``false``
integers                   no      decimal digits
floats                     no      the shortest digits that read back the same; ``nan``, ``inf``, ``-inf``
decimal                    no      plain digits with all decimals of the scale, never an exponent
date                       no      ISO 8601: ``2026-11-22``; years 0001 to 9999
time                       no      ISO 8601: ``17:21:00.000001``
timestamp                  no      ISO 8601: ``2026-11-22T17:21:00.000001``, with a time zone ``…Z`` in UTC
duration                   no      ``-838:59:59.000000``: hours, minutes, seconds
uuid                       no      ``6ba7b810-9dad-11d1-80b4-00c04fd430c8``
=========================  ======  ==========================================================================
"""

from __future__ import annotations

import binascii
import json
import math
from datetime import date
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.types

from rivet_core.api import FormatError
from rivet_core.api.compute import compute as pc

# pyarrow's own annotations lack the attributes of concrete arrays and types and many calls of compute functions.
Array: TypeAlias = Any
DataType: TypeAlias = Any
kinds: Any = pyarrow.types

_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_SECONDS: Final = 86_400
_EPOCH: Final = date(1970, 1, 1)
_FIRST_DAY: Final = (date.min - _EPOCH).days
_DAYS_END: Final = (date.max - _EPOCH).days + 1
#: Arrow writes a decimal with an exponent only if its first digit is more than six places behind the point.
_PLAIN_SCALE: Final = 6
_UUID_BYTES: Final = 16
_UUID_GROUPS: Final = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_UUID: Final = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_DURATION: Final = (
    r"^(?P<sign>-?)(?P<hours>[0-9]{1,16}):(?P<minutes>[0-9]{2}):(?P<seconds>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?$"
)


def is_supported(data_type: DataType) -> bool:
    """Tell whether every value of the type has a text in the table above."""
    if is_json(data_type) or is_uuid(data_type):
        return True
    if isinstance(data_type, pa.BaseExtensionType) or kinds.is_interval(data_type) or kinds.is_union(data_type):
        return False
    if kinds.is_struct(data_type):
        names = [field.name for field in data_type]
        return 0 < len(names) == len(set(names)) and all(is_supported(field.type) for field in data_type)
    if kinds.is_nested(data_type) and not kinds.is_run_end_encoded(data_type):
        return all(is_supported(data_type.field(index).type) for index in range(data_type.num_fields))
    if kinds.is_decimal(data_type):
        return bool(data_type.scale >= 0)
    return not (kinds.is_dictionary(data_type) or kinds.is_run_end_encoded(data_type))


def is_json(data_type: DataType) -> bool:
    """Tell whether the type is Arrow's JSON extension."""
    return isinstance(data_type, pa.BaseExtensionType) and data_type.extension_name == "arrow.json"


def is_uuid(data_type: DataType) -> bool:
    """Tell whether the type is Arrow's UUID extension."""
    return isinstance(data_type, pa.BaseExtensionType) and data_type.extension_name == "arrow.uuid"


def is_quoted(data_type: DataType) -> bool:
    """Tell whether values of the type may hold any character, so that they stand in quotes."""
    return is_json(data_type) or _is_text(data_type) or _is_bytes(data_type) or kinds.is_nested(data_type)


def _is_text(data_type: DataType) -> bool:
    return bool(kinds.is_string(data_type) or kinds.is_large_string(data_type) or kinds.is_string_view(data_type))


def _is_bytes(data_type: DataType) -> bool:
    return bool(
        kinds.is_binary(data_type)
        or kinds.is_large_binary(data_type)
        or kinds.is_binary_view(data_type)
        or kinds.is_fixed_size_binary(data_type)
    )


def _is_json_scalar(data_type: DataType) -> bool:
    return bool(kinds.is_null(data_type) or kinds.is_boolean(data_type) or kinds.is_integer(data_type))


# ---- to text


def to_text(column: Array) -> Array:
    """Return a column's values as strings, NULL as NULL, without quotes.

    Raises:
        FormatError: a value has no text in the table above.
    """
    data_type = column.type
    if is_uuid(data_type):
        text = _uuid_text(column)
    elif is_json(data_type):
        text = column.storage.cast(pa.string())
    elif kinds.is_nested(data_type):
        values = _to_json(column).to_pylist()
        text = pa.array([None if value is None else _json_text(value) for value in values], pa.string())
    elif _is_bytes(data_type):
        encoded = [None if value is None else binascii.b2a_base64(value, newline=False) for value in column.to_pylist()]
        text = pa.array(encoded, pa.string())
    elif kinds.is_decimal(data_type) and data_type.scale > _PLAIN_SCALE:
        text = _decimal_text(column)
    elif kinds.is_duration(data_type):
        text = _duration_text(column)
    elif kinds.is_temporal(data_type):
        text = _iso_text(column)
    else:
        text = column.cast(pa.string())
    return text


def _uuid_text(column: Array) -> Array:
    storage = column.storage
    start = storage.offset * _UUID_BYTES
    content = memoryview(storage.buffers()[1])[start : start + len(storage) * _UUID_BYTES]
    fixed = pa.Array.from_buffers(pa.binary(32), len(storage), [None, pa.py_buffer(content.hex().encode())])
    digits = fixed.cast(pa.binary()).cast(pa.string())
    groups = [pc.utf8_slice_codeunits(digits, first, last) for first, last in _UUID_GROUPS]
    text = pc.binary_join_element_wise(*groups, "-")
    return pc.if_else(column.is_valid(), text, None)


def _decimal_text(column: Array) -> Array:
    scale = column.type.scale
    digits = column.view(_with_scale(column.type, 0)).cast(pa.string())
    sign = pc.if_else(pc.starts_with(digits, "-"), "-", "")
    digits = pc.utf8_lpad(pc.utf8_ltrim(digits, "-"), scale + 1, "0")
    split = [pc.utf8_slice_codeunits(digits, 0, -scale), pc.utf8_slice_codeunits(digits, -scale)]
    return pc.binary_join_element_wise(sign, pc.binary_join_element_wise(*split, "."), "")


def _with_scale(data_type: DataType, scale: int) -> DataType:
    make: dict[int, Any] = {32: pa.decimal32, 64: pa.decimal64, 128: pa.decimal128, 256: pa.decimal256}
    return make[data_type.bit_width](data_type.precision, scale)


def _iso_text(column: Array) -> Array:
    data_type = column.type
    if kinds.is_timestamp(data_type):
        _check_range(column, pa.int64(), _PER_SECOND[data_type.unit] * _DAY_SECONDS, _FIRST_DAY, _DAYS_END)
        if data_type.tz is not None:
            column = column.cast(pa.timestamp(data_type.unit, "UTC"))
        return pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1)
    if kinds.is_time(data_type):
        stored = pa.int32() if data_type.bit_width == 32 else pa.int64()
        _check_range(column, stored, _PER_SECOND[data_type.unit] * _DAY_SECONDS, 0, 1)
    else:
        column = column.cast(pa.date32())
        _check_range(column, pa.int32(), 1, _FIRST_DAY, _DAYS_END)
    return column.cast(pa.string())


def _check_range(column: Array, stored: DataType, per_day: int, first_day: int, days_end: int) -> None:
    """Raise if a value is not in the days from ``first_day`` to before ``days_end`` (counted from 1970)."""
    extremes = pc.min_max(column.view(stored)).as_py()
    if extremes["min"] is None:
        return
    for value in extremes.values():
        if not first_day * per_day <= value < days_end * per_day:
            raise FormatError(
                f"a {column.type} value is out of ISO 8601's range ({value} from its epoch)",
                hint="override the column's type: string",
            )


def _duration_text(column: Array) -> Array:
    per_second = _PER_SECOND[column.type.unit]
    value = column.view(pa.int64())
    sign = pc.if_else(pc.less(value, 0), "-", "")
    value = pc.abs_checked(value)
    seconds = pc.divide(value, per_second)
    minutes = pc.divide(seconds, 60)
    hours = pc.divide(minutes, 60)
    clock = [hours, _remainder(minutes, hours, 60), _remainder(seconds, minutes, 60)]
    text = pc.binary_join_element_wise(*(_padded(part, 2) for part in clock), ":")
    if per_second > 1:
        fraction = _padded(_remainder(value, seconds, per_second), len(str(per_second)) - 1)
        text = pc.binary_join_element_wise(text, fraction, ".")
    return pc.binary_join_element_wise(sign, text, "")


def _remainder(value: Array, quotient: Array, divisor: int) -> Array:
    return pc.subtract(value, pc.multiply(quotient, divisor))


def _padded(value: Array, width: int) -> Array:
    return pc.utf8_lpad(value.cast(pa.string()), width, "0")


def _to_json(column: Array) -> Array:
    """Return a nested column with every leaf as something that JSON has: a number, a boolean or a string."""
    data_type = column.type
    if kinds.is_map(data_type):
        keys, items = _to_json(column.keys), _to_json(column.items)
        return _rebuilt(column, pa.map_(keys.type, items.type), _entries(keys, items))
    if kinds.is_struct(data_type):
        children = [_to_json(child) for child in column.flatten()]
        return pa.StructArray.from_arrays(children, [field.name for field in data_type], mask=column.is_null())
    if kinds.is_nested(data_type):
        if not kinds.is_list(data_type):
            column = column.cast(pa.list_(data_type.value_type))
        values = _to_json(column.values)
        return _rebuilt(column, pa.list_(values.type), values)
    leaf = _json_type(data_type)
    return to_text(column) if leaf == pa.string() else column.cast(leaf)


def _entries(keys: Array, items: Array) -> Array:
    fields = [pa.field("key", keys.type, nullable=False), pa.field("value", items.type)]
    return pa.StructArray.from_arrays([keys, items], fields=fields)


def _rebuilt(column: Array, data_type: DataType, child: Array) -> Array:
    """Return a list or map of the same shape (validity, offsets, slice) over other values."""
    return pa.Array.from_buffers(data_type, len(column), column.buffers()[:2], offset=column.offset, children=[child])


def _json_text(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_spelled(value), ensure_ascii=False, separators=(",", ":"))


def _spelled(value: object) -> object:
    """Return a JSON value with ``nan`` and ``inf`` as strings, for which JSON has no numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _spelled(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(item) for item in value]
    return value


# ---- from text


def parsed_type(data_type: DataType) -> DataType:
    """Return the type as which pyarrow's CSV reader parses a column; ``from_text`` does the rest."""
    if kinds.is_float16(data_type):
        return pa.float32()
    if kinds.is_date(data_type):
        return pa.date32()
    own = _is_json_scalar(data_type) or kinds.is_floating(data_type)
    own = own or kinds.is_decimal128(data_type) or kinds.is_time(data_type) or kinds.is_timestamp(data_type)
    return data_type if own else pa.string()


def from_text(column: Array, data_type: DataType) -> Array:
    """Return a column of ``data_type`` from what was parsed as ``parsed_type`` says.

    Raises:
        ValueError, pyarrow.ArrowInvalid: a text is not of that type.
    """
    if is_uuid(data_type):
        return _uuid_values(column)
    if is_json(data_type):
        return pa.ExtensionArray.from_storage(data_type, column.cast(data_type.storage_type))
    if kinds.is_nested(data_type):
        return _nested_values(column, data_type)
    if _is_bytes(data_type):
        decoded = [None if text is None else binascii.a2b_base64(text, strict_mode=True) for text in column.to_pylist()]
        return pa.array(decoded, data_type)
    if kinds.is_duration(data_type):
        return _duration_values(column, data_type)
    return column.cast(data_type)


def _uuid_values(column: Array) -> Array:
    if pc.all(pc.match_substring_regex(column, _UUID)).as_py() is False:
        raise ValueError("a value is no UUID")
    digits = pc.replace_substring(pc.fill_null(column, f"{'0' * 8}-0000-0000-0000-{'0' * 12}"), "-", "")
    content = bytes.fromhex("".join(digits.to_pylist()))
    values = pa.Array.from_buffers(pa.binary(_UUID_BYTES), len(column), [None, pa.py_buffer(content)])
    return pa.ExtensionArray.from_storage(pa.uuid(), pc.if_else(column.is_valid(), values, None))


def _duration_values(column: Array, data_type: DataType) -> Array:
    per_second = _PER_SECOND[data_type.unit]
    parts = pc.extract_regex(column, _DURATION)
    if parts.null_count != column.null_count:
        raise ValueError("a value is no duration")
    hours, minutes, seconds = (
        pc.struct_field(parts, name).cast(pa.int64()) for name in ("hours", "minutes", "seconds")
    )
    places = len(str(per_second)) - 1
    fraction = pc.utf8_rpad(pc.struct_field(parts, "fraction"), max(places, 1), "0")
    if pc.any(pc.greater(pc.utf8_length(fraction), max(places, 1))).as_py():
        raise ValueError(f"a value has more than {places} decimals")
    value = pc.add_checked(pc.multiply_checked(pc.add(pc.multiply_checked(hours, 60), minutes), 60), seconds)
    value = pc.add_checked(pc.multiply_checked(value, per_second), fraction.cast(pa.int64()))
    negative = pc.equal(pc.struct_field(parts, "sign"), "-")
    return pc.if_else(negative, pc.negate_checked(value), value).cast(data_type)


def _nested_values(column: Array, data_type: DataType) -> Array:
    values = [None if text is None else _revived(json.loads(text), data_type) for text in column.to_pylist()]
    return _from_json(pa.array(values, _json_type(data_type)), data_type)


def _json_type(data_type: DataType) -> DataType:
    """Return the type of what ``_to_json`` makes of a column."""
    if is_uuid(data_type) or is_json(data_type):
        return pa.string()
    if kinds.is_map(data_type):
        return pa.map_(_json_type(data_type.key_type), _json_type(data_type.item_type))
    if kinds.is_struct(data_type):
        return pa.struct([(field.name, _json_type(field.type)) for field in data_type])
    if kinds.is_nested(data_type):
        return pa.list_(_json_type(data_type.value_type))
    if kinds.is_floating(data_type):
        return pa.float64()
    return data_type if _is_json_scalar(data_type) else pa.string()


def _revived(value: Any, data_type: DataType) -> object:
    """Return a JSON value as ``pa.array`` wants it: map entries as tuples, spelled floats as floats."""
    if value is None or isinstance(data_type, pa.BaseExtensionType):
        return value
    if kinds.is_map(data_type):
        return [(_revived(key, data_type.key_type), _revived(item, data_type.item_type)) for key, item in value]
    if kinds.is_struct(data_type):
        return {field.name: _revived(value[field.name], field.type) for field in data_type}
    if kinds.is_nested(data_type):
        return [_revived(item, data_type.value_type) for item in value]
    return float(value) if kinds.is_floating(data_type) else value


def _from_json(column: Array, data_type: DataType) -> Array:
    """Return the column that ``_to_json`` made ``column`` of."""
    if kinds.is_map(data_type):
        keys = _from_json(column.keys, data_type.key_type)
        items = _from_json(column.items, data_type.item_type)
        return _rebuilt(column, data_type, _entries(keys, items))
    if kinds.is_struct(data_type):
        children = [_from_json(child, field.type) for child, field in zip(column.flatten(), data_type, strict=True)]
        return pa.StructArray.from_arrays(children, fields=list(data_type), mask=column.is_null())
    if kinds.is_nested(data_type):
        values = _from_json(column.values, data_type.value_type)
        lists = _rebuilt(column, pa.list_(data_type.value_type), values)
        return lists if kinds.is_list(data_type) else lists.cast(data_type)
    return _leaf_from_json(column, data_type)


def _leaf_from_json(column: Array, data_type: DataType) -> Array:
    if column.type == data_type or kinds.is_floating(data_type):
        return column.cast(data_type)
    if kinds.is_time(data_type):  # casts know no text of it
        moment = pc.binary_join_element_wise("1970-01-01T", column, "")
        return moment.cast(pa.timestamp(data_type.unit)).cast(data_type)
    return from_text(column.cast(parsed_type(data_type)), data_type)
