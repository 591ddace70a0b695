"""CSV: the exact text of every type, NULL apart from everything, damage found, sizes exact."""

from __future__ import annotations

import csv
import io
import math
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from pydantic import ValidationError

from rivet_core.api import Transient
from rivet_core.api.errors import FormatError
from rivet_core.builtin.csv import CsvConfig, CsvFormat

CSV = CsvFormat(CsvConfig())
MICRO = 1_000_000


def column(values: list[Any], data_type: pa.DataType) -> pa.Array:
    if isinstance(data_type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(data_type, pa.array(values, data_type.storage_type))
    return pa.array(values, data_type)


def batch(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def read_back(data: bytes, schema: pa.Schema, format_: CsvFormat = CSV) -> pa.Table:
    with format_.decoder(io.BytesIO(data), schema) as decoder:
        return pa.Table.from_batches(decoder.batches(), decoder.schema)


UUID_BYTES = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8").bytes


@pytest.mark.parametrize(
    ("values", "data_type", "texts"),
    [
        ([True, False, None], pa.bool_(), ["true", "false", ""]),
        ([-128, 127], pa.int8(), ["-128", "127"]),
        ([2**64 - 1], pa.uint64(), ["18446744073709551615"]),
        ([0.1, 1e20, -0.0, math.nan, math.inf, -math.inf], pa.float64(), ["0.1", "1e+20", "-0", "nan", "inf", "-inf"]),
        ([0.1], pa.float32(), ["0.1"]),
        (
            [Decimal(0), Decimal("1E-9"), Decimal("-12.5")],
            pa.decimal128(38, 9),
            ["0.000000000", "0.000000001", "-12.500000000"],
        ),
        ([Decimal(10) ** 75], pa.decimal256(76, 0), ["1" + "0" * 75]),
        ([0], pa.date32(), ["1970-01-01"]),
        ([62_460_000_001], pa.time64("us"), ["17:21:00.000001"]),
        ([1], pa.timestamp("us"), ["1970-01-01T00:00:00.000001"]),
        ([1], pa.timestamp("us", "UTC"), ["1970-01-01T00:00:00.000001Z"]),
        ([1], pa.timestamp("us", "Asia/Tokyo"), ["1970-01-01T00:00:00.000001Z"]),
        ([-(838 * 3600 + 59 * 60 + 59) * MICRO, 1], pa.duration("us"), ["-838:59:59.000000", "00:00:00.000001"]),
        ([UUID_BYTES, None], pa.uuid(), ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", ""]),
        (['{"a": "x"}'], pa.json_(), ['"{""a"": ""x""}"']),
        (["", "NULL", "a,b", 'a"b', "a\r\nb", None], pa.string(), ['""', '"NULL"', '"a,b"', '"a""b"', '"a\r\nb"', ""]),
        ([b"\x00\xff", b"", None], pa.binary(), ['"AP8="', '""', ""]),
        ([[1, None], [], None], pa.list_(pa.int64()), ['"[1,null]"', '"[]"', ""]),
        ([[math.nan, 1.5]], pa.list_(pa.float64()), ['"[""nan"",1.5]"']),
        (
            [{"a": Decimal("1.50"), "b": "ä"}],
            pa.struct({"a": pa.decimal128(5, 2), "b": pa.string()}),
            ['"{""a"":""1.50"",""b"":""ä""}"'],
        ),
        ([[("k", 1), ("k", None)]], pa.map_(pa.string(), pa.int32()), ['"[[""k"",1],[""k"",null]]"']),
    ],
)
def test_text_of_each_type(values: list[Any], data_type: pa.DataType, texts: list[str], encode: Any) -> None:
    rows = batch(v=column(values, data_type), n=pa.array(range(len(values))))
    data = encode(CSV, rows.schema, [rows])
    expected = '"v","n"\r\n' + "".join(f"{text},{index}\r\n" for index, text in enumerate(texts))
    assert data.decode() == expected
    back = read_back(data, rows.schema).column("v")
    assert [repr(value) for value in back.to_pylist()] == [repr(value) for value in rows.column("v").to_pylist()]


def test_nested_uuids_and_json_come_back(encode: Any) -> None:
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID_BYTES, None], pa.binary(16)))
    documents = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', "null"]))
    rows = batch(
        u=pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), uuids),
        j=pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), documents),
    )
    assert read_back(encode(CSV, rows.schema, [rows]), rows.schema).to_batches() == [rows]


def test_null_of_a_single_column_is_no_blank_line(encode: Any) -> None:
    rows = batch(a=pa.array(["", None, "NULL", "x"]))
    data = encode(CSV, rows.schema, [rows])
    assert data == b'"a"\r\n""\r\nNULL\r\n"NULL"\r\n"x"\r\n'
    assert read_back(data, rows.schema).to_batches() == [rows]


def test_python_csv_reader_agrees_on_rows_and_fields(encode: Any) -> None:
    texts = ['a "quoted" word', "two\r\nlines", "one\nline", ";,\t", "", "ünï"]
    rows = batch(a=pa.array(texts), b=pa.array(range(6)))
    read = list(csv.reader(io.StringIO(encode(CSV, rows.schema, [rows]).decode(), newline=""), strict=True))
    assert read == [["a", "b"], *([text, str(index)] for index, text in enumerate(texts))]


def test_rows_with_line_breaks_count_once(encode: Any) -> None:
    rows = batch(a=pa.array(["1\r\n2\n3"] * 7), b=pa.array(["\n"] * 7))
    with CSV.decoder(io.BytesIO(encode(CSV, rows.schema, [rows])), rows.schema) as decoder:
        assert decoder.row_count() == 7


def test_size_after_is_exact_and_encodes_once(sink: Any) -> None:
    rows = batch(a=pa.array(["é" * 1000, None]), b=pa.array([1, 2]))
    encoder = CSV.encoder(sink, rows.schema, group_bytes=1)
    for _ in range(3):
        promised = encoder.size_after(rows)
        encoder.write(rows)
        assert len(sink.content) == promised
    encoder.write(rows.slice(1))
    encoder.finish()
    assert sink.content.count(b"\r\n") == 1 + 7


def test_empty_result_has_its_header(encode: Any) -> None:
    schema = pa.schema({'a"b': pa.int64(), "line\nbreak": pa.string()})
    data = encode(CSV, schema, [])
    assert data == b'"a""b","line\nbreak"\r\n'
    assert read_back(data, schema) == schema.empty_table()


def test_empty_result_without_header_is_empty(encode: Any) -> None:
    format_ = CsvFormat(CsvConfig(header=False))
    schema = pa.schema({"a": pa.int64()})
    data = encode(format_, schema, [])
    assert data == b""
    assert read_back(data, schema, format_) == schema.empty_table()


def test_row_larger_than_a_parser_block_is_read(encode: Any) -> None:
    rows = batch(a=pa.array(["small", "x" * (9 << 20), "y"]), b=pa.array([1, 2, 3]))
    assert read_back(encode(CSV, rows.schema, [rows]), rows.schema) == pa.Table.from_batches([rows])


def test_types_without_a_text_are_named_all_at_once(sink: Any) -> None:
    schema = pa.schema(
        {"ok": pa.int64(), "i": pa.month_day_nano_interval(), "e e": pa.list_(pa.month_day_nano_interval())}
    )
    with pytest.raises(FormatError, match=r"for i \(month_day_nano_interval\), e e \(list<") as caught:
        CSV.encoder(sink, schema, group_bytes=1)
    assert caught.value.hint.endswith('columns:\n  "i": string\n  "e e": string')


@pytest.mark.parametrize(
    ("value", "data_type"),
    [
        (253_402_300_800 * MICRO, pa.timestamp("us")),
        (-62_135_596_800 * MICRO - 1, pa.timestamp("us", "UTC")),
        (2_932_897, pa.date32()),
        (86_400 * MICRO, pa.time64("us")),
    ],
)
def test_values_beyond_iso_8601_are_refused_with_their_column(value: int, data_type: pa.DataType, sink: Any) -> None:
    rows = batch(when=column([value], data_type))
    encoder = CSV.encoder(sink, rows.schema, group_bytes=1)
    with pytest.raises(FormatError, match=r"column when: .*out of ISO 8601's range"):
        encoder.write(rows)


SCHEMA = pa.schema({"a": pa.string(), "b": pa.int64()})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'"a"\r\n"x"\r\n',
        b'"b","a"\r\n1,"x"\r\n',
        b'"a","b"\r\n"x"\r\n',
        b'"a","b"\r\n"x",1,2\r\n',
        b'"a","b"\r\n"x",one\r\n',
        b'"a","b"\r\n"\xff",1\r\n',
        b'"\xff","b"\r\n"x",1\r\n',
        b'"a","b"\r\n"x",1\r\n"y",12',
        b'"a","b"\r\n"x",1\r\n"y\r\n',
    ],
)
def test_malformed_files_are_format_errors(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_back(data, SCHEMA)


@pytest.mark.parametrize(
    ("text", "data_type"),
    [
        ('"%%"', pa.binary()),
        ('"6ba7b810"', pa.uuid()),
        ('"1:2"', pa.duration("us")),
        ('"00:00:00.1234567"', pa.duration("us")),
        ('"[1"', pa.list_(pa.int64())),
        ('"{}"', pa.struct({"a": pa.int64()})),
        ('"[[1]]"', pa.map_(pa.int64(), pa.int64())),
        ('"' + "[" * 100_000 + '"', pa.list_(pa.int64())),
        ("2020-01-01T00:00:00Z", pa.timestamp("us")),
        ("160000000000.000000000", pa.decimal128(20, 9)),
    ],
)
def test_malformed_values_are_format_errors(text: str, data_type: pa.DataType) -> None:
    with pytest.raises(FormatError):
        read_back(f'"a"\r\n{text}\r\n'.encode(), pa.schema({"a": data_type}))


def test_every_truncation_inside_a_row_is_found(encode: Any) -> None:
    rows = batch(a=pa.array(["x\r\ny", None]), b=pa.array([10, 20]))
    data = encode(CSV, rows.schema, [rows])
    ends = {len('"a","b"\r\n'), len('"a","b"\r\n"x\r\ny",10\r\n')}
    for length in set(range(len(data))) - ends:
        with pytest.raises(FormatError):
            read_back(data[:length], rows.schema)


def test_errors_of_the_destination_pass_through_the_decoder() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise Transient("the connection was reset")

    with pytest.raises(Transient, match="reset"):
        read_back_from(Failing(b""))


def read_back_from(source: io.BytesIO) -> None:
    with CSV.decoder(source, SCHEMA) as decoder:
        list(decoder.batches())


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "\r", "\0", "1", "e", "-", ".", ":", "é"])
def test_delimiters_that_values_contain_are_refused(delimiter: str) -> None:
    with pytest.raises(ValidationError, match="delimiter"):
        CsvConfig(delimiter=delimiter)


def test_compression_is_refused() -> None:
    with pytest.raises(ValidationError, match="compression"):
        CsvConfig.model_validate({"compression": "gzip"})


def test_dictionary_columns_are_written_as_their_values(encode: Any) -> None:
    rows = batch(a=pa.array(["x", None, "x"]).dictionary_encode())
    data = encode(CSV, rows.schema, [rows])
    assert read_back(data, rows.schema).column("a").to_pylist() == ["x", None, "x"]
