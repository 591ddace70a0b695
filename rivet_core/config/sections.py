"""The shape of ``rivet.yaml``: every field that the core itself reads. Plugins describe their own sections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from rivet_core.api.fields import Size

#: The fields of an export that mean something in some modes alone.
_MODE_FIELDS: Final[Mapping[tuple[str, ...], frozenset[str]]] = MappingProxyType(
    {
        ("chunked",): frozenset({"chunk_by_days", "chunk_column", "chunk_count", "chunk_size", "consistency"}),
        ("chunked", "full"): frozenset({"parallel"}),
        ("incremental",): frozenset({"cursor_column", "cursor_fallback_column", "empty_increment", "key", "lag"}),
        ("time_window",): frozenset({"time_column", "time_unit", "window_days"}),
    }
)
_NEEDED_FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"incremental": ("cursor_column",), "time_window": ("time_column", "window_days")}
)
# `manifest-<run id>.json` has to fit into a segment of a key: 200 bytes, 39 of them not the name.
_MAX_NAME_BYTES: Final = 160


def _check_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w .-]*(?<! )", name) or len(name.encode()) > _MAX_NAME_BYTES:
        raise PydanticCustomError(
            "export_name",
            "must start with a letter, a digit or _, then have these, spaces, . and - only, "
            f"and no more than {_MAX_NAME_BYTES} bytes",
            {"hint": "the name appears in run ids and paths"},
        )
    return name


def _check_text(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("empty_text", "must not be empty")
    return text


def _check_type_name(name: str) -> str:
    from rivet_core.contract.types import parse_type

    try:
        parse_type(name)
    except ValueError as error:
        raise PydanticCustomError("type_name", "{reason}", {"reason": str(error)}) from None
    return name


def _check_unbounded_numeric(policy: str) -> str:
    """Return ``error``, ``string`` or the canonical name of a decimal type."""
    if policy in ("error", "string"):
        return policy
    import pyarrow as pa

    from rivet_core.contract.types import parse_type, type_name

    try:
        parsed = parse_type(policy)
    except ValueError:
        parsed = None
    if parsed is None or not pa.types.is_decimal(parsed):
        raise PydanticCustomError(
            "unbounded_numeric", "must be error, string or a decimal type", {"hint": "for example decimal(38,9)"}
        )
    return type_name(parsed)


def _parse_lag(lag: object) -> object:
    """Return ``2h`` as a duration; a number is left as it is."""
    if not isinstance(lag, str):
        return lag
    found = re.fullmatch(r"([0-9]{1,6}) ?(s|m|h|d)", lag.strip())
    if found is None:
        raise PydanticCustomError(
            "lag", "is no duration", {"hint": "write 30s, 15m, 2h or 7d; for a cursor of whole numbers a number"}
        )
    return timedelta(seconds=int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]])


def _null_is_text(policy: object) -> object:
    return "null" if policy is None else policy


Text = Annotated[str, AfterValidator(_check_text)]
KeyColumns = Annotated[
    Annotated[list[Text], Field(min_length=1)],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]
Ratio = Annotated[float, Field(ge=0, le=1)]
Lag = Annotated[
    timedelta | int,
    BeforeValidator(_parse_lag),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,6} ?[smhd]$"}]}
    ),
]


class Section(BaseModel):
    """A mapping of the file: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class StateSection(Section):
    """Where Rivet keeps the record of its runs."""

    url: Text | None = Field(
        default=None,
        description="SQLAlchemy URL of the state database. Default: the environment variable RIVET_STATE_URL, else "
        "the SQLite file .rivet_state.db beside this file.",
    )


class TypesSection(Section):
    """What happens to values without a lossless mapping."""

    unbounded_numeric: Annotated[str, AfterValidator(_check_unbounded_numeric)] = Field(
        default="error",
        description="Numerics without a precision: error, string, or a decimal type such as decimal(38,9), to which "
        "each value must fit exactly.",
    )
    zero_dates: Annotated[
        Literal["error", "null"],
        BeforeValidator(_null_is_text),
        WithJsonSchema({"enum": ["error", "null", None]}),
    ] = Field(
        default="error",
        description="MySQL's 0000-00-00, and dates with a zero month or day: error, or null to export them as NULL.",
    )
    tinyint1: Literal["number", "bool"] = Field(
        default="number",
        description="MySQL's tinyint(1), for which it takes BOOLEAN: number, or bool, where a value other than 0 and 1 "
        "is an error.",
    )
    max_value_bytes: Size = Field(
        default=16_000_000,
        description="A single larger value is an error that names its column and row. Raise memory_budget with it.",
    )


class QualitySection(Section):
    """What the rows must be; an export that fails a gate publishes nothing."""

    row_count_min: int | None = Field(default=None, ge=0, description="Fewest rows.")
    row_count_max: int | None = Field(default=None, ge=0, description="Most rows.")
    null_ratio_max: dict[str, Ratio] = Field(
        default={}, description="Largest share of NULL by column name, from 0 to 1."
    )
    unique_columns: list[Text] = Field(default=[], description="Columns of which each has no value twice.")

    @property
    def is_set(self) -> bool:
        """Whether there is a gate."""
        counted = self.row_count_min is not None or self.row_count_max is not None
        return counted or bool(self.null_ratio_max or self.unique_columns)


class MetaColumnsSection(Section):
    """Columns that Rivet adds to the rows."""

    exported_at: bool = Field(
        default=False, description="Add _rivet_exported_at: when the run started, the same in all of its rows."
    )


class ExportSection(Section):
    """One table or query, exported to one destination."""

    name: Annotated[str, AfterValidator(_check_name)] = Field(
        description="Name of the export, unique in this file: letters, digits, _, spaces, . and -."
    )
    table: Text | None = Field(default=None, description="Table or view to export, with its schema where needed.")
    query: Text | None = Field(
        default=None, description="SQL query to export. ${name} is a bind that --param name=value fills."
    )
    query_file: Text | None = Field(default=None, description="File with the SQL query, UTF-8, relative to this file.")
    mode: Literal["full", "chunked", "incremental", "time_window"] = Field(
        default="full",
        description="Which rows a run reads and how: full by one statement into one part, chunked by ranges of a key, "
        "each into a part of its own, incremental what is new since the last run, time_window the last days.",
    )
    chunk_column: KeyColumns | None = Field(
        default=None,
        description="The key of the chunks: a column, or a list of columns that are unique together. Default: the "
        "primary key.",
    )
    chunk_size: int | None = Field(
        default=None, ge=1, description="Rows of one chunk. Default: 500000, where no other size is given."
    )
    chunk_count: int | None = Field(default=None, ge=1, description="Number of chunks of equal size.")
    chunk_by_days: int | None = Field(
        default=None, ge=1, description="Days of one chunk, of a chunk_column that is a date or a timestamp."
    )
    parallel: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Connections that read at the same time, each a chunk. Default: 1. In mode full they read pieces "
        "of a large table, where the source can cut it and show all of them at one instant. Default there: 2.",
    )
    consistency: Literal["per_chunk", "snapshot"] = Field(
        default="per_chunk",
        description="What the chunks show: per_chunk is the table at the time when each one is read, snapshot the "
        "table at one instant in all of them, where the database can.",
    )
    cursor_column: Text | None = Field(
        default=None, description="Of an incremental export: the column that grows with every new or changed row."
    )
    cursor_fallback_column: Text | None = Field(
        default=None, description="The column that stands in where cursor_column is NULL."
    )
    key: KeyColumns | None = Field(
        default=None,
        description="Columns that are unique together, by which an incremental export knows rows that it has "
        "delivered. Default: the primary key.",
    )
    lag: Lag | None = Field(
        default=None,
        description="How far an incremental export looks back for late rows: 15m, 2h, 7d, or a number for a cursor "
        "of whole numbers. Default: none.",
    )
    empty_increment: Literal["skip", "publish"] = Field(
        default="skip",
        description="What an incremental run without new rows does: leave the prefix as it is, or publish anew.",
    )
    time_column: Text | None = Field(
        default=None, description="Of a time_window export: the column that says when a row is from."
    )
    time_unit: Literal["timestamp", "seconds", "milliseconds"] = Field(
        default="timestamp",
        description="What time_column holds: a date or timestamp, or the seconds or milliseconds since 1970.",
    )
    window_days: int | None = Field(
        default=None, ge=1, le=36_500, description="Of a time_window export: how many days back from the run's start."
    )
    format: Annotated[
        dict[str, Any], BeforeValidator(lambda value: {"type": value} if isinstance(value, str) else value)
    ] = Field(default={"type": "parquet"}, description="File format: its name, or a mapping of its type and options.")
    compression: Text | None = Field(
        default=None,
        description="Compression of the files; what there is depends on the format. Default: the format's own.",
    )
    max_file_size: Size | None = Field(
        default=None,
        description="A file rolls over to the next one before it would exceed this size. Default: one file.",
    )
    empty: Literal["file", "skip"] = Field(
        default="file", description="What an empty result leaves: a file with the columns and no rows, or no file."
    )
    columns: dict[str, Annotated[str, AfterValidator(_check_type_name)]] = Field(
        default={}, description="Types by column name, instead of the ones that follow from the database's."
    )
    types: TypesSection = Field(default=TypesSection(), description="Policies for values without a lossless mapping.")
    quality: QualitySection = Field(
        default=QualitySection(), description="Gates that the rows must pass before they are published."
    )
    on_schema_drift: Literal["warn", "continue", "fail"] = Field(
        default="warn", description="What happens when the columns differ from those of the last run."
    )
    meta_columns: MetaColumnsSection = Field(
        default=MetaColumnsSection(), description="Which columns Rivet adds to the rows."
    )
    superseded: Literal["quarantine", "keep", "delete"] = Field(
        default="quarantine", description="What happens to the files of the dataset that a successful run replaces."
    )
    destination: dict[str, Any] = Field(description="Where the files go: its type and the fields of that type.")

    @model_validator(mode="after")
    def _check_mode(self) -> ExportSection:
        sizes = [name for name in ("chunk_size", "chunk_count", "chunk_by_days") if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise PydanticCustomError(
                "chunk_sizes", "has {names}", {"names": " and ".join(sizes), "hint": "keep one of them"}
            )
        for modes, fields in _MODE_FIELDS.items():
            given = self.model_fields_set & fields
            if self.mode not in modes and given:
                raise PydanticCustomError(
                    "foreign_mode",
                    "{names} means nothing in mode {mode}",
                    {"names": ", ".join(sorted(given)), "mode": self.mode, "hint": f"add mode: {modes[0]}"},
                )
        missing = [name for name in _NEEDED_FIELDS.get(self.mode, ()) if getattr(self, name) is None]
        if missing:
            raise PydanticCustomError(
                "mode_fields",
                "mode {mode} needs {names}",
                {"mode": self.mode, "names": " and ".join(missing), "hint": f"add {missing[0]}"},
            )
        return self


class RivetSection(Section):
    """The whole of rivet.yaml."""

    source: dict[str, Any] = Field(description="The database: its type and the fields of that type.")
    state: StateSection = Field(
        default=StateSection(), description="The state database, which has the record of all runs."
    )
    memory_budget: Size = Field(
        default=256_000_000, description="Resident memory that a run may use, such as 256MB or 1GiB."
    )
    exports: list[ExportSection] = Field(min_length=1, description="What to export, and where to.")
