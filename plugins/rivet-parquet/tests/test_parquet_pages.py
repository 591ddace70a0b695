"""Files of the native encoder hold what pyarrow's writer would have written: values, types, statistics, encodings."""

from __future__ import annotations

import io
import random
import string
import time
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rivet_core.api.errors import FormatError
from rivet_core.builtin.parquet import ParquetConfig, ParquetFormat
from rivet_parquet import _pages
from rivet_parquet.format import NativeParquetFormat

NATIVE = "rivet version"


def whole(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else st.integers(0, (1 << bits) - 1)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda value: Decimal((value < 0, tuple(map(int, str(abs(value)))), -scale)))


TEXTS = st.text(max_size=40) | st.text("ab", max_size=3) | st.sampled_from(["\U0010ffff" * 1024, "\U0010ffff" * 1025])
BYTES = st.binary(max_size=40) | st.sampled_from([b"\xff" * 4096, b"\xff" * 4097])
FLOATS = st.floats(width=32) | st.sampled_from([0.0, -0.0])

TYPES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.bool_(): st.booleans(),
    **{getattr(pa, f"int{bits}")(): whole(bits) for bits in (8, 16, 32, 64)},
    **{getattr(pa, f"uint{bits}")(): whole(bits, signed=False) for bits in (8, 16, 32, 64)},
    pa.float32(): FLOATS,
    pa.float64(): FLOATS | st.floats(),
    pa.decimal128(1, 0): decimals(1, 0),
    pa.decimal128(9, 2): decimals(9, 2),
    pa.decimal128(10, 10): decimals(10, 10),
    pa.decimal128(18, 3): decimals(18, 3),
    pa.decimal128(19, 2): decimals(19, 2),
    pa.decimal128(38, 0): decimals(38, 0),
    pa.decimal256(39, 0): decimals(39, 0),
    pa.decimal256(57, 20): decimals(57, 20),
    pa.decimal256(76, 10): decimals(76, 10),
    pa.date32(): whole(32),
    pa.time32("ms"): st.integers(0, 86_399_999),
    pa.time64("us"): st.integers(0, 86_399_999_999),
    pa.timestamp("ms"): whole(40),
    pa.timestamp("us"): whole(64),
    pa.timestamp("us", "UTC"): whole(64),
    pa.timestamp("ns"): whole(64),
    pa.duration("us"): whole(64),
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
    pa.binary(): BYTES,
    pa.large_binary(): BYTES,
    pa.binary(4): st.binary(min_size=4, max_size=4),
    pa.binary(7): st.binary(min_size=7, max_size=7),
    pa.uuid(): st.binary(min_size=16, max_size=16),
    pa.json_(): TEXTS,
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["new", "paid", "shipped", ""]),
}


@st.composite
def tables(draw: st.DrawFn) -> list[pa.RecordBatch]:
    """Batches of some columns, repetitive or not, with NULLs or not, each batch at some offset in its buffers."""
    columns = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=4))
    nullable = [draw(st.booleans()) for _ in columns]
    schema = pa.schema([pa.field(f"c{i}", columns[i], nullable=nullable[i]) for i in range(len(columns))])
    rows = draw(st.integers(1, 30))
    repeated = draw(st.sampled_from([1, 1, 7, 40]))
    arrays = []
    for data_type, may_be_null in zip(columns, nullable, strict=True):
        values = st.none() | TYPES[data_type] if may_be_null else TYPES[data_type]
        some = draw(st.lists(values, min_size=rows, max_size=rows))
        arrays.append(array_of(some * repeated, data_type))
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema).slice(draw(st.integers(0, rows - 1)))
    cut = draw(st.integers(0, batch.num_rows))
    return [batch.slice(0, cut), batch.slice(cut)]


def array_of(values: list[Any], data_type: pa.DataType) -> pa.Array[Any]:
    if isinstance(data_type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(data_type, pa.array(values, data_type.storage_type))
    if isinstance(data_type, pa.DictionaryType):
        return pa.array(values, data_type.value_type).dictionary_encode().cast(data_type)
    return pa.array(values, data_type)


def encoded(format_: ParquetFormat, batches: list[pa.RecordBatch], *, group_bytes: int = 1 << 20) -> bytes:
    sink = io.BytesIO()
    encoder = format_.encoder(sink, batches[0].schema, group_bytes=group_bytes)
    for batch in batches:
        promised = encoder.size_after(batch)
        encoder.write(batch)
    encoder.finish()
    encoder.close()
    assert len(sink.getvalue()) <= promised
    return sink.getvalue()


def opened(data: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)


def statistics(file: pq.ParquetFile) -> list[Any]:
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups if group.num_rows for number in range(group.num_columns)]
    found = []
    for chunk in chunks:
        # pyarrow also looks at values of an array's dictionary that no row has.
        if isinstance(file.schema_arrow.field(chunk.path_in_schema).type, pa.DictionaryType):
            continue
        seen = chunk.statistics
        bounds = repr((seen.min_raw, seen.max_raw)) if seen.has_min_max else None
        found.append((chunk.path_in_schema, chunk.num_values, seen.null_count, bounds))
    return found


def same_as_pyarrow(batches: list[pa.RecordBatch], *, group_bytes: int = 1 << 20, **options: Any) -> pq.ParquetFile:
    """Encode with both; return the native file after everything that a reader sees was compared."""
    config = ParquetConfig(**options)
    ours = opened(encoded(NativeParquetFormat(config), batches, group_bytes=group_bytes))
    theirs = opened(encoded(ParquetFormat(config), batches, group_bytes=group_bytes))
    assert ours.metadata.created_by.startswith(NATIVE)
    assert ours.schema.equals(theirs.schema)
    assert ours.schema_arrow.equals(theirs.schema_arrow, check_metadata=True)
    assert statistics(ours) == statistics(theirs)
    read = ours.read()
    read.validate(full=True)
    assert_same_values(read, theirs.read())
    return ours


def assert_same_values(left: pa.Table, right: pa.Table) -> None:
    for name in left.column_names:
        columns = [bits(table[name].combine_chunks()) for table in (left, right)]
        assert columns[0].equals(columns[1]), name


def bits(array: pa.Array[Any]) -> pa.Array[Any]:
    """Floats as the integers of their bits: a NaN differs from itself. Dictionaries as their values."""
    if isinstance(array, pa.DictionaryArray):
        return array.dictionary_decode()
    if pa.types.is_floating(array.type):
        return array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
    return array


@settings(deadline=None, max_examples=60)
@given(
    batches=tables(),
    compression=st.sampled_from(["zstd", "snappy", "gzip", "lz4", "none"]),
    integers=st.sampled_from(["plain", "delta"]),
)
def test_every_reader_finds_what_pyarrow_would_have_written(
    batches: list[pa.RecordBatch], compression: str, integers: str
):
    same_as_pyarrow(batches, compression=compression, integers=integers)


@pytest.mark.parametrize("data_type", TYPES, ids=str)
@pytest.mark.parametrize("values", [[], [None, None]], ids=["none", "only NULLs"])
def test_columns_without_a_value_have_no_bounds(data_type: pa.DataType, values: list[None]):
    array = array_of(values, data_type)
    batch = pa.RecordBatch.from_arrays([array, pa.array([1] * len(values))], names=["c", "n"])
    if values:
        same_as_pyarrow([batch])
    else:
        assert opened(encoded(NativeParquetFormat(ParquetConfig()), [batch])).metadata.num_rows == 0


def test_pages_span_batches_and_levels_runs_of_both_kinds():
    random_ = random.Random(7)
    valid = [True] * 90_000 + [random_.random() < 0.5 for _ in range(50_000)] + [False] * 20_000
    numbers = pa.array([i if there else None for i, there in enumerate(valid)], pa.int64())
    near = pa.array([i % 300 if there else None for i, there in enumerate(valid)], pa.int32())
    far = pa.array([(i % 700) * 10**15 if there else None for i, there in enumerate(valid)], pa.int64())
    texts = pa.array([f"text {i % 90}" * (i % 9) if there else None for i, there in enumerate(valid)])
    flags = pa.array([i % 3 == 0 if there else None for i, there in enumerate(valid)])
    batch = pa.RecordBatch.from_arrays([numbers, near, far, texts, flags], names=["n", "near", "far", "t", "f"])
    batches = [batch.slice(start, 17_777) for start in range(0, batch.num_rows, 17_777)]
    file = same_as_pyarrow(batches, group_bytes=1 << 30)
    group = file.metadata.row_group(0)
    coded = ["RLE_DICTIONARY" in group.column(index).encodings for index in range(5)]
    assert coded == [False, True, True, True, False]


@pytest.mark.parametrize("distinct", [1, 2, 3, 255, 256, 257, 5000])
def test_codes_of_any_width_come_back(distinct: int):
    random_ = random.Random(distinct)
    values = [f"value {random_.randrange(distinct)}" for _ in range(40_000)]
    numbers = [random_.randrange(distinct) * 1_000_003 for _ in range(40_000)]
    batch = pa.RecordBatch.from_arrays([pa.array(sorted(values)), pa.array(numbers)], names=["t", "n"])
    same_as_pyarrow([batch])


def test_a_dictionary_that_grows_too_large_is_given_up():
    # Repetitive at first, so that a dictionary is tried, and distinct later.
    values = [f"{i % 10:050d}" for i in range(20_000)] + [f"{i:050d}" for i in range(60_000)]
    batch = pa.RecordBatch.from_arrays([pa.array(values), pa.array([hash(v) for v in values])], names=["t", "n"])
    file = same_as_pyarrow_but_encodings([batch])
    assert file.metadata.row_group(0).column(0).encodings == ("RLE", "PLAIN")


def same_as_pyarrow_but_encodings(batches: list[pa.RecordBatch]) -> pq.ParquetFile:
    return same_as_pyarrow(batches, group_bytes=1 << 30)


def test_values_made_to_collide_cost_the_dictionary_and_not_the_time():
    # The table of the dictionary goes by the middle bits of the product with a constant: these all share them.
    inverse = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    numbers = [((i << 52) + 5 & (1 << 64) - 1) * inverse % (1 << 64) for i in range(2000)]
    batch = pa.RecordBatch.from_arrays([pa.array(numbers * 50, pa.uint64())], names=["n"])
    file = same_as_pyarrow([batch])
    assert file.metadata.row_group(0).column(0).encodings == ("RLE", "PLAIN")


def test_a_dictionary_is_not_given_up_for_the_steps_of_many_texts_in_one_array():
    noise = random.Random(5)
    # The last value is the first one to be added after the steps of all others.
    texts = pa.array([f"{noise.randrange(511):06d}" for _ in range(250_000)] + ["another"])
    file = same_as_pyarrow([pa.RecordBatch.from_arrays([texts], names=["t"])], group_bytes=1 << 30)
    assert "RLE_DICTIONARY" in file.metadata.row_group(0).column(0).encodings


def test_values_that_collide_and_come_again_do_not_cost_the_time_either():
    inverse = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    numbers = pa.array(
        [((i << 52 | i >> 12) + 5 & (1 << 64) - 1) * inverse % (1 << 64) for i in range(4000)], pa.uint64()
    )
    column = _pages.Column(5, 8, 2, False)
    column.begin()
    all_of_them = pa.concat_arrays([numbers] * 400)
    start = time.process_time()
    taken = column.add_to_dictionary(0, all_of_them.buffers()[1].address, 0, 0, 0, len(all_of_them))
    assert not taken
    assert time.process_time() - start < 1  # without a look at the steps in between it is several seconds


def test_small_integers_of_many_values_have_a_dictionary():
    noise = random.Random(5)
    array = pa.array([noise.randrange(-128, 128) for _ in range(40_000)], pa.int8())
    file = same_as_pyarrow([pa.RecordBatch.from_arrays([array], names=["n"])])
    assert "RLE_DICTIONARY" in file.metadata.row_group(0).column(0).encodings


@pytest.mark.parametrize("distinct", [20, 40_000])
def test_dictionary_arrays_are_decoded_a_page_at_a_time(distinct: int):
    labels = pa.array([f"{i:063d}" for i in range(distinct)])
    codes = pa.array([i % distinct if i % 7 else None for i in range(400_000)], pa.int32())
    array = pa.DictionaryArray.from_arrays(codes, labels)
    table = pa.table({"label": pa.chunked_array([array.slice(start, 150_000) for start in (0, 150_000, 300_000)])})
    data, most = bytearray(), 0

    class Sink:
        def write(self, some: Any) -> None:
            nonlocal data, most
            data += memoryview(some)
            most = max(most, pa.total_allocated_bytes())

    before = pa.total_allocated_bytes()
    sink: Any = Sink()
    writer = NativeParquetFormat(ParquetConfig(compression="none")).open_writer(sink, table.schema, ["label"])
    writer.write_table(table)
    writer.close()
    assert most - before < array.dictionary_decode().nbytes / 2
    file = opened(bytes(data))
    assert_same_values(file.read(), table)
    chunk = file.metadata.row_group(0).column(0)
    assert ("RLE_DICTIONARY" in chunk.encodings) == (distinct == 20)
    assert chunk.statistics.null_count == array.null_count


def test_what_the_codec_makes_no_smaller_is_stored_as_it_is():
    noise = random.Random(3).randbytes(16 * 20_000)
    uids = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.Array.from_buffers(pa.binary(16), 20_000, [None, pa.py_buffer(noise)])
    )
    batch = pa.RecordBatch.from_arrays([uids, pa.array(range(20_000))], names=["u", "n"])
    group = same_as_pyarrow([batch]).metadata.row_group(0)
    assert [group.column(index).compression for index in range(2)] == ["UNCOMPRESSED", "ZSTD"]


def test_the_codec_compresses_each_page_once(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    codec = pa.Codec

    class Counting:
        def __init__(self, *args: Any) -> None:
            self._codec = codec(*args)

        def compress(self, body: pa.Buffer, *, asbytes: bool) -> Any:
            sizes.append(body.size)
            return self._codec.compress(body, asbytes=asbytes)

    monkeypatch.setattr(pa, "Codec", Counting)
    table = pa.table({"n": range(100_000), "s": [f"text {i % 50}" for i in range(100_000)]})
    sink = io.BytesIO()
    writer = NativeParquetFormat(ParquetConfig()).open_writer(sink, table.schema, table.column_names)
    writer.write_table(table)
    writer.close()
    file = opened(sink.getvalue())
    chunks = [file.metadata.row_group(0).column(index) for index in range(2)]
    assert [chunk.compression for chunk in chunks] == ["ZSTD", "ZSTD"]
    assert [chunk.has_dictionary_page for chunk in chunks] == [False, True]
    headers = 64 * len(sizes)
    assert sum(sizes) <= sum(chunk.total_uncompressed_size for chunk in chunks) <= sum(sizes) + headers


@pytest.mark.parametrize(
    ("decimal", "precision"), [(pa.decimal128, 9), (pa.decimal128, 18), (pa.decimal128, 20), (pa.decimal256, 39)]
)
def test_a_decimal_beyond_its_type_is_refused(decimal: Callable[[int, int], pa.DataType], precision: int):
    widest = decimal(38, 0) if decimal is pa.decimal128 else decimal(76, 0)
    values = pa.array([Decimal(0), Decimal(-(10 ** (widest.precision - 1)))], widest)
    array = pa.Array.from_buffers(decimal(precision, 0), 2, values.buffers())
    batch = pa.RecordBatch.from_arrays([array], names=["amount"])
    with pytest.raises(FormatError, match="'amount' has more digits than its type"):
        encoded(NativeParquetFormat(ParquetConfig()), [batch])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("data_type", [pa.decimal128(5, 2), pa.decimal128(10, 0), pa.decimal128(20, 0)], ids=str)
def test_a_decimal_that_fits_into_its_bytes_and_has_too_many_digits_is_refused(data_type: Any, sign: int):
    values = pa.array([Decimal(1), None, Decimal(sign * 10**data_type.precision)], pa.decimal128(38, 0))
    array = pa.Array.from_buffers(data_type, 3, values.buffers())
    batch = pa.RecordBatch.from_arrays([array], names=["amount"])
    with pytest.raises(FormatError, match="'amount' has more digits than its type"):
        encoded(NativeParquetFormat(ParquetConfig()), [batch])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), codec=st.sampled_from(["none", "zstd", "snappy"]), rows=st.integers(1, 3000))
def test_the_size_that_is_promised_holds_for_noise(seed: int, codec: str, rows: int):
    noise = random.Random(seed)
    columns = [
        pa.array([noise.randrange(-128, 128) for _ in range(rows)], pa.int8()),
        pa.array([noise.randbytes(noise.randrange(40)) for _ in range(rows)], pa.binary()),
        pa.array([noise.random() for _ in range(rows)], pa.float64()),
        pa.array([noise.choice([None, True, False]) for _ in range(rows)], pa.bool_()),
        pa.array([noise.choice("ab") * 50 for _ in range(rows)]).dictionary_encode(),
        pa.array([None if noise.random() < 0.5 else noise.randrange(rows) for _ in range(rows)], pa.int64()),
    ]
    batch = pa.RecordBatch.from_arrays(columns, names=list("abcdef"))
    sink = io.BytesIO()
    encoder = NativeParquetFormat(ParquetConfig.model_validate({"compression": codec})).encoder(
        sink, batch.schema, group_bytes=30_000
    )
    for _ in range(3):
        promised = encoder.size_after(batch)
        encoder.write(batch)
    encoder.finish()
    assert len(sink.getvalue()) <= promised


def test_a_column_declared_without_nulls_takes_none():
    schema = pa.schema([pa.field("n", pa.int64(), nullable=False)])
    batch = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int64())], schema=schema)
    with pytest.raises(FormatError, match="'n' is declared non-nullable"):
        encoded(NativeParquetFormat(ParquetConfig()), [batch])


def test_offsets_outside_of_the_data_are_refused():
    for offsets in ([0, 5], [3, 1], [-4, 0], [-1, 3]):
        buffer = pa.array(offsets, pa.int32()).buffers()[1]
        column = _pages.Column(7, 0, 4, False)
        column.begin()
        column.begin_page()
        data = pa.py_buffer(b"abc")
        with pytest.raises(ValueError, match="offsets"):
            column.add_values(0, buffer.address, data.address, data.size, 0, 1)
        with pytest.raises(ValueError, match="offsets"):
            column.add_to_dictionary(0, buffer.address, data.address, data.size, 0, 1)


def test_buffers_at_odd_addresses_are_read():
    numbers = bytes(1) + b"".join(i.to_bytes(8, "little") for i in range(1000))
    shifted = pa.py_buffer(numbers).slice(1)
    array = pa.Array.from_buffers(pa.int64(), 1000, [None, shifted])
    assert shifted.address % 8
    file = same_as_pyarrow([pa.RecordBatch.from_arrays([array], names=["n"])])
    assert file.read()["n"].to_pylist() == list(range(1000))


@pytest.mark.parametrize("count", [1, 2, 32, 33, 129, 70_001])
def test_differences_of_every_size_come_back(count: int):
    random_ = random.Random(count)
    schema = pa.schema({"small": pa.int32(), "large": pa.int64(), "unsigned": pa.uint64(), "at": pa.timestamp("us")})
    small = [random_.choice([random_.randrange(-(2**31), 2**31), i]) for i in range(count)]
    large = [random_.randrange(-(2 ** random_.randrange(64)), 2 ** random_.randrange(64)) for _ in range(count)]
    unsigned = [random_.randrange(2 ** random_.randrange(65)) for _ in range(count)]
    at = [None if random_.random() < 0.2 else i * 1000 for i in range(count)]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(values, field.type) for values, field in zip([small, large, unsigned, at], schema, strict=True)],
        schema=schema,
    )
    file = same_as_pyarrow([batch], group_bytes=1 << 30, integers="delta")
    if count > 1000:
        group = file.metadata.row_group(0)
        assert {group.column(index).encodings for index in range(4)} == {("RLE", "DELTA_BINARY_PACKED")}


def test_nested_columns_are_left_to_pyarrow():
    nested = pa.RecordBatch.from_arrays([pa.array([[1], None, []])], names=["list"])
    assert not created_by(nested).startswith(NATIVE)
    numbers = pa.RecordBatch.from_arrays([pa.array(range(1000))], names=["n"])
    assert created_by(numbers).startswith(NATIVE)


def created_by(batch: pa.RecordBatch, **options: Any) -> str:
    return str(opened(encoded(NativeParquetFormat(ParquetConfig(**options)), [batch])).metadata.created_by)


@given(data=st.binary(max_size=100))
@example(data=string.ascii_letters.encode() * 50)
def test_checksums_are_those_of_everybody_else(data: bytes):
    buffer = pa.py_buffer(data)
    assert _pages.crc32(buffer.address, buffer.size) == zlib.crc32(data)
