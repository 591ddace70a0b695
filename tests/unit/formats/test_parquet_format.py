"""Parquet: bounded row groups, logical types, sizes that hold, and damage of any kind a clear error."""

from __future__ import annotations

import gc
import io
import math
import random
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rivet_core.api import StorageFull, Transient
from rivet_core.api.errors import FormatError
from rivet_core.builtin.parquet import ParquetConfig, ParquetFormat

PARQUET = ParquetFormat(ParquetConfig())


def integers(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(range(rows), pa.int64())], names=["n"])


def read_back(data: bytes) -> pa.Table:
    with PARQUET.decoder(io.BytesIO(data)) as decoder:
        decoder.row_count()
        return pa.Table.from_batches(decoder.batches(), decoder.schema)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "data_type", [pa.decimal128(9, 0), pa.decimal128(18, 0), pa.decimal128(20, 0), pa.decimal256(40, 0)], ids=str
)
@pytest.mark.parametrize("digits", [1, 10])
def test_decimals_with_more_digits_than_their_type_are_refused(
    data_type: Any, nested: bool, digits: int, sink: Any
) -> None:
    wide = pa.decimal128(38, 0) if data_type.bit_width == 128 else pa.decimal256(76, 0)
    values = pa.array([Decimal(10 ** (data_type.precision + digits - 1)), None], wide)
    array: Any = pa.Array.from_buffers(data_type, 2, values.buffers())
    if nested:
        array = pa.StructArray.from_arrays([array], names=["amount"])
    encoder = PARQUET.encoder(sink, pa.schema({"c": array.type}), group_bytes=1 << 20)
    encoder.write(pa.RecordBatch.from_arrays([array], names=["c"]))
    with pytest.raises(FormatError, match=r"Parquet cannot hold a value: .*precision"):
        encoder.finish()
    encoder.close()


def test_the_level_of_gzip_is_the_documented_one_where_none_is_given(encode: Any) -> None:
    noise = random.Random(5)
    words = ["".join(noise.choices("abcdefgh", k=7)) for _ in range(500)]
    texts = pa.array([" ".join(noise.choices(words, k=9)) for _ in range(3000)])
    batch = pa.RecordBatch.from_arrays([texts], names=["t"])
    levels = [{}, {"compression_level": 6}, {"compression_level": 9}]
    default, six, nine = [
        len(encode(ParquetFormat(ParquetConfig(compression="gzip", **level)), batch.schema, [batch]))
        for level in levels
    ]
    assert default == six != nine


@pytest.mark.parametrize(
    ("data_type", "physical", "logical"),
    [
        (pa.uuid(), "FIXED_LEN_BYTE_ARRAY", "UUID"),
        (pa.json_(), "BYTE_ARRAY", "JSON"),
        (pa.string(), "BYTE_ARRAY", "String"),
        (pa.uint64(), "INT64", "Int(bitWidth=64, isSigned=false)"),
        (pa.date32(), "INT32", "Date"),
        (pa.decimal128(9, 2), "INT32", "Decimal(precision=9, scale=2)"),
        (pa.decimal128(18, 2), "INT64", "Decimal(precision=18, scale=2)"),
        (pa.decimal256(76, 38), "FIXED_LEN_BYTE_ARRAY", "Decimal(precision=76, scale=38)"),
        (pa.time64("us"), "INT64", "Time(isAdjustedToUTC=false, timeUnit=microseconds)"),
        (pa.timestamp("us"), "INT64", "Timestamp(isAdjustedToUTC=false, timeUnit=microseconds"),
        (pa.timestamp("us", "UTC"), "INT64", "Timestamp(isAdjustedToUTC=true, timeUnit=microseconds"),
        (pa.duration("us"), "INT64", "None"),
    ],
)
def test_logical_types_that_any_reader_sees(data_type: pa.DataType, physical: str, logical: str, encode: Any) -> None:
    data = encode(PARQUET, pa.schema({"c": data_type}), [])
    column = pq.ParquetFile(io.BytesIO(data)).schema.column(0)
    assert column.physical_type == physical
    assert str(column.logical_type).startswith(logical)


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "lz4", "none"])
def test_every_codec_is_what_the_file_says(codec: str, encode: Any) -> None:
    format_ = ParquetFormat(ParquetConfig.model_validate({"compression": codec}))
    data = encode(format_, integers(0).schema, [integers(1000)])
    recorded = pq.read_metadata(io.BytesIO(data)).row_group(0).column(0).compression
    assert recorded == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())
    assert format_.compression == codec
    assert read_back(data).num_rows == 1000


@pytest.mark.parametrize(
    "options", [{"compression": "zip"}, {"compression": "snappy", "compression_level": 1}, {"compression_level": 23}]
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="compression"):
        ParquetConfig.model_validate(options)


def test_empty_result_is_a_readable_file_with_its_schema(encode: Any) -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field('"😀"', pa.uuid())])
    table = read_back(encode(PARQUET, schema, []))
    assert table.num_rows == 0
    assert table.schema == schema


def test_row_groups_stay_below_their_bound(encode: Any) -> None:
    batches = [integers(1000)] * 25 + [integers(100_000)] + [integers(1)]
    data = encode(PARQUET, batches[0].schema, batches, group_bytes=64_000)
    metadata = pq.read_metadata(io.BytesIO(data))
    rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert max(rows) == 8000
    assert sum(rows) == 125_001
    assert len(rows) == math.ceil(25 / 8) + math.ceil(100_000 / 8000)
    assert read_back(data) == pa.Table.from_batches(batches)


def test_one_row_above_the_bound_is_a_group_of_its_own(encode: Any) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(["x" * 100_000] * 3)], names=["s"])
    data = encode(PARQUET, batch.schema, [batch], group_bytes=50_000)
    assert pq.read_metadata(io.BytesIO(data)).num_row_groups == 3


def test_dictionaries_only_where_values_repeat(encode: Any) -> None:
    rows = 20_000
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(range(rows)),
            pa.array(["AIR", "SHIP"] * (rows // 2)),
            pa.array([Decimal(value % 50) for value in range(rows)], pa.decimal128(15, 2)),
            pa.array([[value] for value in range(rows)]),
        ],
        names=["id", "mode", "quantity", "list.x"],
    )
    group = pq.read_metadata(io.BytesIO(encode(PARQUET, batch.schema, [batch], group_bytes=1 << 24))).row_group(0)
    dictionary = {group.column(index).path_in_schema: group.column(index).has_dictionary_page for index in range(4)}
    assert dictionary == {"id": False, "mode": True, "quantity": True, "list.x.list.element": True}


def test_batches_with_a_dictionary_each_become_one_dictionary(encode: Any) -> None:
    labels = [f"a label of some length {number}" for number in range(4)]
    values = [pa.array([labels[(row * row + turn) % 4] for row in range(5000)]) for turn in range(4)]
    plain = [pa.record_batch([array], names=["x"]) for array in values]
    dictionaries = [pa.record_batch([array.dictionary_encode()], names=["x"]) for array in values]
    assert len({batch.column(0).dictionary[0].as_py() for batch in dictionaries}) > 1
    data = encode(PARQUET, dictionaries[0].schema, dictionaries, group_bytes=1 << 24)
    assert len(data) < 1.2 * len(encode(PARQUET, plain[0].schema, plain, group_bytes=1 << 24))
    assert read_back(data)["x"].to_pylist() == [value for array in values for value in array.to_pylist()]


def test_more_values_than_a_dictionary_s_indices_can_count(encode: Any) -> None:
    small = pa.dictionary(pa.int8(), pa.string())
    batches = [
        pa.record_batch([pa.array([f"{turn} {number}" for number in range(100)]).cast(small)], names=["x"])
        for turn in range(3)
    ]
    data = encode(PARQUET, batches[0].schema, batches, group_bytes=1 << 24)
    assert pq.read_metadata(io.BytesIO(data)).num_rows == 300


def test_integers_are_differences_where_they_are_to_be(encode: Any) -> None:
    numbers = [-(2**63), 2**63 - 1, None, 0, *range(20_000)]
    rows = len(numbers)
    day = 86_400_000_000
    columns = {
        "id": pa.array(numbers, pa.int64()),
        "unsigned": pa.array([2**64 - 1, *range(1, rows)], pa.uint64()),
        "amount": pa.array([None, *(Decimal(n) / 100 for n in range(1, rows))], pa.decimal128(15, 2)),
        "at": pa.array([n * day for n in range(rows)], pa.timestamp("us", "UTC")),
        "same": pa.array([7] * rows, pa.int64()),
        "large": pa.array([Decimal(n) for n in range(rows)], pa.decimal128(38, 0)),
        "real": pa.array([n / 7 for n in range(rows)], pa.float64()),
        "text": pa.array([str(n) for n in range(rows)]),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    data = {}
    for kept in ("plain", "delta"):
        format_ = ParquetFormat(ParquetConfig.model_validate({"integers": kept}))
        data[kept] = encode(format_, batch.schema, [batch], group_bytes=1 << 24)
        assert read_back(data[kept]).equals(pa.Table.from_batches([batch]))
    group = pq.read_metadata(io.BytesIO(data["delta"])).row_group(0)
    chunks = [group.column(index) for index in range(len(columns))]
    deltas = [chunk.path_in_schema for chunk in chunks if "DELTA_BINARY_PACKED" in chunk.encodings]
    assert deltas == ["id", "unsigned", "amount", "at"]
    assert "DELTA" not in str(pq.read_metadata(io.BytesIO(data["plain"])).row_group(0).to_dict())
    assert len(data["delta"]) < len(data["plain"])


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32), st.sampled_from(["none", "zstd"]), st.integers(1, 3000), st.sampled_from(["plain", "delta"])
)
def test_size_after_holds_for_noise(seed: int, codec: str, rows: int, integers: str) -> None:
    noise = random.Random(seed)
    columns = [
        pa.array([noise.randrange(-128, 128) for _ in range(rows)], pa.int8()),
        pa.array([noise.randbytes(noise.randrange(40)) for _ in range(rows)], pa.binary()),
        pa.array([noise.random() for _ in range(rows)], pa.float64()),
        pa.array([[noise.randrange(256)] * noise.randrange(3) for _ in range(rows)], pa.list_(pa.uint8())),
        pa.array([noise.choice([None, True, False]) for _ in range(rows)], pa.bool_()),
        pa.array([noise.choice("ab") * 50 for _ in range(rows)]).dictionary_encode(),
        pa.array([noise.randrange(-(2**63), 2**63) for _ in range(rows)], pa.int64()),
        pa.array([noise.randrange(2**32) for _ in range(rows)], pa.uint32()),
    ]
    batch = pa.RecordBatch.from_arrays(columns, names=list("abcdefgh"))
    target = io.BytesIO()
    config = ParquetConfig.model_validate({"compression": codec, "integers": integers})
    encoder = ParquetFormat(config).encoder(target, batch.schema, group_bytes=30_000)
    for _ in range(3):
        promised = encoder.size_after(batch)
        encoder.write(batch)
    encoder.finish()
    assert target.tell() <= promised


FLAGS = pa.array(([True, None] * 4 + [True] * 8) * 5000)


@pytest.mark.parametrize(
    "array",
    [
        FLAGS,
        pa.StructArray.from_arrays([FLAGS] * 5, names=list("abcde")).slice(3),
        pa.ListArray.from_arrays(pa.array(range(0, 80_001, 800), pa.int32()), FLAGS).slice(7),
        pa.FixedSizeListArray.from_arrays(FLAGS, 16).slice(5),
        pa.MapArray.from_arrays(
            pa.array(range(0, 80_001, 800), pa.int32()),
            pa.array([True] * 80_000),
            pa.StructArray.from_arrays([FLAGS], ["a"]),
        ),
    ],
    ids=lambda array: str(array.type),
)
def test_size_after_holds_for_nulls_strewn_among_flags(array: Any, sink: Any) -> None:
    # Groups of eight are packed and repeated in turns, so that a level takes more bits than in Arrow.
    batch = pa.RecordBatch.from_arrays([array], names=["f"])
    encoder = ParquetFormat(ParquetConfig(compression="none")).encoder(sink, batch.schema, group_bytes=1 << 20)
    promised = encoder.size_after(batch)
    encoder.write(batch)
    encoder.finish()
    encoder.close()
    assert len(sink.content) <= promised <= 2 * len(sink.content) + (64 << 10)


def test_a_first_question_for_the_size_counts_the_row_groups_before_it(sink: Any) -> None:
    texts = pa.RecordBatch.from_arrays([pa.array([letter * 4000 for letter in "abcdefgh"])], names=["text"])
    encoder = PARQUET.encoder(sink, texts.schema, group_bytes=1000)
    for _ in range(20):
        encoder.write(texts)
    promised = encoder.size_after(texts)
    encoder.write(texts)
    encoder.finish()
    assert len(sink.content) <= promised


def test_types_without_a_lossless_form_are_named_all_at_once(sink: Any) -> None:
    schema = pa.schema(
        {
            "ok": pa.int64(),
            "interval": pa.month_day_nano_interval(),
            'a "b"': pa.list_(pa.month_day_nano_interval()),
            "negative": pa.decimal128(5, -2),
        }
    )
    with pytest.raises(FormatError, match=r"for interval \(.*\), a \"b\" \(.*\), negative \(") as caught:
        PARQUET.encoder(sink, schema, group_bytes=1)
    assert caught.value.hint.endswith('columns:\n  "interval": string\n  "a \\"b\\"": string\n  "negative": string')
    assert not sink.content


def test_null_in_a_column_declared_without_is_refused(sink: Any) -> None:
    schema = pa.schema([pa.field("n", pa.int64(), nullable=False)])
    encoder = PARQUET.encoder(sink, schema, group_bytes=1)
    with pytest.raises(FormatError, match="'n' is declared non-nullable"):
        encoder.write(pa.RecordBatch.from_arrays([pa.array([None], pa.int64())], schema=schema))
    encoder.close()


def test_abandoned_encoder_writes_no_footer(sink: Any) -> None:
    encoder = PARQUET.encoder(sink, integers(0).schema, group_bytes=1000)
    for _ in range(5):
        encoder.write(integers(100_000))
    before = bytes(sink.content)
    encoder.close()
    del encoder
    gc.collect()
    assert bytes(sink.content) == before
    with pytest.raises(FormatError):
        read_back(before)


def test_errors_of_the_sink_pass_as_they_are() -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise StorageFull("no space left")

    encoder = PARQUET.encoder(Full(), integers(0).schema, group_bytes=1000)
    encoder.write(integers(10))
    with pytest.raises(StorageFull):
        encoder.finish()
    encoder.close()


def test_buffered_pyarrow_stream_works_as_sink() -> None:
    target = io.BytesIO()
    buffered = pa.BufferedOutputStream(pa.PythonFile(target, mode="w"), 1 << 16)
    encoder = PARQUET.encoder(buffered, integers(0).schema, group_bytes=1000)
    encoder.write(integers(5000))
    encoder.finish()
    encoder.close()
    buffered.flush()
    assert read_back(target.getvalue()).num_rows == 5000


@pytest.fixture(scope="module")
def intact(encode: Any) -> bytes:
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(range(300)),
            pa.array([f"text {value % 7} é" for value in range(300)]),
            pa.array([[value, None] for value in range(300)]),
            pa.array([Decimal(value) for value in range(300)], pa.decimal128(20, 3)),
        ],
        names=["id", "text", "list", "amount"],
    )
    data: bytes = encode(PARQUET, batch.schema, [batch, batch], group_bytes=5000)
    return data


def test_any_damage_is_a_format_error_or_harmless(intact: bytes) -> None:
    """A flipped byte in a page is always found, by its checksum; elsewhere it may hit a field that nobody reads."""

    @settings(deadline=None, max_examples=400)
    @given(st.integers(0, len(intact) - 1), st.integers(1, 255), st.integers(0, len(intact)))
    def check(position: int, flip: int, length: int) -> None:
        damaged = bytearray(intact)
        damaged[position] ^= flip
        for data in (bytes(damaged), intact[:length], bytes(damaged[:length])):
            with suppress(FormatError):
                read_back(data)

    check()


def test_flipped_byte_in_a_page_is_found(intact: bytes) -> None:
    chunk = pq.read_metadata(io.BytesIO(intact)).row_group(0).column(0)
    damaged = bytearray(intact)
    damaged[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    with pytest.raises(FormatError, match="no intact Parquet"):
        read_back(bytes(damaged))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 10, b'"a"\r\n1\r\n', b"\0" * 1000])
def test_what_is_no_parquet_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_back(data)


def test_errors_of_the_destination_pass_through_the_decoder(intact: bytes) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise Transient("the connection was reset")

    with pytest.raises(Transient, match="reset"):
        PARQUET.decoder(Failing(intact))


@pytest.mark.parametrize("distinct", [1, 40])
def test_batches_are_bounded_in_bytes(distinct: int, encode: Any) -> None:
    noise = random.Random(1)
    blobs = [noise.randbytes(1 << 20) for _ in range(distinct)] * (40 // distinct)
    batch = pa.RecordBatch.from_arrays([pa.array(blobs)], names=["blob"])
    data = encode(PARQUET, batch.schema, [batch], group_bytes=17 << 20)
    with PARQUET.decoder(io.BytesIO(data)) as decoder:
        sizes = [read.nbytes for read in decoder.batches()]
    assert sum(sizes) >= 40 << 20
    assert max(sizes) <= 17 << 20
