"""The suite of file formats: what was written comes back, and nothing passes for whole that is not."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, BinaryIO, ClassVar, cast

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rivet_core.api import Encoder, Format, FormatError, FormatSpec, StorageFull
from rivet_core.config.validation import load_model
from rivet_core.contract.types import type_name
from rivet_core.plugins import Registry
from rivet_core.testing.catalog import proves
from rivet_core.testing.profiles import kit_settings
from rivet_core.testing.suite import Suite, not_applicable
from rivet_core.testing.tables import ODD_NAMES, SAMPLES, Sample, array, difference, schemas_and_batches

__all__ = ["FormatSuite"]

_GROUP_BYTES = 1 << 20
_COLUMNS: dict[str, pa.DataType] = {"id": pa.int64(), "note": pa.string()}
_NUMBERS = pa.schema(_COLUMNS)


class _Sink:
    """What a format may expect of a sink: ``write`` and nothing else."""

    def __init__(self, room: int | None = None) -> None:
        self.content = bytearray()
        self._room = room

    def write(self, data: bytes) -> int:
        if self._room is not None and len(self.content) + len(data) > self._room:
            raise StorageFull("no room left")
        self.content += data
        return len(data)


def _open(file_format: Format, sink: _Sink, schema: pa.Schema, *, group_bytes: int = _GROUP_BYTES) -> Encoder:
    return file_format.encoder(cast("BinaryIO", sink), schema, group_bytes=group_bytes)


def _encode(
    file_format: Format, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, group_bytes: int = _GROUP_BYTES
) -> bytes:
    sink = _Sink()
    with closing(_open(file_format, sink, schema, group_bytes=group_bytes)) as encoder:
        for batch in batches:
            encoder.write(batch)
        encoder.finish()
    return bytes(sink.content)


def _decode(file_format: Format, data: bytes, schema: pa.Schema | None) -> pa.Table:
    with file_format.decoder(io.BytesIO(data), schema) as decoder:
        table = pa.Table.from_batches(decoder.batches(), decoder.schema)
        counted = decoder.row_count()
    assert counted == table.num_rows, f"row_count() says {counted}, batches() gives {table.num_rows} rows"
    return table


def _numbers(start: int, rows: int) -> pa.RecordBatch:
    """Return a batch with counting ids; without NULL, so that losing those fails the tests of NULL alone."""
    notes = [f"note {i}" for i in range(start, start + rows)]
    return pa.RecordBatch.from_arrays([pa.array(range(start, start + rows)), pa.array(notes)], schema=_NUMBERS)


def _column(sample: Sample, values: Sequence[Any]) -> pa.Table:
    """Return a table of numbers and these values."""
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("value", sample.type)])
    return pa.Table.from_arrays([pa.array(range(len(values)), pa.int64()), array(values, sample.type)], schema=schema)


def _noise(rows: int) -> pa.RecordBatch:
    """Return a batch that no codec makes smaller."""
    content = pa.py_buffer(random.Random(7).randbytes(8 * rows))  # noqa: S311  the same bytes in every run
    return pa.RecordBatch.from_arrays([pa.Array.from_buffers(pa.int64(), rows, [None, content])], names=["noise"])


class FormatSuite(Suite):
    """Proves that a format brings back what was written, or refuses it. Subclass it and name the format.

    Attributes:
        format: the name, as ``rivet.yaml`` says it; found through the entry point of the installed plugin.
        options: options of the format, as ``rivet.yaml`` gives them; without any the format's defaults.
    """

    format: ClassVar[str]
    options: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture
    def spec(self, registry: Registry) -> FormatSpec:
        """What the plugin says about its format."""
        return registry.format(self.format)

    @pytest.fixture
    def config(self, registry: Registry, spec: FormatSpec) -> type[BaseModel]:
        """The model of the format's options."""
        return load_model(registry, spec)

    @pytest.fixture
    def file_format(self, registry: Registry, spec: FormatSpec, config: type[BaseModel]) -> Format:
        """The plugin's format with the options of this suite."""
        factory = cast("Any", registry.load(spec, "factory"))
        opened = factory(config.model_validate(dict(self.options)))
        if not isinstance(opened, Format):
            pytest.fail(f"the factory of {self.format!r} returned {opened!r} instead of a Format")
        return opened

    @proves(
        "F-SPEC-1",
        breaks="parts get a wrong name, or manifests do not say how a part is compressed",
        hint="FormatSpec.suffix has no dot, Format.compression is the codec's name or 'none'",
    )
    def test_the_spec_names_suffix_and_compression(self, spec: FormatSpec, file_format: Format) -> None:
        assert spec.suffix
        assert not spec.suffix.startswith(".")
        assert "/" not in spec.suffix
        assert spec.summary
        assert "\n" not in spec.summary
        assert "/" in spec.media_type
        assert isinstance(file_format.compression, str)
        assert file_format.compression

    @proves(
        "F-SPEC-2",
        breaks="a misspelled option is ignored, and files are not what the configuration says",
        hint="give the pydantic model of the options ConfigDict(extra='forbid') and a field compression",
    )
    def test_options_are_checked(self, config: type[BaseModel]) -> None:
        assert "compression" in config.model_fields
        with pytest.raises(ValidationError):
            config.model_validate({"rivet_kit_no_such_option": 1})

    @proves(
        "F-ROWS-1",
        breaks="rows are missing, doubled or in another order, although the run succeeded",
        hint="write what is held back in finish(); a batch may have no rows, or be a slice of a larger one",
    )
    def test_every_row_of_every_batch_comes_back_in_order(self, file_format: Format) -> None:
        sizes = [3, 0, 1, 500, 17, 0, 2]
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        batches = [_numbers(start, rows) for start, rows in zip(starts, sizes, strict=True)]
        batches.append(_numbers(0, 530).slice(523, 5))
        expected = pa.Table.from_batches(batches, _NUMBERS)
        for group_bytes in (1, 1000, _GROUP_BYTES):
            data = _encode(file_format, _NUMBERS, batches, group_bytes=group_bytes)
            wrong = difference(expected, _decode(file_format, data, _NUMBERS))
            assert wrong is None, f"{wrong} (group_bytes={group_bytes})"

    @proves(
        "F-ROWS-2",
        breaks="an export without rows leaves a file that nobody can read, or one without columns",
        hint="finish() writes a valid file also when write() was never called",
    )
    def test_no_rows_are_a_readable_file(self, file_format: Format) -> None:
        for batches in ([], [_numbers(0, 0)]):
            data = _encode(file_format, _NUMBERS, batches)
            wrong = difference(_NUMBERS.empty_table(), _decode(file_format, data, _NUMBERS))
            assert wrong is None, wrong

    @proves(
        "F-NULL-1",
        breaks="NULL becomes another value or the other way round: 0, '', 1970-01-01",
        hint="NULL and the empty string, zero and the text NULL are different values; keep the validity of each column",
    )
    def test_null_stays_null(self, file_format: Format) -> None:
        wrong = []
        for sample in SAMPLES:
            for values in ([None], [None, *sample.plain, None], [None, None, None], sample.plain):
                schema, data = self._one_column(file_format, sample, values)
                if data is None:
                    continue
                found = _decode(file_format, data, schema).column("value").is_null().to_pylist()
                if found != [value is None for value in values]:
                    wrong.append(f"{sample.name}: of {values} these came back as NULL: {found}")
        assert not wrong, "\n".join(wrong)

    @proves(
        "F-TYPE-1",
        breaks="values or types are silently others than in the source: decimals with another scale, cut timestamps",
        hint="refuse in encoder() a type that does not come back with the same name (contract.types.type_name) and "
        "values; Decoder.schema gives the types of the encoder's schema, or the schema that it is given",
    )
    def test_every_type_comes_back_or_is_refused(self, file_format: Format) -> None:
        wrong = [text for sample in SAMPLES for text in self._differences(file_format, sample, sample.plain)]
        assert not wrong, "\n".join(wrong)

    @proves(
        "F-TYPE-2",
        breaks="a rare value, such as infinity, is silently another one",
        hint="raise FormatError in write() for a value that the format cannot hold",
    )
    def test_extreme_values_come_back_or_are_refused(self, file_format: Format) -> None:
        wrong = []
        for sample in SAMPLES:
            for value in sample.extreme:
                try:
                    wrong += self._differences(file_format, sample, [value])
                except FormatError:
                    continue
        assert not wrong, "\n".join(wrong)

    @proves(
        "F-TYPE-3",
        breaks="a user mends one column after the other, or data is lost in a column that should have been refused",
        hint="encoder() raises FormatError that names every refused column, and writes nothing before",
    )
    def test_a_refusal_names_every_column_and_writes_nothing(self, file_format: Format) -> None:
        union = pa.dense_union([pa.field("a", pa.int64()), pa.field("b", pa.string())])
        types = [*(sample.type for sample in SAMPLES), pa.list_(pa.duration("us")), union]
        fields = [pa.field(f"column_{index}_{'x' * index}_end", type_) for index, type_ in enumerate(types)]
        refused = [field.name for field in fields if not self._takes(file_format, pa.schema([field]))]
        if not refused:
            not_applicable("the format takes every type")
        sink = _Sink()
        with pytest.raises(FormatError) as caught:
            _open(file_format, sink, pa.schema(fields))
        said = caught.value.message + caught.value.hint
        assert [name for name in refused if name not in said] == [], "these columns are not named"
        assert not sink.content

    @proves(
        "F-TYPE-4",
        breaks="there is no way out for a refused column: overrides lead to string",
        hint="string and int64 are the least that a format must hold",
    )
    def test_text_and_integers_are_taken(self, file_format: Format) -> None:
        assert self._takes(file_format, _NUMBERS)

    @proves(
        "F-NAME-1",
        breaks="columns get other names, or a file with an odd name in it cannot be read",
        hint="column names are any text: quotes, delimiters, line breaks, spaces, any Unicode; case matters",
    )
    def test_odd_column_names_come_back(self, file_format: Format) -> None:
        schema = pa.schema([(name, pa.int64()) for name in ODD_NAMES])
        batch = pa.RecordBatch.from_arrays([pa.array([index]) for index in range(len(ODD_NAMES))], schema=schema)
        wrong = difference(
            pa.Table.from_batches([batch]), _decode(file_format, _encode(file_format, schema, [batch]), schema)
        )
        assert wrong is None, wrong

    @proves(
        "F-SELF-1",
        breaks="a part cannot be read without its manifest although the format promises it",
        hint="set self_describing = False if the file does not hold its own schema",
    )
    def test_a_self_describing_part_needs_no_manifest(self, file_format: Format) -> None:
        batch = _numbers(0, 10)
        data = _encode(file_format, _NUMBERS, [batch])
        if file_format.self_describing:
            wrong = difference(pa.Table.from_batches([batch]), _decode(file_format, data, None))
            assert wrong is None, wrong
            return
        try:
            table = _decode(file_format, data, None)
        except FormatError:
            return  # a file that does not even name its columns
        assert {type_name(field.type) for field in table.schema} == {"string"}
        assert table.num_rows == 10

    @proves(
        "F-FINISH-1",
        breaks="a part of a run that died is taken for a whole one",
        hint="what makes a file complete (a footer, an end mark) is written in finish(): not before, not in close(), "
        "not when a writer of the library is dropped",
    )
    def test_nothing_is_complete_before_finish(self, file_format: Format) -> None:
        batches = [_numbers(0, 2000), _numbers(2000, 2000)]
        sink = _Sink()
        encoder = _open(file_format, sink, _NUMBERS, group_bytes=1000)
        unfinished = [bytes(sink.content)]
        for batch in batches:
            encoder.write(batch)
            unfinished.append(bytes(sink.content))
        encoder.close()
        del encoder
        assert bytes(sink.content) == unfinished[-1], "close() wrote to the sink of a part that was not finished"
        if not file_format.self_describing:
            return  # without a footer every line break is an end; the commit of the destination is what tells
        for data in unfinished:
            with pytest.raises(FormatError):
                _decode(file_format, data, None)

    @proves(
        "F-FINISH-2",
        breaks="the end of a part is lost, or written twice",
        hint="finish() has written everything when it returns; close() after it adds nothing and may be called twice",
    )
    def test_finish_writes_everything(self, file_format: Format) -> None:
        sink = _Sink()
        encoder = _open(file_format, sink, _NUMBERS)
        encoder.write(_numbers(0, 100))
        encoder.finish()
        finished = bytes(sink.content)
        encoder.close()
        encoder.close()
        assert bytes(sink.content) == finished
        assert difference(pa.Table.from_batches([_numbers(0, 100)]), _decode(file_format, finished, _NUMBERS)) is None

    @proves(
        "F-SINK-1",
        breaks="a full disk or a lost connection is reported as damaged data, or not at all",
        hint="let exceptions of sink.write pass as they are",
    )
    def test_errors_of_the_sink_pass(self, file_format: Format) -> None:
        full = _encode(file_format, _NUMBERS, [_numbers(0, 5000)], group_bytes=1000)
        for room in (0, len(full) // 2, len(full) - 1):
            encoder = _open(file_format, _Sink(room), _NUMBERS, group_bytes=1000)
            with pytest.raises(StorageFull):
                self._write_and_finish(encoder, _numbers(0, 5000))
            encoder.close()

    @proves(
        "F-SIZE-1",
        breaks="parts are larger than max_file_size",
        hint="size_after() is exact or an upper bound: what is written, what is held back, the batch and the footer",
    )
    def test_no_part_is_larger_than_size_after_said(self, file_format: Format) -> None:
        for batch in (_numbers(0, 300), _noise(3000)):
            for count in (1, 2, 3):
                sink = _Sink()
                encoder = _open(file_format, sink, batch.schema, group_bytes=10_000)
                said = 0
                for _ in range(count):
                    said = encoder.size_after(batch)
                    encoder.write(batch)
                encoder.finish()
                encoder.close()
                assert len(sink.content) <= said, f"{len(sink.content)} bytes after {count} batches, not {said}"

    @proves(
        "F-SIZE-2",
        breaks="an export falls into a great many small parts",
        hint="size_after() is as tight as the format knows; for data that cannot be compressed at most twice the part",
    )
    def test_size_after_is_no_wild_guess(self, file_format: Format) -> None:
        batch = _noise(20_000)
        sink = _Sink()
        encoder = _open(file_format, sink, batch.schema)
        said = encoder.size_after(batch)
        encoder.write(batch)
        encoder.finish()
        encoder.close()
        assert said <= 2 * len(sink.content) + (64 << 10)

    @proves(
        "F-SIZE-3",
        breaks="asking for the size writes rows twice",
        hint="size_after() changes nothing; the batch may or may not be written after it",
    )
    def test_size_after_writes_nothing(self, file_format: Format) -> None:
        sink = _Sink()
        encoder = _open(file_format, sink, _NUMBERS)
        encoder.write(_numbers(0, 10))
        for _ in range(3):
            encoder.size_after(_numbers(10, 10))
        encoder.finish()
        encoder.close()
        wrong = difference(
            pa.Table.from_batches([_numbers(0, 10)]), _decode(file_format, bytes(sink.content), _NUMBERS)
        )
        assert wrong is None, wrong

    @proves(
        "F-MEMORY-1",
        breaks="a large table does not fit in memory",
        hint="hold back at most about group_bytes of data, then write it to the sink",
    )
    def test_the_encoder_does_not_hold_the_part_back(self, file_format: Format) -> None:
        batch = _noise(16_384)
        sink = _Sink()
        encoder = _open(file_format, sink, batch.schema, group_bytes=256 << 10)
        for _ in range(64):
            encoder.write(batch)
        before_finish = len(sink.content)
        encoder.finish()
        encoder.close()
        assert before_finish > len(sink.content) // 2, (
            f"only {before_finish} of {len(sink.content)} bytes before finish()"
        )

    @proves(
        "F-SHARE-1",
        breaks="parts that are written at the same time mix their rows",
        hint="a Format is immutable; what belongs to one part belongs to its Encoder",
    )
    def test_parts_are_written_at_the_same_time(self, file_format: Format) -> None:
        def wrong_in(part: int) -> str | None:
            batches = [_numbers(part * 100_000 + index * 100, 100) for index in range(20)]
            data = _encode(file_format, _NUMBERS, batches, group_bytes=1000)
            return difference(pa.Table.from_batches(batches), _decode(file_format, data, _NUMBERS))

        with ThreadPoolExecutor(4) as threads:
            wrong = [text for text in threads.map(wrong_in, range(8)) if text is not None]
        assert not wrong, "\n".join(wrong)
        first, second = _Sink(), _Sink()
        encoders = [_open(file_format, sink, _NUMBERS, group_bytes=1000) for sink in (first, second)]
        for index, encoder in enumerate(encoders * 2):
            encoder.write(_numbers(index % 2 * 1000, 100))
        for encoder in encoders:
            encoder.finish()
            encoder.close()
        for start, sink in ((0, first), (1000, second)):
            expected = pa.Table.from_batches([_numbers(start, 100)] * 2)
            assert difference(expected, _decode(file_format, bytes(sink.content), _NUMBERS)) is None

    @proves(
        "F-READ-1",
        breaks="validate and reconcile fail while they read a part more than once",
        hint="Decoder.close() leaves the file open; batches() starts at the first row each time; row_count() may come "
        "first",
    )
    def test_a_part_is_read_more_than_once(self, file_format: Format) -> None:
        source = io.BytesIO(_encode(file_format, _NUMBERS, [_numbers(0, 100)]))
        with file_format.decoder(source, _NUMBERS) as decoder:
            assert decoder.row_count() == 100
            for _ in range(2):
                assert sum(batch.num_rows for batch in decoder.batches()) == 100
            assert decoder.row_count() == 100
        assert not source.closed

    @proves(
        "F-DAMAGE-1",
        breaks="a truncated part is loaded as if it were whole, or validate ends in a traceback",
        hint="the decoder raises FormatError, whatever its library raises; a format without a footer may give the "
        "first rows, never others",
    )
    def test_a_truncated_part_is_an_error(self, file_format: Format) -> None:
        expected = pa.Table.from_batches([_numbers(0, 200)])
        whole = _encode(file_format, _NUMBERS, [_numbers(0, 200)])
        for size in {0, 1, 2, 3, 4, 10, len(whole) // 3, len(whole) // 2, len(whole) - 8, len(whole) - 1}:
            try:
                table = _decode(file_format, whole[:size], _NUMBERS)
            except FormatError:
                continue
            assert not file_format.self_describing, f"the first {size} of {len(whole)} bytes are read as a whole part"
            wrong = difference(expected.slice(0, table.num_rows), table)
            assert wrong is None, f"the first {size} of {len(whole)} bytes: {wrong}"

    @proves(
        "F-DAMAGE-2",
        breaks="a command ends in a traceback on a damaged part",
        hint="map every exception of the library in the decoder and in batches() to FormatError",
    )
    def test_a_damaged_part_is_a_format_error(self, file_format: Format) -> None:
        whole = _encode(file_format, _NUMBERS, [_numbers(0, 200)])
        damaged = [b"no such format\n" * 10, bytes(1000)]
        for position in range(0, len(whole), max(1, len(whole) // 40)):
            damaged.append(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        for data in damaged:
            try:
                with file_format.decoder(io.BytesIO(data), _NUMBERS) as decoder:
                    for batch in decoder.batches():
                        assert batch.num_columns == 2
            except FormatError:
                continue

    @proves(
        "F-ANY-1",
        breaks="a table that nobody has thought of does not come back as it was",
        hint="the example below is the smallest table that shows it",
    )
    def test_any_table_comes_back_or_is_refused(self, file_format: Format) -> None:
        @settings(kit_settings(), max_examples=5 * kit_settings().max_examples)  # in memory, so more of them
        @given(schemas_and_batches(), st.sampled_from([1, 64, 1 << 20]))
        def check(drawn: tuple[pa.Schema, list[pa.RecordBatch]], group_bytes: int) -> None:
            schema, batches = drawn
            try:
                data = _encode(file_format, schema, batches, group_bytes=group_bytes)
            except FormatError:
                return
            wrong = difference(pa.Table.from_batches(batches, schema), _decode(file_format, data, schema))
            assert wrong is None, wrong

        check()

    @proves(
        "F-ANY-2",
        breaks="parts of a table that nobody has thought of are larger than max_file_size",
        hint="count in size_after() names, statistics, offsets and what a codec adds; the example is the smallest one",
    )
    def test_no_part_of_any_table_is_larger_than_said(self, file_format: Format) -> None:
        @settings(kit_settings(), max_examples=2 * kit_settings().max_examples)
        @given(schemas_and_batches(), st.sampled_from([1, 64, 1 << 20]))
        def check(drawn: tuple[pa.Schema, list[pa.RecordBatch]], group_bytes: int) -> None:
            schema, batches = drawn
            sink, said = _Sink(), None
            try:
                with closing(_open(file_format, sink, schema, group_bytes=group_bytes)) as encoder:
                    for batch in batches:
                        said = encoder.size_after(batch)
                        encoder.write(batch)
                    encoder.finish()
            except FormatError:
                return
            assert said is None or len(sink.content) <= said

        check()

    @staticmethod
    def _takes(file_format: Format, schema: pa.Schema) -> bool:
        """Whether the format accepts the schema."""
        try:
            _open(file_format, _Sink(), schema).close()
        except FormatError:
            return False
        return True

    def _one_column(self, file_format: Format, sample: Sample, values: Sequence[Any]) -> tuple[pa.Schema, bytes | None]:
        """Write values beside their numbers; ``None`` if the format refuses their type."""
        table = _column(sample, values)
        if not self._takes(file_format, table.schema):
            return table.schema, None
        return table.schema, _encode(file_format, table.schema, table.to_batches())

    def _differences(self, file_format: Format, sample: Sample, values: Sequence[Any]) -> list[str]:
        """Say what is different about a column that was read back; nothing if its type is refused."""
        schema, data = self._one_column(file_format, sample, values)
        if data is None:
            return []
        wrong = difference(_column(sample, values), _decode(file_format, data, schema))
        return [] if wrong is None else [f"{sample.name}: {wrong}"]

    @staticmethod
    def _write_and_finish(encoder: Encoder, batch: pa.RecordBatch) -> None:
        encoder.write(batch)
        encoder.finish()
