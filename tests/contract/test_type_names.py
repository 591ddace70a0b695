from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.types import normalise_type, parse_type, schema_fingerprint, schema_fingerprint_of, type_name

#: Arrow type, its name, and whether pyarrow can write it to Parquet.
NAMES = [
    (pa.null(), "null", True),
    (pa.bool_(), "bool", True),
    (pa.int8(), "int8", True),
    (pa.int16(), "int16", True),
    (pa.int32(), "int32", True),
    (pa.int64(), "int64", True),
    (pa.uint8(), "uint8", True),
    (pa.uint16(), "uint16", True),
    (pa.uint32(), "uint32", True),
    (pa.uint64(), "uint64", True),
    (pa.float16(), "float16", True),
    (pa.float32(), "float32", True),
    (pa.float64(), "float64", True),
    (pa.decimal32(5, 2), "decimal(5,2)", True),
    (pa.decimal64(18, 2), "decimal(18,2)", True),
    (pa.decimal128(38, 9), "decimal(38,9)", True),
    (pa.decimal256(20, 0), "decimal(20,0)", True),
    (pa.decimal256(76, 10), "decimal(76,10)", True),
    (pa.string(), "string", True),
    (pa.large_string(), "string", True),
    (pa.string_view(), "string", True),
    (pa.binary(), "binary", True),
    (pa.large_binary(), "binary", True),
    (pa.binary_view(), "binary", True),
    (pa.binary(16), "fixed_size_binary(16)", True),
    (pa.date32(), "date32", True),
    (pa.date64(), "date32", True),
    (pa.time32("s"), "time32[ms]", True),
    (pa.time32("ms"), "time32[ms]", True),
    (pa.time64("us"), "time64[us]", True),
    (pa.time64("ns"), "time64[ns]", True),
    (pa.timestamp("s"), "timestamp[ms]", True),
    (pa.timestamp("ms"), "timestamp[ms]", True),
    (pa.timestamp("us"), "timestamp[us]", True),
    (pa.timestamp("ns"), "timestamp[ns]", True),
    (pa.timestamp("s", "UTC"), "timestamp[ms,UTC]", True),
    (pa.timestamp("us", "UTC"), "timestamp[us,UTC]", True),
    (pa.timestamp("us", "Europe/Berlin"), "timestamp[us,UTC]", True),
    (pa.timestamp("ns", "+05:30"), "timestamp[ns,UTC]", True),
    (pa.duration("s"), "duration[s]", True),
    (pa.duration("us"), "duration[us]", True),
    (pa.month_day_nano_interval(), "month_day_nano_interval", False),
    (pa.uuid(), "uuid", True),
    (pa.json_(), "json", True),
    (pa.json_(pa.large_string()), "json", True),
    (pa.bool8(), "int8", True),
    (pa.dictionary(pa.int32(), pa.string()), "string", True),
    (pa.dictionary(pa.int8(), pa.decimal128(5, 2)), "decimal(5,2)", True),
    (pa.run_end_encoded(pa.int32(), pa.int64()), "int64", False),
    (pa.list_(pa.int64()), "list<int64>", True),
    (pa.large_list(pa.large_string()), "list<string>", True),
    (pa.list_(pa.int8(), 3), "list<int8>", True),
    (pa.list_view(pa.int8()), "list<int8>", True),
    (pa.list_(pa.list_(pa.timestamp("us", "UTC"))), "list<list<timestamp[us,UTC]>>", True),
    (pa.struct([("a", pa.int64()), ("b", pa.date64())]), "struct<a:int64,b:date32>", True),
    (
        pa.struct([("odd > name", pa.int64()), ('"q"', pa.string())]),
        'struct<"odd > name":int64,"\\"q\\"":string>',
        True,
    ),
    (pa.map_(pa.string(), pa.decimal128(9, 3)), "map<string,decimal(9,3)>", True),
    (pa.list_(pa.uuid()), "list<uuid>", True),
    (pa.map_(pa.uuid(), pa.json_()), "map<uuid,json>", True),
]
IDS = [f"{dtype}" for dtype, _, _ in NAMES]


@pytest.mark.parametrize(("dtype", "name", "_"), NAMES, ids=IDS)
def test_the_name_of_each_type_and_the_type_of_each_name(dtype: pa.DataType, name: str, _: bool) -> None:
    assert type_name(dtype) == name
    assert parse_type(name) == normalise_type(dtype)
    assert type_name(parse_type(name)) == name


WRITABLE = [dtype for dtype, _, parquet in NAMES if parquet]
#: Parquet has no such type: only the Arrow schema in the file's metadata keeps it.
ARROW_ONLY = {pa.duration("s"), pa.duration("us")}


@pytest.mark.parametrize(
    ("dtype", "store_schema"),
    [
        pytest.param(dtype, store_schema, id=f"{dtype}-{'arrow' if store_schema else 'parquet'}")
        for dtype in WRITABLE
        for store_schema in (True, False)
        if store_schema or dtype not in ARROW_ONLY
    ],
)
def test_a_parquet_part_read_back_has_the_fingerprint_that_was_written(dtype: pa.DataType, store_schema: bool) -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("value", dtype)])
    file = io.BytesIO()
    pq.ParquetWriter(file, schema, store_schema=store_schema).close()
    file.seek(0)
    read_back = pq.ParquetFile(file).schema_arrow
    assert schema_fingerprint(read_back) == schema_fingerprint(schema)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("BIGINT", pa.int64()),
        (" Double   Precision ", pa.float64()),
        ("float", pa.float64()),
        ("real", pa.float32()),
        ("integer", pa.int32()),
        ("Boolean", pa.bool_()),
        ("text", pa.string()),
        ("large_string", pa.string()),
        ("bytea", pa.binary()),
        ("date", pa.date32()),
        ("time", pa.time64("us")),
        ("timestamp", pa.timestamp("us")),
        ("timestamptz", pa.timestamp("us", "UTC")),
        ("timestamp with time zone", pa.timestamp("us", "UTC")),
        ("Timestamp[us, tz=utc]", pa.timestamp("us", "UTC")),
        ("timestamp[s]", pa.timestamp("ms")),
        ("jsonb", pa.json_()),
        ("numeric(18, 2)", pa.decimal128(18, 2)),
        ("DECIMAL(10)", pa.decimal128(10, 0)),
        ("decimal(39,0)", pa.decimal256(39, 0)),
        ("fixed_size_binary( 16 )", pa.binary(16)),
        ("List< Text >", pa.list_(pa.string())),
        ("struct<Id : bigint, tags: list<text>>", pa.struct([("Id", pa.int64()), ("tags", pa.list_(pa.string()))])),
        ("struct<>", pa.struct([])),
        ("map<text,numeric(9,3)>", pa.map_(pa.string(), pa.decimal128(9, 3))),
    ],
)
def test_case_spaces_and_common_names_are_understood(text: str, dtype: pa.DataType) -> None:
    assert parse_type(text) == dtype


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a type is missing"),
        ("money", "no such name"),
        ("varchar(20)", "no such name"),
        ("decimal", "needs a precision"),
        ("decimal(77,0)", "precision"),
        ("decimal(0,0)", "precision"),
        ("decimal(5,9)", "scale"),
        ("timestamp[us,Europe/Berlin]", "time zone is UTC"),
        ("timestamp[hours]", "units"),
        ("list", "no such name"),
        ("list<", "a type is missing"),
        ("list<int64", "'>' is missing"),
        ("int64>", "left over"),
        ("int64<int64>", "takes no"),
        ("map<int64>", "',' is missing"),
        ("struct<a>", "':' is missing"),
        ("struct<a:int64,:int64>", "name is missing"),
        ('struct<"\\ud800":int64>', "not a JSON string"),
        ("list<" * 100_000, "nested"),
    ],
)
def test_a_wrong_name_is_refused_with_the_reason_and_examples(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_type(text)
    assert "decimal(18,2)" in str(caught.value)
    assert len(str(caught.value)) < 500


@settings(deadline=None)  # shared machines pause
@given(st.one_of(st.text(max_size=60), st.text(alphabet='abilnstu<>()[],:"\\ 0123456789', max_size=60)))
def test_no_text_crashes_the_parser(text: str) -> None:
    try:
        dtype = parse_type(text)
    except ValueError:
        return
    assert parse_type(type_name(dtype)) == dtype


@pytest.mark.parametrize(
    "dtype", [pa.decimal128(5, -2), pa.decimal128(3, 5), pa.dense_union([pa.field("a", pa.int64())])], ids=str
)
def test_types_that_no_part_can_hold_have_no_name(dtype: pa.DataType) -> None:
    with pytest.raises(ValueError, match="has no name"):
        type_name(dtype)


def test_the_schema_fingerprint_is_of_these_exact_bytes() -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("größe", pa.decimal128(18, 2)),
            pa.field("Zeit", pa.timestamp("us", "UTC")),
            pa.field("note", pa.json_()),
        ]
    )
    lines = "Zeit\ttimestamp[us,UTC]\ngröße\tdecimal(18,2)\nid\tint64\nnote\tjson\n"
    assert schema_fingerprint(schema) == fingerprint(lines.encode()) == "xxh3:a1a4fb4374acadb8"


def test_order_and_nullability_do_not_change_the_fingerprint_but_names_and_types_do() -> None:
    base = schema_fingerprint_of([("a", "int64"), ("b", "string")])
    assert schema_fingerprint_of([("b", "string"), ("a", "int64")]) == base
    assert schema_fingerprint(pa.schema([pa.field("b", pa.string(), False), pa.field("a", pa.int64(), False)])) == base
    assert schema_fingerprint_of([("a", "int32"), ("b", "string")]) != base
    assert schema_fingerprint_of([("A", "int64"), ("b", "string")]) != base
    assert schema_fingerprint_of([]) == "xxh3:2d06800538d394c2"
