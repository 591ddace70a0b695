"""What a loaded configuration is: plain immutable values beside the plugins' own validated models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ValidationError

from rivet_core.api import (
    AuthResolverSpec,
    ConfigError,
    DestinationSpec,
    FormatSpec,
    ReadOptions,
    Secret,
    SourceSpec,
    UsageError,
)
from rivet_core.config.placeholders import Placeholders
from rivet_core.config.problems import did_you_mean
from rivet_core.config.sections import QualitySection, TypesSection

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class SourceConfig:
    """The database.

    Attributes:
        type: what the file says, which ``spec`` may serve as a fallback.
        spec: the source that serves it.
        model: its fields, an instance of the model that ``spec.config`` names.
    """

    type: str
    spec: SourceSpec
    model: BaseModel = field(repr=False)


@dataclass(frozen=True)
class FormatChoice:
    """The file format of an export; ``model`` is an instance of the model that ``spec.config`` names."""

    spec: FormatSpec
    model: BaseModel


@dataclass(frozen=True)
class AuthChoice:
    """The auth resolver that an export's destination selected, and the fields that its factory gets."""

    resolver: AuthResolverSpec
    fields: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True)
class DestinationChoice:
    """The destination of an export.

    Attributes:
        spec: the destination that serves it.
        model: its fields, an instance of the model that ``spec.config`` names; its prefix is still a template.
        auth: how it gets its credentials; ``None`` for a destination without any.
        fields: what ``model`` was validated from.
    """

    spec: DestinationSpec
    model: BaseModel = field(repr=False)
    auth: AuthChoice | None
    fields: Mapping[str, object] = field(repr=False)

    @property
    def template(self) -> str:
        """The path or prefix with its placeholders; empty for a stream."""
        return "" if self.spec.kind == "stream" else str(getattr(self.model, self.spec.template))

    def with_prefix(self, prefix: str) -> DestinationChoice:
        """Return the same destination at ``prefix``, a resolved path; the plugin's model checks it again.

        Raises:
            ConfigError: the plugin's model refuses it, or the destination is a stream.
        """
        if self.spec.kind == "stream":
            raise ConfigError(f"a destination of type {self.spec.type} has no prefix", hint="leave out --prefix")
        fields = {**self.fields, self.spec.template: prefix}
        try:
            model = type(self.model).model_validate(fields)
        except ValidationError as error:
            reasons = "; ".join(str(item["msg"]) for item in error.errors(include_input=False, include_url=False))
            raise ConfigError(
                f"destination.{self.spec.template} cannot be {prefix!r}: {reasons}", hint="choose another path"
            ) from None
        return replace(self, model=model, fields=fields)


@dataclass(frozen=True)
class Chunking:
    """How a chunked export is cut; exactly one of ``size``, ``count`` and ``days`` is set.

    Attributes:
        columns: the key, unique together; empty for the table's primary key.
        size: rows of one chunk.
        count: number of chunks of equal size.
        days: days of one chunk, of a key that is a date or a timestamp.
        snapshot: all chunks show the table at one instant.
    """

    columns: tuple[str, ...] = ()
    size: int | None = None
    count: int | None = None
    days: int | None = None
    snapshot: bool = False


@dataclass(frozen=True)
class Incremental:
    """How an incremental export finds what is new.

    Attributes:
        cursor: the column that grows with every new or changed row.
        fallback: the column that stands in where the cursor is NULL.
        key: columns that are unique together; empty for the table's primary key.
        lag: how far before the last cursor a run looks for late rows.
        publish_empty: whether a run without new rows publishes.
    """

    cursor: str
    fallback: str | None = None
    key: tuple[str, ...] = ()
    lag: timedelta | int | None = None
    publish_empty: bool = False


@dataclass(frozen=True)
class TimeWindow:
    """The last days of a column.

    Attributes:
        column: says when a row is from.
        days: how many days back from the run's start.
        unit: what the column holds: a date or timestamp, or seconds or milliseconds since 1970.
    """

    column: str
    days: int
    unit: Literal["timestamp", "seconds", "milliseconds"] = "timestamp"


@dataclass(frozen=True)
class ExportConfig:
    """One export.

    Attributes:
        name: unique in the file.
        table: ``table`` or ``schema.table``; ``None`` for a query.
        query: SQL with ``${name}`` binds, from the file or from ``query_file``; ``None`` for a table.
        mode: how rows are read.
        parallel: connections that read at the same time, at most.
        chunking: how a chunked export is cut; ``None`` in other modes.
        incremental: how an incremental export finds what is new; ``None`` in other modes.
        time_window: which days a ``time_window`` export has; ``None`` in other modes.
        format: the file format and its options.
        max_file_size: bytes after which a part rolls over; ``None`` for one part.
        empty: what an empty result leaves, a file without rows or no file.
        columns: Arrow types that override the source's mapping, by column name.
        types: the policies for values without a lossless mapping.
        quality: the gates that the rows must pass.
        on_schema_drift: what happens when the columns differ from those of the last run.
        exported_at: whether the rows get a column with the time of the run's start.
        superseded: what happens to the parts of the dataset that a run replaces.
        destination: where the files go.
    """

    name: str
    table: str | None
    query: str | None = field(repr=False)
    mode: Literal["full", "chunked", "incremental", "time_window"]
    parallel: int
    chunking: Chunking | None
    incremental: Incremental | None
    time_window: TimeWindow | None
    format: FormatChoice
    max_file_size: int | None
    empty: Literal["file", "skip"]
    columns: Mapping[str, pa.DataType]
    types: TypesSection
    quality: QualitySection
    on_schema_drift: Literal["warn", "continue", "fail"]
    exported_at: bool
    superseded: Literal["quarantine", "keep", "delete"]
    destination: DestinationChoice

    def placeholders(self, day: date, run_id: str | None = None) -> Placeholders:
        """Return what the placeholders of the destination stand for in a run that started on ``day`` (UTC)."""
        return Placeholders(day, self.name, bare_table_name(self.table) or self.name, run_id)

    def read_options(self) -> ReadOptions:
        """Return how the source shall read the values."""
        return ReadOptions(
            columns=self.columns,
            unbounded_numeric=self.types.unbounded_numeric,
            zero_dates=self.types.zero_dates,
            tinyint1=self.types.tinyint1,
            max_value_bytes=self.types.max_value_bytes,
        )


@dataclass(frozen=True)
class Config:
    """One configuration file, validated.

    Attributes:
        path: the file as the user named it.
        base_dir: its directory, absolute; relative paths in the file start there.
        source: the database.
        state_url: SQLAlchemy URL of the state database, relative SQLite paths made absolute.
        memory_budget: bytes of resident memory that a run may use.
        exports: in the order of the file; at least one, names are unique.
    """

    path: Path
    base_dir: Path
    source: SourceConfig
    state_url: Secret
    memory_budget: int
    exports: tuple[ExportConfig, ...]

    def select(self, names: Iterable[str]) -> tuple[ExportConfig, ...]:
        """Return the exports of these names in the order of the file, or all of them for no names.

        Raises:
            UsageError: there is no export of that name.
        """
        wanted = set(names)
        known = [export.name for export in self.exports]
        for name in sorted(wanted.difference(known)):
            hint = " ".join(part for part in (did_you_mean(name, known), f"exports: {', '.join(known)}") if part)
            raise UsageError(f'there is no export "{name}" in {self.path}', hint=hint)
        return tuple(export for export in self.exports if not wanted or export.name in wanted)


def bare_table_name(table: str | None) -> str:
    """Return the table's name without its schema; empty for no table.

    >>> bare_table_name("public.orders")
    'orders'
    """
    return table.rpartition(".")[2] if table else ""
