"""The names of column types, for manifests, ``columns:`` overrides and schema fingerprints.

==================================  ===================================================================
name                                Arrow type that it is normalised from
==================================  ===================================================================
``bool``                            bool
``int8`` … ``int64``                the same
``uint8`` … ``uint64``              the same
``float16`` ``float32`` ``float64`` the same
``decimal(p,s)``                    decimal32, 64, 128, 256 of that precision and scale
``string``                          string, large_string, string_view
``binary``                          binary, large_binary, binary_view
``fixed_size_binary(n)``            the same
``date32``                          date32, date64
``time32[ms]``                      time32 in s or ms
``time64[us]`` ``time64[ns]``       the same
``timestamp[u]``                    naive timestamp; ``u`` is ms (s too), us or ns
``timestamp[u,UTC]``                timestamp of any time zone: the values are instants
``duration[u]``                     the same; ``u`` is s, ms, us or ns
``month_day_nano_interval``         the same
``uuid`` ``json``                   the canonical extensions; any other extension goes by its storage type
``null``                            the same
``list<T>``                         list, large_list, fixed_size_list, list_view, large_list_view
``struct<a:T,"odd name":U>``        the same; names that are no plain identifiers are JSON strings
``map<K,V>``                        the same
(none)                              dictionary and run_end_encoded go by their values; unions have no name
==================================  ===================================================================

What is normalised away is what Parquet does not keep, so a part read back has the names that were written. Time zones,
the width of decimals and offsets, and the nullability and item names of nested fields are among it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

import pyarrow as pa

from rivet_core.contract.fingerprint import fingerprint

EXAMPLES: Final = (
    "bool, int64, float64, decimal(18,2), string, binary, date32, time64[us], timestamp[us], timestamp[us,UTC], "
    "uuid, json, list<int64>, struct<a:int64,b:string>, map<string,int64>"
)

_NAMED: Final[dict[str, pa.DataType]] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date32": pa.date32(),
    "uuid": pa.uuid(),
    "json": pa.json_(),
    "month_day_nano_interval": pa.month_day_nano_interval(),
    "null": pa.null(),
    "time32[ms]": pa.time32("ms"),
    **{f"time64[{unit}]": pa.time64(unit) for unit in ("us", "ns")},
    **{f"timestamp[{unit}]": pa.timestamp(unit) for unit in ("ms", "us", "ns")},
    **{f"timestamp[{unit},UTC]": pa.timestamp(unit, "UTC") for unit in ("ms", "us", "ns")},
    **{f"duration[{unit}]": pa.duration(unit) for unit in ("s", "ms", "us", "ns")},
}
_NAME_OF: Final = {dtype: name for name, dtype in _NAMED.items()} | {
    pa.large_string(): "string",
    pa.string_view(): "string",
    pa.large_binary(): "binary",
    pa.binary_view(): "binary",
    pa.date64(): "date32",
    pa.time32("s"): "time32[ms]",
    pa.timestamp("s"): "timestamp[ms]",
}

#: What people write, by what it means here. Where engines disagree (``float``), the type that holds both.
_SYNONYMS: Final = {
    "boolean": "bool",
    "tinyint": "int8",
    "smallint": "int16",
    "int": "int32",
    "integer": "int32",
    "bigint": "int64",
    "real": "float32",
    "float": "float64",
    "double": "float64",
    "double precision": "float64",
    "str": "string",
    "text": "string",
    "utf8": "string",
    "varchar": "string",
    "large_string": "string",
    "bytes": "binary",
    "bytea": "binary",
    "blob": "binary",
    "varbinary": "binary",
    "large_binary": "binary",
    "date": "date32",
    "time": "time64[us]",
    "datetime": "timestamp[us]",
    "timestamp": "timestamp[us]",
    "timestamp without time zone": "timestamp[us]",
    "timestamptz": "timestamp[us,UTC]",
    "timestamp with time zone": "timestamp[us,UTC]",
    "duration": "duration[us]",
    "interval": "month_day_nano_interval",
    "jsonb": "json",
}

_DECIMAL = re.compile(r"(?:decimal|numeric)\((?P<precision>\d{1,3})(?:,(?P<scale>\d{1,3}))?\)")
_FIXED_BINARY = re.compile(r"fixed_size_binary\((?P<width>\d{1,9})\)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPACE = re.compile(r"\s*")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
# A scalar's text ends where a container's punctuation begins; commas inside () and [] belong to it.
_SCALAR = re.compile(r"(?:\([^()<>]*\)|\[[^\[\]<>]*\]|[^()\[\]<>,:\"])+")
_MAX_DEPTH = 64
_MAX_PRECISION = 76
_MAX_PRECISION_128 = 38


def normalise_type(dtype: pa.DataType) -> pa.DataType:
    """Return the Arrow type that stands for ``dtype`` and all others of the same name (see the table above).

    Raises:
        ValueError: a union, a decimal whose scale is negative or above its precision, or a type unknown here.
    """
    return parse_type(type_name(dtype))


def storage_type(dtype: pa.DataType) -> pa.DataType:
    """Return the type that an extension type is stored as, or the type itself."""
    while isinstance(dtype, pa.BaseExtensionType):
        dtype = dtype.storage_type
    return dtype


def type_name(dtype: pa.DataType) -> str:
    """Return the name of an Arrow type. ``parse_type`` gives the normalised type back.

    Raises:
        ValueError: a union, a decimal whose scale is negative or above its precision, or a type unknown here.
    """
    name = _NAME_OF.get(dtype) or _name_of_parametric(dtype)
    if name is None:
        raise ValueError(f"the Arrow type {dtype} has no name here; types that do are {EXAMPLES}")
    return name


def _name_of_parametric(dtype: pa.DataType) -> str | None:
    kinds = pa.types
    if isinstance(dtype, pa.BaseExtensionType):
        return "json" if dtype.extension_name == "arrow.json" else type_name(dtype.storage_type)
    if kinds.is_dictionary(dtype) or kinds.is_run_end_encoded(dtype):
        return type_name(dtype.value_type)
    if kinds.is_decimal(dtype):
        return f"decimal({dtype.precision},{dtype.scale})" if 0 <= dtype.scale <= dtype.precision else None
    if kinds.is_fixed_size_binary(dtype):
        return f"fixed_size_binary({dtype.byte_width})"
    if kinds.is_timestamp(dtype):  # with a time zone
        return f"timestamp[{'ms' if dtype.unit == 's' else dtype.unit},UTC]"
    return _name_of_nested(dtype)


def _name_of_nested(dtype: pa.DataType) -> str | None:
    kinds = pa.types
    if kinds.is_map(dtype):
        return f"map<{type_name(dtype.key_type)},{type_name(dtype.item_type)}>"
    if kinds.is_struct(dtype):
        return f"struct<{','.join(f'{_quote(field.name)}:{type_name(field.type)}' for field in dtype)}>"
    if (
        kinds.is_list(dtype)
        or kinds.is_large_list(dtype)
        or kinds.is_fixed_size_list(dtype)
        or kinds.is_list_view(dtype)
        or kinds.is_large_list_view(dtype)
    ):
        return f"list<{type_name(dtype.value_type)}>"
    return None


def _quote(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def parse_type(text: str) -> pa.DataType:
    """Return the Arrow type that a name stands for; case and spaces do not matter, common SQL names are understood.

    Raises:
        ValueError: no such type; the message says what is wrong and gives examples.
    """
    return _Parser(text).parse()


class _Parser:
    """Recursive descent over one type name."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parse(self) -> pa.DataType:
        dtype = self._type(0)
        self._skip_space()
        if self._at != len(self._text):
            raise self._error(f"{self._text[self._at :][:20]!r} is left over")
        return dtype

    def _error(self, why: str) -> ValueError:
        shown = self._text if len(self._text) <= 100 else f"{self._text[:100]}…"
        return ValueError(f"{shown!r} is not a type: {why}; types are written like {EXAMPLES}")

    def _type(self, depth: int) -> pa.DataType:
        if depth > _MAX_DEPTH:
            raise self._error(f"it is nested more than {_MAX_DEPTH} levels deep")
        self._skip_space()
        found = _SCALAR.match(self._text, self._at)
        if found is None:
            raise self._error("a type is missing")
        self._at = found.end()
        word = " ".join(found[0].split()).lower()
        if not self._accept("<"):
            return self._scalar(word)
        if word == "list":
            dtype: pa.DataType = pa.list_(self._type(depth + 1))
        elif word == "map":
            key = self._type(depth + 1)
            self._expect(",")
            dtype = pa.map_(key, self._type(depth + 1))
        elif word == "struct":
            dtype = pa.struct(self._fields(depth + 1))
        else:
            raise self._error(f"{word!r} takes no <…>")
        self._expect(">")
        return dtype

    def _scalar(self, word: str) -> pa.DataType:
        word = _SYNONYMS.get(word, word).replace(" ", "")
        if decimal := _DECIMAL.fullmatch(word):
            return self._decimal(int(decimal["precision"]), int(decimal["scale"] or 0))
        if fixed := _FIXED_BINARY.fullmatch(word):
            return pa.binary(int(fixed["width"]))
        # `timestamp[us,UTC]` is the one name with capitals; Arrow itself writes `timestamp[us, tz=UTC]`.
        word = word.replace("tz=", "").replace("utc", "UTC")
        word = {"timestamp[s]": "timestamp[ms]", "timestamp[s,UTC]": "timestamp[ms,UTC]"}.get(word, word)
        if word in _NAMED:
            return _NAMED[word]
        if word in {"decimal", "numeric"}:
            raise self._error("it needs a precision and a scale")
        if word.startswith("timestamp["):
            raise self._error("units are ms, us and ns, and the only time zone is UTC")
        raise self._error("there is no such name")

    def _decimal(self, precision: int, scale: int) -> pa.DataType:
        if not 1 <= precision <= _MAX_PRECISION:
            raise self._error(f"the precision is not between 1 and {_MAX_PRECISION}")
        if scale > precision:
            raise self._error("the scale is larger than the precision")
        return pa.decimal128(precision, scale) if precision <= _MAX_PRECISION_128 else pa.decimal256(precision, scale)

    def _fields(self, depth: int) -> list[tuple[str, pa.DataType]]:
        fields: list[tuple[str, pa.DataType]] = []
        self._skip_space()
        while not self._text.startswith(">", self._at):
            name = self._field_name()
            self._expect(":")
            fields.append((name, self._type(depth)))
            if not self._accept(","):
                break
        return fields

    def _field_name(self) -> str:
        self._skip_space()
        if quoted := _JSON_STRING.match(self._text, self._at):
            self._at = quoted.end()
            try:
                name = str(json.loads(quoted[0]))
                name.encode()
            except ValueError:
                raise self._error(f"the field name {quoted[0][:40]} is not a JSON string") from None
            return name
        plain = _IDENTIFIER.match(self._text, self._at)
        if plain is None:
            raise self._error("a field's name is missing")
        self._at = plain.end()
        return plain[0]

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _accept(self, mark: str) -> bool:
        self._skip_space()
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _expect(self, mark: str) -> None:
        if not self._accept(mark):
            raise self._error(f"{mark!r} is missing")


def schema_fingerprint(schema: pa.Schema) -> str:
    """Return the fingerprint of a schema's column names and types.

    Raises:
        ValueError: a column's type has no name.
    """
    return schema_fingerprint_of((field.name, type_name(field.type)) for field in schema)


def schema_fingerprint_of(columns: Iterable[tuple[str, str]]) -> str:
    r"""Return the fingerprint of (name, type name) pairs in any order.

    XXH3-64 over the lines ``name\ttype\n``, sorted by the name's UTF-8 bytes.
    """
    lines = sorted((name.encode(), dtype.encode()) for name, dtype in columns)
    return fingerprint(b"".join(name + b"\t" + dtype + b"\n" for name, dtype in lines))
