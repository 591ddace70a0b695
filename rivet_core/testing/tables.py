"""The tables that a format must bring back: samples of every type with its extremes, and strategies for any table."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pyarrow
import pyarrow.compute
from hypothesis import strategies as st

from rivet_core.contract.types import normalise_type, type_name

# pyarrow's own annotations lack what is common to all types and arrays, and many calls of compute functions.
pa: Any = pyarrow
pc: Any = pyarrow.compute
DataType: TypeAlias = Any
Array: TypeAlias = Any
ChunkedArray: TypeAlias = Any
Column: TypeAlias = tuple[DataType, st.SearchStrategy[Any]]

_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH: Final = dt.date(1970, 1, 1)
_FIRST_SECOND: Final = (dt.date.min - _EPOCH).days * 86_400
_END_SECOND: Final = ((dt.date.max - _EPOCH).days + 1) * 86_400
_INT64: Final = 2**63

#: Names that users give to columns.
ODD_NAMES: Final = (
    "id",
    "ID",
    " padded ",
    "a,b",
    'say "hi"',
    "line\r\nbreak",
    "naïve 🦔",
    "a.b",
    "NULL",
    "select",
    "0",
)


@dataclass(frozen=True)
class Sample:
    """Values of one type.

    Attributes:
        plain: values that a format which takes the type must keep.
        extreme: values that it keeps or refuses with a ``FormatError``, as a date after the year 9999.
    """

    type: DataType
    plain: Sequence[Any]
    extreme: Sequence[Any] = ()

    @property
    def name(self) -> str:
        """The name of the type in manifests."""
        return type_name(self.type)


def _integers_of(bits: int, *, signed: bool) -> Sample:
    make = getattr(pa, f"{'' if signed else 'u'}int{bits}")
    bounds = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return Sample(make(), [bounds[0], 0, 1, bounds[1]])


SAMPLES: Final = (
    Sample(pa.bool_(), [True, False]),
    *(_integers_of(bits, signed=signed) for signed in (True, False) for bits in (8, 16, 32, 64)),
    Sample(pa.float32(), [0.0, -0.0, 1.5, 1.1754943508222875e-38, 3.402823e38], [float("nan"), float("-inf")]),
    Sample(pa.float64(), [0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308], [float("nan"), float("inf")]),
    Sample(pa.decimal128(18, 2), [decimal.Decimal(text) for text in ("0.00", "-1.10", "9999999999999999.99")]),
    Sample(pa.decimal128(38, 38), [decimal.Decimal("0." + "1" * 38), decimal.Decimal("-1e-38")]),
    Sample(pa.decimal256(76, 10), [decimal.Decimal("9" * 66 + "." + "9" * 10), decimal.Decimal("-0.0000000001")]),
    Sample(pa.string(), ["", " ", "NULL", "\\N", 'a "quoted", text', "\r\n", "naïve 🦔", "nan", "007"], ["\0"]),
    Sample(pa.binary(), [b"", b"\x00\xff", bytes(range(256))]),
    Sample(pa.binary(3), [b"\x00\x01\x02", b"abc"]),
    Sample(pa.date32(), [dt.date(1970, 1, 1), dt.date(1, 1, 1), dt.date(9999, 12, 31)], [2**31 - 1]),
    Sample(pa.time64("us"), [0, 86_399_999_999]),
    Sample(pa.timestamp("us"), [0, -1, 1_700_000_000_123_456, dt.datetime.max], [_INT64 - 1]),
    Sample(pa.timestamp("us", "UTC"), [0, -1, 1_700_000_000_123_456], [_INT64 - 1]),
    Sample(pa.timestamp("ns"), [0, 1_700_000_000_123_456_789]),
    Sample(pa.duration("us"), [0, -1, 3_020_399_000_000]),
    Sample(pa.uuid(), [bytes(16), bytes(range(16))]),
    Sample(pa.json_(), ["{}", '{"a": [1, null, "é"]}', "null"]),
    Sample(pa.list_(pa.int64()), [[], [1, None, -1]]),
    Sample(pa.list_(pa.string()), [[], ["", None, 'a,"b"']]),
    Sample(pa.struct([("a", pa.int64()), ("b", pa.string())]), [{"a": 1, "b": ""}, {"a": None, "b": None}]),
    Sample(pa.map_(pa.string(), pa.float64()), [[], [("a", 1.5), ("", None)]]),
    Sample(pa.dictionary(pa.int32(), pa.string()), ["a", "", "a"]),
    Sample(pa.large_string(), ["", "large"]),
    Sample(pa.month_day_nano_interval(), [(1, 2, 3)]),
    Sample(pa.duration("ns"), [0, 1]),
    Sample(pa.null(), []),
)


def array(values: Sequence[Any], data_type: DataType) -> Array:
    """Return an array of any type that Python values can be given for, extension types included."""
    if isinstance(data_type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(data_type, pa.array(values, data_type.storage_type))
    return pa.array(values, data_type)


def difference(expected: pyarrow.Table, found: pyarrow.Table) -> str | None:
    """Say what is different about a table that was read back, or return ``None``.

    Types are the same if their names in manifests are; not-a-number equals itself, and zero differs from minus zero.
    """
    wanted = [(field.name, type_name(field.type)) for field in expected.schema]
    got = [(field.name, type_name(field.type)) for field in found.schema]
    if wanted != got:
        return f"the columns are {got} instead of {wanted}"
    if expected.num_rows != found.num_rows:
        return f"{found.num_rows} rows instead of {expected.num_rows}"
    for name, before, after in zip(expected.column_names, expected.columns, found.columns, strict=True):
        if not _normal(before).equals(_normal(after)):
            return f"column {name!r} ({before.type}): {_shown(after)} instead of {_shown(before)}"
    return None


def _normal(column: ChunkedArray) -> ChunkedArray:
    """Return a column as the normalised type, floats as their bits."""
    column = column.cast(normalise_type(column.type))
    if not pa.types.is_floating(column.type):
        return column
    canonical = pc.if_else(pc.is_nan(column), pa.scalar(float("nan"), column.type), column)
    bits = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[column.type.bit_width]
    return pa.chunked_array([chunk.view(bits) for chunk in canonical.chunks], bits)


def _shown(column: ChunkedArray) -> str:
    text = " ".join(str(column.combine_chunks()).split())
    return text if len(text) <= 300 else f"{text[:300]}…"


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["", '"', '""', "NULL", "\\N", "\r\n", "\n", "\r", ",", " ", "a,b", "😀", "\ufeff", "\0", "nan"]
)


@st.composite
def _decimals(draw: st.DrawFn) -> Column:
    precision = draw(st.integers(1, 76))
    scale = draw(st.integers(0, precision))
    make = pa.decimal128 if precision <= 38 else pa.decimal256
    with_digits = decimal.Context(prec=80)
    unscaled = st.integers(-(10**precision) + 1, 10**precision - 1) | st.sampled_from([0, 1, -1])
    return make(precision, scale), unscaled.map(
        lambda value: with_digits.create_decimal(value).scaleb(-scale, with_digits)
    )


@st.composite
def _timestamps(draw: st.DrawFn) -> Column:
    unit = draw(st.sampled_from(["ms", "us", "ns"]))
    zone = draw(st.sampled_from([None, "UTC", "Europe/Oslo"]))
    per_second = _PER_SECOND[unit]
    # pyarrow prints the first second of its range in 1677 but does not parse it.
    first = max(_FIRST_SECOND * per_second, -_INT64 + per_second)
    last = min(_END_SECOND * per_second, _INT64) - 1
    return pa.timestamp(unit, zone), st.integers(first, last)


@st.composite
def _durations(draw: st.DrawFn) -> Column:
    return pa.duration(draw(st.sampled_from(list(_PER_SECOND)))), st.integers(-_INT64 + 1, _INT64 - 1)


@st.composite
def _times(draw: st.DrawFn) -> Column:
    data_type = draw(st.sampled_from([pa.time32("ms"), pa.time64("us"), pa.time64("ns")]))
    return data_type, st.integers(0, 86_400 * _PER_SECOND[data_type.unit] - 1)


_SIMPLE: Final[list[Column]] = [
    (pa.bool_(), st.booleans()),
    *((getattr(pa, f"int{bits}")(), _integers(bits, signed=True)) for bits in (8, 16, 32, 64)),
    *((getattr(pa, f"uint{bits}")(), _integers(bits, signed=False)) for bits in (8, 16, 32, 64)),
    (pa.float16(), st.floats(width=16, allow_nan=False)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.string(), _TEXT),
    (pa.large_string(), _TEXT),
    (pa.binary(), st.binary(max_size=20)),
    (pa.large_binary(), st.binary(max_size=20)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.dates()),
    (pa.null(), st.none()),
]
# pyarrow cannot build nested arrays of extension types from Python values, so these stand alone.
_EXTENSIONS: Final[list[Column]] = [
    (pa.uuid(), st.uuids().map(lambda value: value.bytes)),
    (pa.json_(), _TEXT),
]
# Inside nested values not-a-number cannot be told from a wrong value, so it is left out there.
_LEAVES: Final = [
    (data_type, values.filter(lambda value: not math.isnan(value)) if pa.types.is_floating(data_type) else values)
    for data_type, values in _SIMPLE
]


def _scalars(simple: list[Column]) -> st.SearchStrategy[Column]:
    # Each type is an alternative of its own, so that strings come as often as durations.
    return st.one_of(*map(st.just, simple), _decimals(), _timestamps(), _durations(), _times())


def _nested(children: st.SearchStrategy[Column]) -> st.SearchStrategy[Column]:
    keys = st.sampled_from([(pa.string(), _TEXT), (pa.int64(), _integers(64, signed=True))])
    lists = children.map(lambda child: (pa.list_(child[0]), st.lists(st.none() | child[1], max_size=3)))
    structs = st.lists(children, min_size=1, max_size=3).map(
        lambda fields: (
            pa.struct([(string.ascii_letters[index], child[0]) for index, child in enumerate(fields)]),
            st.fixed_dictionaries(
                {string.ascii_letters[index]: st.none() | child[1] for index, child in enumerate(fields)}
            ),
        )
    )
    maps = st.tuples(keys, children).map(
        lambda pair: (
            pa.map_(pair[0][0], pair[1][0]),
            st.lists(st.tuples(pair[0][1], st.none() | pair[1][1]), max_size=3),
        )
    )
    return lists | structs | maps


_COLUMNS: Final = (
    _scalars(_SIMPLE) | st.recursive(_scalars(_LEAVES), _nested, max_leaves=4) | st.sampled_from(_EXTENSIONS)
)


@st.composite
def schemas_and_batches(draw: st.DrawFn) -> tuple[pyarrow.Schema, list[pyarrow.RecordBatch]]:
    """Draw a schema of one to five columns with any names, and batches of it, some of them slices."""
    drawn = draw(st.lists(_COLUMNS, min_size=1, max_size=5))
    names = draw(st.lists(_TEXT.filter(bool), min_size=len(drawn), max_size=len(drawn), unique=True))
    schema = pa.schema([pa.field(name, data_type) for name, (data_type, _) in zip(names, drawn, strict=True)])
    batches = []
    for _ in range(draw(st.sampled_from([1, 2, 3, 0]))):
        rows = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 0]))
        arrays = [
            array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), data_type)
            for data_type, values in drawn
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        batches.append(batch.slice(draw(st.integers(0, 2)) if rows else 0))
    return schema, batches
