"""What was written comes back: every type with its extremes, any names, any split into batches; in both formats."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import string
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rivet_core.api import Format
from rivet_core.builtin.csv import CsvConfig, CsvFormat
from rivet_core.builtin.parquet import ParquetConfig, ParquetFormat
from rivet_core.contract.types import schema_fingerprint

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["", '"', '""', "NULL", "\\N", "\r\n", "\n", "\r", ",", " ", "a,b", "😀", "\ufeff", "\0", "nan"]
)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = dt.date(1970, 1, 1)
_FIRST_SECOND = (dt.date.min - _EPOCH).days * 86_400
_END_SECOND = ((dt.date.max - _EPOCH).days + 1) * 86_400
_INT64 = 2**63


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


@st.composite
def _decimals(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    precision = draw(st.integers(1, 76))
    scale = draw(st.integers(0, precision))
    make = pa.decimal128 if precision <= 38 else pa.decimal256
    with_digits = decimal.Context(prec=80)
    unscaled = st.integers(-(10**precision) + 1, 10**precision - 1) | st.sampled_from([0, 1, -1])
    return make(precision, scale), unscaled.map(
        lambda value: with_digits.create_decimal(value).scaleb(-scale, with_digits)
    )


@st.composite
def _timestamps(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    unit = draw(st.sampled_from(["ms", "us", "ns"]))
    zone = draw(st.sampled_from([None, "UTC", "Europe/Oslo"]))
    per_second = _PER_SECOND[unit]
    # pyarrow prints the first second of its range in 1677 but does not parse it.
    first = max(_FIRST_SECOND * per_second, -_INT64 + per_second)
    last = min(_END_SECOND * per_second, _INT64) - 1
    return pa.timestamp(unit, zone), st.integers(first, last)


@st.composite
def _durations(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    return pa.duration(draw(st.sampled_from(list(_PER_SECOND)))), st.integers(-_INT64 + 1, _INT64 - 1)


@st.composite
def _times(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    data_type = draw(st.sampled_from([pa.time32("ms"), pa.time64("us"), pa.time64("ns")]))
    return data_type, st.integers(0, 86_400 * _PER_SECOND[data_type.unit] - 1)


_SIMPLE: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.bool_(), st.booleans()),
    *((getattr(pa, f"int{bits}")(), _integers(bits, signed=True)) for bits in (8, 16, 32, 64)),
    *((getattr(pa, f"uint{bits}")(), _integers(bits, signed=False)) for bits in (8, 16, 32, 64)),
    (pa.float16(), st.floats(width=16, allow_nan=False)),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.string(), _TEXT),
    (pa.large_string(), _TEXT),
    (pa.binary(), st.binary(max_size=20)),
    (pa.large_binary(), st.binary(max_size=20)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.dates()),
    (pa.null(), st.none()),
]
# pyarrow cannot build nested arrays of extension types from Python values, so these stand alone here.
_EXTENSIONS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.uuid(), st.uuids().map(lambda value: value.bytes)),
    (pa.json_(), _TEXT),
]

_scalars = st.sampled_from(_SIMPLE) | _decimals() | _timestamps() | _durations() | _times()


def _nested(
    children: st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]],
) -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
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


columns = st.recursive(_scalars, _nested, max_leaves=4) | st.sampled_from(_EXTENSIONS)


@st.composite
def schemas_and_batches(draw: st.DrawFn) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """A schema of one to five columns with any names, and batches of it, some of them slices."""
    drawn = draw(st.lists(columns, min_size=1, max_size=5))
    names = draw(st.lists(_TEXT.filter(bool), min_size=len(drawn), max_size=len(drawn), unique=True))
    schema = pa.schema([pa.field(name, data_type) for name, (data_type, _) in zip(names, drawn, strict=True)])
    batches = []
    for _ in range(draw(st.integers(0, 3))):
        rows = draw(st.integers(0, 6))
        arrays = [
            _array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), data_type)
            for data_type, values in drawn
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        batches.append(batch.slice(draw(st.integers(0, 2)) if rows else 0))
    return schema, batches


def _array(values: list[Any], data_type: pa.DataType) -> pa.Array:
    if isinstance(data_type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(data_type, pa.array(values, data_type.storage_type))
    return pa.array(values, data_type)


FORMATS = [
    pytest.param(ParquetFormat(ParquetConfig()), id="parquet"),
    pytest.param(ParquetFormat(ParquetConfig(compression="none")), id="parquet-none"),
    pytest.param(CsvFormat(CsvConfig()), id="csv"),
    pytest.param(CsvFormat(CsvConfig(delimiter="\t", header=False, null="\\N")), id="csv-tab"),
]
settings.register_profile(
    "formats", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def decode(format_: Format, data: bytes, schema: pa.Schema) -> pa.Table:
    with format_.decoder(io.BytesIO(data), schema) as decoder:
        table = pa.Table.from_batches(decoder.batches(), decoder.schema)
        assert decoder.row_count() == table.num_rows
    return table


@pytest.mark.parametrize("format_", FORMATS)
def test_every_value_of_every_type_comes_back(format_: Format, encode: Any) -> None:
    @settings(settings.get_profile("formats"), max_examples=150)
    @given(schemas_and_batches(), st.sampled_from([1, 64, 1 << 20]))
    def check(drawn: tuple[pa.Schema, list[pa.RecordBatch]], group_bytes: int) -> None:
        schema, batches = drawn
        data = encode(format_, schema, batches, group_bytes=group_bytes)
        table = decode(format_, data, schema)
        table.validate(full=True)
        assert schema_fingerprint(table.schema) == schema_fingerprint(schema)
        assert table.equals(pa.Table.from_batches(batches, schema))

    check()
