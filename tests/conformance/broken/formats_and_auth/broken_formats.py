"""Entry module of a plugin of formats broken on purpose, each in one way, and the sound one below them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from rivet_core.api import Decoder, Encoder, Format, FormatError, FormatSpec
from rivet_core.builtin.parquet import ParquetConfig, ParquetFormat
from rivet_core.hookspecs import hookimpl


class SoundEncoder(Encoder):
    """Passes everything on to Parquet's encoder."""

    def __init__(self, inner: Encoder, sink: BinaryIO, schema: pa.Schema) -> None:
        self.inner = inner
        self.sink = sink
        self.schema = schema

    def write(self, batch: pa.RecordBatch) -> None:
        self.inner.write(batch)

    def size_after(self, batch: pa.RecordBatch) -> int:
        return self.inner.size_after(batch)

    def finish(self) -> None:
        self.inner.finish()

    def close(self) -> None:
        self.inner.close()


class SoundFormat(Format):
    """Parquet under another name; the broken ones differ from it in one class."""

    compression = "zstd"
    encoder_class: ClassVar[type[SoundEncoder]] = SoundEncoder

    def __init__(self, config: ParquetConfig) -> None:
        self.parquet = ParquetFormat(config)

    def encoder(self, sink: BinaryIO, schema: pa.Schema, *, group_bytes: int) -> Encoder:
        inner = self.parquet.encoder(sink, schema, group_bytes=group_bytes)
        return self.encoder_class(inner, sink, schema)

    def decoder(self, source: BinaryIO, schema: pa.Schema | None = None) -> Decoder:
        return self.parquet.decoder(source, schema)


class DropsTheLastBatchEncoder(SoundEncoder):
    """Holds one batch back and forgets it."""

    held: pa.RecordBatch | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        if self.held is not None:
            super().write(self.held)
        self.held = batch


class LosesNullsEncoder(SoundEncoder):
    """Writes the empty string for NULL."""

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [pc.fill_null(column, "") if pa.types.is_string(column.type) else column for column in batch.columns]
        super().write(pa.RecordBatch.from_arrays(columns, schema=batch.schema))


class SizesTooSmallEncoder(SoundEncoder):
    """Forgets what the encoder holds back."""

    def size_after(self, batch: pa.RecordBatch) -> int:
        return batch.nbytes // 2


class FinishesOnCloseEncoder(SoundEncoder):
    """Writes the footer when it is closed, as most writers of libraries do."""

    finished = False

    def finish(self) -> None:
        self.finished = True
        super().finish()

    def close(self) -> None:
        if not self.finished:
            self.finish()
        super().close()


class WritesTooEarlyEncoder(SoundEncoder):
    """Writes a whole Parquet file for each batch, after its length."""

    written = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self.emit(self.piece([batch]))

    def size_after(self, batch: pa.RecordBatch) -> int:
        return self.written + len(self.piece([batch]))

    def finish(self) -> None:
        if not self.written:
            self.emit(self.piece([]))

    def piece(self, batches: list[pa.RecordBatch]) -> bytes:
        file = io.BytesIO()
        encoder = ParquetFormat(ParquetConfig()).encoder(file, self.schema, group_bytes=1 << 20)
        for batch in batches:
            encoder.write(batch)
        encoder.finish()
        return len(file.getvalue()).to_bytes(8, "big") + file.getvalue()

    def emit(self, piece: bytes) -> None:
        self.sink.write(piece)
        self.written += len(piece)


class PiecesDecoder(Decoder):
    """Reads what ``WritesTooEarlyEncoder`` writes."""

    def __init__(self, content: bytes) -> None:
        self.pieces: list[Decoder] = []
        while content:
            size = int.from_bytes(content[:8], "big")
            self.pieces.append(ParquetFormat(ParquetConfig()).decoder(io.BytesIO(content[8 : 8 + size])))
            content = content[8 + size :]
        if not self.pieces:
            raise FormatError("the file is empty")

    @property
    def schema(self) -> pa.Schema:
        return self.pieces[0].schema

    def row_count(self) -> int:
        return sum(piece.row_count() for piece in self.pieces)

    def batches(self) -> Iterator[pa.RecordBatch]:
        for piece in self.pieces:
            yield from piece.batches()


class FinishesOnClose(SoundFormat):
    encoder_class = FinishesOnCloseEncoder


class DropsTheLastBatch(SoundFormat):
    encoder_class = DropsTheLastBatchEncoder


class LosesNulls(SoundFormat):
    encoder_class = LosesNullsEncoder


class SizesTooSmall(SoundFormat):
    encoder_class = SizesTooSmallEncoder


class WritesTooEarly(SoundFormat):
    encoder_class = WritesTooEarlyEncoder

    def decoder(self, source: BinaryIO, schema: pa.Schema | None = None) -> Decoder:
        return PiecesDecoder(source.read())


class ChangesScale(SoundFormat):
    """Reads every decimal with four decimals, as some readers of money do."""

    def decoder(self, source: BinaryIO, schema: pa.Schema | None = None) -> Decoder:
        return _Rescaled(super().decoder(source, schema))


class _Rescaled(Decoder):
    def __init__(self, inner: Decoder) -> None:
        self.inner = inner

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([field.with_type(_rescaled(field.type)) for field in self.inner.schema])

    def row_count(self) -> int:
        return self.inner.row_count()

    def batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self.inner.batches():
            columns = [
                column.cast(field.type, safe=False) for column, field in zip(batch.columns, self.schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def close(self) -> None:
        self.inner.close()


def _rescaled(data_type: pa.DataType) -> pa.DataType:
    small = pa.types.is_decimal128(data_type) and data_type.scale < 4
    return pa.decimal128(min(38, data_type.precision + 4), 4) if small else data_type


class PassesLibraryErrors(SoundFormat):
    """Lets the exceptions of its library out, and reads into memory first."""

    def decoder(self, source: BinaryIO, schema: pa.Schema | None = None) -> Decoder:
        content = source.read()
        if not content.endswith(b"PAR1"):
            raise ValueError("no magic number")
        return super().decoder(io.BytesIO(content), schema)


FORMATS = {
    "sound": SoundFormat,
    "drops-the-last-batch": DropsTheLastBatch,
    "loses-nulls": LosesNulls,
    "changes-scale": ChangesScale,
    "writes-too-early": WritesTooEarly,
    "finishes-on-close": FinishesOnClose,
    "sizes-too-small": SizesTooSmall,
    "passes-library-errors": PassesLibraryErrors,
}


@hookimpl
def rivet_formats() -> list[FormatSpec]:
    return [
        FormatSpec(
            name=name,
            suffix="parquet",
            media_type="application/vnd.apache.parquet",
            summary="Parquet, for tests of the tests",
            config="rivet_core.builtin.parquet:ParquetConfig",
            factory=f"{__name__}:{class_.__name__}",
        )
        for name, class_ in FORMATS.items()
    ]
