"""Compares the rows of a partition in the source with those of its parts, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from rivet_core.api.errors import FormatError, ManifestInvalid, NotFound
from rivet_core.contract.key_text import to_text
from rivet_core.contract.reconciliation import KeyExamples
from rivet_core.contract.types import type_name
from rivet_core.engine.comparing.netting import Differences, Netting
from rivet_core.engine.comparing.row_digests import key_digests, row_digests
from rivet_core.engine.selecting.keys import primary_key
from rivet_core.engine.writing.rows import EXPORTED_AT

if TYPE_CHECKING:
    import pyarrow as pa

    from rivet_core.api.destination import Destination
    from rivet_core.api.format import Format
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.contract.manifest import Manifest, Part

_Batches: TypeAlias = "Generator[pa.RecordBatch, None, None]"

_BATCH_BYTES: Final = 2_000_000
_TEXT_CHARACTERS: Final = 200


class UnreadablePart(Exception):
    """A part does not hold what the manifest says; the message names it."""


@dataclass(frozen=True)
class Columns:
    """What is compared.

    Attributes:
        names: the columns that both sides have in the same type; those that Rivet adds are none of them.
        key: those that name a row; empty if none do.
        differences: what else there is, one sentence for each.
    """

    names: tuple[str, ...]
    key: tuple[str, ...]
    differences: tuple[str, ...]


def compare_columns(
    source: Source, query: Query, schema: SourceSchema, manifest: Manifest, key: Sequence[str]
) -> Columns:
    """Decide which columns are compared.

    Args:
        key: the key of the chunks, which names rows where the table has no primary key.
    """
    now = {column.name: type_name(column.type) for column in schema.columns}
    then = {column.name: column.type for column in manifest.columns if column.name != EXPORTED_AT}
    differences = [f"the dataset has no column {name}" for name in now if name not in then]
    differences += [f"the source has no column {name} any more" for name in then if name not in now]
    differences += [
        f"the column {name} is {then[name]} in the dataset and {now[name]} in the source"
        for name in then
        if name in now and now[name] != then[name]
    ]
    names = tuple(name for name in now if then.get(name) == now[name])
    candidates = (primary_key(source, query), tuple(key))
    return Columns(
        names, next((found for found in candidates if found and set(found) <= set(names)), ()), tuple(differences)
    )


@dataclass(frozen=True)
class ContentComparison:
    """Compares rows of one dataset with those of its source.

    Attributes:
        format_of: gives the decoder for what a manifest calls its format.
    """

    source: Source
    destination: Destination
    manifest: Manifest
    columns: Columns
    format_of: Callable[[str], Format]

    def compare(self, query: Query | None, parts: Sequence[Part]) -> tuple[int, Differences, KeyExamples]:
        """Compare the rows of a query with those of parts.

        Args:
            query: ``None`` if the source can have no such rows.

        Returns:
            The rows of the source, what is different, and some keys.

        Raises:
            UnreadablePart: a part does not hold what the manifest says.
            SourceError: the source failed.
            StorageFull: no room for temporary files.
        """
        columns = self.columns
        rows = {1: 0, -1: 0}
        sides: dict[int, _Batches] = {1: self._source_batches(query), -1: self._part_batches(parts)}
        with Netting() as netting, closing(sides[1]), closing(sides[-1]):
            while sides:
                side = min(sides, key=lambda side: rows[side])  # in step, so that equal rows cancel out early
                batch = next(sides[side], None)
                if batch is None:
                    del sides[side]
                    continue
                rows[side] += batch.num_rows
                netting.add(row_digests(batch, columns.names, columns.key), side)
            differences = netting.differences()
        return rows[1], differences, self._name_keys(differences.examples, query, parts)

    def _name_keys(
        self, examples: Mapping[str, Sequence[bytes]], query: Query | None, parts: Sequence[Part]
    ) -> KeyExamples:
        """Find the keys whose digests are known, by another look at the side that has them."""
        if not self.columns.key or not any(examples.values()):
            return KeyExamples()
        in_source = self._find(self._source_batches(query), {*examples["missing"], *examples["changed"]})
        in_parts = self._find(self._part_batches(parts), set(examples["extra"]))
        found = {**in_source, **in_parts}
        return KeyExamples(
            **{kind: tuple(found[key] for key in keys if key in found) for kind, keys in examples.items()}
        )

    def _find(self, batches: _Batches, wanted: set[bytes]) -> dict[bytes, tuple[str, ...]]:
        found: dict[bytes, tuple[str, ...]] = {}
        key = self.columns.key
        with closing(batches):
            while len(found) < len(wanted) and (batch := next(batches, None)) is not None:
                for row, digest in enumerate(key_digests(batch, key)):
                    if digest in wanted and digest not in found:
                        found[digest] = tuple(_text(batch.column(name)[row].as_py()) for name in key)
        return found

    def _source_batches(self, query: Query | None) -> _Batches:
        if query is not None:
            with self.source.read(query, batch_bytes=_BATCH_BYTES) as stream:
                yield from stream

    def _part_batches(self, parts: Sequence[Part]) -> _Batches:
        for part in parts:
            try:
                yield from self._decoded(part)
            except (NotFound, FormatError, ManifestInvalid) as error:
                raise UnreadablePart(f"{part.path} cannot be read: {error.message}") from error

    def _decoded(self, part: Part) -> _Batches:
        schema = self.manifest.arrow_schema(part)
        with (
            self.destination.open_reader(part.path) as file,
            self.format_of(self.manifest.format).decoder(file, schema) as decoder,
        ):
            types = {field.name: type_name(field.type) for field in schema}
            found = {field.name: type_name(field.type) for field in decoder.schema}
            for name in self.columns.names:
                if found.get(name) != types[name]:
                    raise UnreadablePart(f"{part.path} has no column {name} of the type that the manifest says")
            yield from decoder.batches()


def _text(value: object) -> str:
    try:
        text = to_text(value)  # type: ignore[arg-type]  # what it has no word for ends in str
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[:_TEXT_CHARACTERS]}…"
