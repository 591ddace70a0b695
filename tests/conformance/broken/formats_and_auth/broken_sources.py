"""Entry module of a plugin of sources broken on purpose, each in one way, and the sound one below them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from rivet_core.api import BatchStream, Query, Snapshot, SourceContext, SourceSpec
from rivet_core.builtin.sqlalchemy import source as builtin
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.hookspecs import hookimpl


class SoundSource(builtin.SqlalchemySource):
    """The built-in source under another name; the broken ones differ from it in one method."""

    @classmethod
    def open(cls, config: SqlalchemyConfig, context: SourceContext) -> SoundSource:
        opened = builtin.open_source(config, context)
        opened.__class__ = cls
        return opened  # type: ignore[return-value]

    @contextmanager
    def read(self, query: Query, *, batch_bytes: int, snapshot: Snapshot | None = None) -> Iterator[BatchStream]:
        with super().read(query, batch_bytes=batch_bytes, snapshot=snapshot) as stream:
            yield Altered(stream, self)

    def alter(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass the batches of one query on."""
        yield from batches


class Altered(BatchStream):
    """The batches of a stream as one of the sources here passes them on."""

    def __init__(self, inner: BatchStream, source: SoundSource) -> None:
        self.schema = inner.schema
        self.inner = inner
        self.source = source

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self.source.alter(iter(self.inner))


class DropsTheLastBatch(SoundSource):
    def alter(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held = next(batches, None)
        for batch in batches:
            yield held
            held = batch


class LosesNulls(SoundSource):
    def alter(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = [
                pc.fill_null(column, "") if pa.types.is_string(column.type) else column for column in batch.columns
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)


class IgnoresTheBound(SoundSource):
    """Collects the whole result into one batch."""

    def alter(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        collected = list(batches)
        if collected:
            yield pa.Table.from_batches(collected).combine_chunks().to_batches()[0]


class FormatsValues(SoundSource):
    """Writes values into the text instead of binding them."""

    @contextmanager
    def read(self, query: Query, *, batch_bytes: int, snapshot: Snapshot | None = None) -> Iterator[BatchStream]:
        text = query.text
        for name, value in query.params.items():
            text = text.replace("${" + name + "}", f"'{value}'")
        with super().read(replace(query, text=text), batch_bytes=batch_bytes, snapshot=snapshot) as stream:
            yield stream


class SplitsWithOverlap(SoundSource):
    """Gives the whole query to every worker."""

    def split(self, query: Query, n: int) -> list[Query]:
        return [query] * n


class Now:
    """A view that is none."""

    description = "whatever is there"


class ClaimsASnapshot(SoundSource):
    """Says that it has one view for all workers, and reads what is there."""

    @contextmanager
    def snapshot(self, query: Query, workers: int) -> Iterator[Snapshot]:
        yield Now()

    @contextmanager
    def read(self, query: Query, *, batch_bytes: int, snapshot: Snapshot | None = None) -> Iterator[BatchStream]:
        with super().read(query, batch_bytes=batch_bytes) as stream:
            yield stream

    def fetch(self, query: Query, *, snapshot: Snapshot | None = None) -> Sequence[Sequence[object]]:
        return super().fetch(query)


SOURCES = {
    "sound-source": SoundSource,
    "source-drops-the-last-batch": DropsTheLastBatch,
    "source-loses-nulls": LosesNulls,
    "source-ignores-the-bound": IgnoresTheBound,
    "source-formats-values": FormatsValues,
    "source-splits-with-overlap": SplitsWithOverlap,
    "source-claims-a-snapshot": ClaimsASnapshot,
}


@hookimpl
def rivet_sources() -> list[SourceSpec]:
    return [
        SourceSpec(
            type=name,
            summary="SQLite, for tests of the tests",
            config="rivet_core.builtin.sqlalchemy.config:SqlalchemyConfig",
            factory=f"{__name__}:{class_.__name__}.open",
        )
        for name, class_ in SOURCES.items()
    ]
