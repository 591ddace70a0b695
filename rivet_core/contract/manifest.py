"""The manifest, version 1: its models, the writer of its bytes and the reader of untrusted ones.

Readers ignore unknown fields; a removal or a change of type needs version 2. The models also accept what the original
Rivet (``rivet-cli``) writes into its version 1, and ``encode`` writes only what it accepts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, from_json

from rivet_core.api.errors import InvalidKey, ManifestInvalid
from rivet_core.contract.fingerprint import FINGERPRINT_PATTERN
from rivet_core.contract.keys import MANIFEST, QUARANTINE, SUCCESS, check_key, is_manifest_copy, manifest_copy_key

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_VERSION: Final = 1
#: The largest manifest that is written or read, in bytes.
MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
#: From this size on the writer warns.
WARN_MANIFEST_BYTES: Final = MAX_MANIFEST_BYTES // 2
#: ``writer.name`` of manifests that this package wrote; only their schema fingerprints can be recomputed.
WRITER_NAME: Final = "rivet-core"

_MAX_CHECKSUMS = 32


def _rfc3339(value: object) -> object:
    # pydantic alone would read a number, or a string of digits, as seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", value)):
        return value
    raise ValueError("the time is not written like 2026-11-22T17:21:00.123Z")


def _utc_milliseconds(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range") from None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _with_z(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _valid_path(path: str) -> str:
    try:
        check_key(path)
    except InvalidKey as error:
        raise ValueError(error.message) from None
    return path


def _valid_run_id(run_id: str) -> str:
    try:
        manifest_copy_key(run_id)
    except InvalidKey:
        raise ValueError("the run id is too long to name a manifest") from None
    return run_id


def _bounded(value: object) -> object:
    # Every wrong entry of a mapping becomes an error object; an attacker's ten million of them must not.
    if isinstance(value, Mapping) and len(value) > _MAX_CHECKSUMS:
        raise ValueError(f"there are more than {_MAX_CHECKSUMS} entries")
    return value


def _sorted(mapping: dict[str, str]) -> dict[str, str]:
    return dict(sorted(mapping.items()))


Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
Ordinal = Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Texts = Annotated[tuple[str, ...], Field(fail_fast=True)]
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_utc_milliseconds),
    PlainSerializer(_with_z, return_type=str, when_used="json"),
]
ContentFingerprint = Annotated[str, Field(pattern=f"^{FINGERPRINT_PATTERN}$")]
SchemaFingerprint = Annotated[str, Field(pattern=f"^({FINGERPRINT_PATTERN})?$")]
Checksums = Annotated[dict[str, str], BeforeValidator(_bounded), AfterValidator(_sorted)]


class _Model(BaseModel):
    """An immutable record. Fields called ``schema`` in JSON have another name here: pydantic uses that one itself."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,
    )


class Writer(_Model):
    """The program that wrote the manifest."""

    name: str
    version: str


class Extraction(_Model):
    """How the rows were chosen; cursor values are text, whatever their type."""

    strategy: Name = Field(description="full, incremental, chunked or time_window")
    cursor_column: str | None = None
    cursor_type: str | None = Field(None, description="type name of the cursor column")
    cursor_low: str | None = Field(None, description="the first cursor value of the dataset")
    cursor_high: str | None = Field(None, description="the last one; the next incremental run starts here")


class ManifestSource(_Model):
    """Where the rows came from. Never holds SQL text, credentials or query parameters."""

    engine: Name
    schema_name: str | None = Field(None, validation_alias="schema", serialization_alias="schema")
    table: str | None = None
    extraction: Extraction
    consistency: str | None = Field(None, description="per_chunk, snapshot or mixed")


class ManifestDestination(_Model):
    """Where the parts were written."""

    kind: Name
    uri: str


class Column(_Model):
    """One column of the dataset."""

    name: str
    type: Name = Field(description="normalised type name, such as int64 or decimal(18,2)")
    nullable: Flag = True
    source_type: str | None = Field(None, description="the source's own name of the type")


Columns = Annotated[tuple[Column, ...], Field(fail_fast=True)]


class KeyRange(_Model):
    """The rows of one chunk: bounds on key columns, compared as tuples; an absent bound is open."""

    columns: Texts
    low: Texts | None = None
    high: Texts | None = None
    low_inclusive: Flag = True
    high_inclusive: Flag = True
    nulls: Flag = Field(False, description="rows whose key is NULL belong to the range")

    @model_validator(mode="after")
    def _one_value_per_column(self) -> KeyRange:
        for bound in (self.low, self.high):
            if bound is not None and len(bound) != len(self.columns):
                raise ValueError("a bound needs one value per column")
        return self


class Part(_Model):
    """One data object, identified by (path, size, content fingerprint), all three."""

    part_id: Ordinal = Field(description="counts from 1 within the manifest")
    path: Annotated[Name, AfterValidator(_valid_path)] = Field(description="key relative to the prefix")
    rows: Count
    size_bytes: Count
    content_fingerprint: ContentFingerprint
    content_md5: str = Field("", pattern=r"^([A-Za-z0-9+/]{22}==)?$", description="base64, or empty if not computed")
    status: Literal["committed", "quarantined"] = "committed"
    run_id: str | None = Field(None, description="the run that wrote the part")
    chunk: Ordinal | None = Field(None, description="parts of one chunk share it, and the range")
    checksums: Checksums = Field(default_factory=dict, description="lower-case hex digests by algorithm name")
    version: str | None = Field(None, description="the store's own token; equal tokens prove equal content")
    range: KeyRange | None = None
    schema_fingerprint: SchemaFingerprint | None = Field(
        None, description="set where it differs from the dataset's, in an appended dataset"
    )
    columns: Columns | None = Field(
        None,
        validation_alias="schema",
        serialization_alias="schema",
        description="set where they differ from the dataset's, in an appended dataset",
    )

    def digests(self) -> dict[str, str]:
        """Return every recorded checksum as lower-case hex by algorithm name, ``content_md5`` among them."""
        if not self.content_md5:
            return self.checksums
        return {**self.checksums, "md5": base64.b64decode(self.content_md5).hex()}


class Manifest(_Model):
    """One published dataset: what is listed here is complete and unchanged while ``_SUCCESS`` certifies it."""

    manifest_version: Annotated[int, Field(ge=MANIFEST_VERSION, le=MANIFEST_VERSION, strict=True)]
    run_id: Annotated[Name, AfterValidator(_valid_run_id)]
    export_name: Name
    writer: Writer | None = None
    started_at: Time
    finished_at: Time
    status: Literal["success", "running", "failed", "interrupted"]
    source: ManifestSource
    destination: ManifestDestination
    format: Name
    compression: Name = Field(description="codec of the parts, or none")
    schema_fingerprint: SchemaFingerprint = ""
    columns: Columns = Field(
        default=(), validation_alias="schema", serialization_alias="schema", description="the columns, in order"
    )
    row_count: Count = Field(description="sum of the rows of the committed parts")
    part_count: Count = Field(description="number of committed parts")
    parts: Annotated[tuple[Part, ...], Field(fail_fast=True)]

    @field_validator("parts")
    @classmethod
    def _parts_are_distinct_data(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        ids: set[int] = set()
        paths: set[str] = set()
        for part in parts:
            if part.part_id in ids:
                raise ValueError(f"part_id {part.part_id} is there twice")
            if part.path in paths:
                raise ValueError(f"the path {part.path!r} is there twice")
            if part.path in {MANIFEST, SUCCESS} or is_manifest_copy(part.path):
                raise ValueError(f"the path {part.path!r} is a control object")
            if part.status == "committed" and part.path.startswith(QUARANTINE):
                raise ValueError(f"the path {part.path!r} is in quarantine")
            ids.add(part.part_id)
            paths.add(part.path)
        return parts

    @model_validator(mode="after")
    def _counts_agree(self) -> Manifest:
        committed = self.committed_parts()
        if self.part_count != len(committed):
            raise ValueError(f"part_count is {self.part_count}, but {len(committed)} committed parts are listed")
        rows = sum(part.rows for part in committed)
        if self.row_count != rows:
            raise ValueError(f"row_count is {self.row_count}, but the listed parts have {rows} rows")
        return self

    @property
    def is_ours(self) -> bool:
        """Whether this package wrote it, so that its schema fingerprint follows ``contract.types``."""
        return self.writer is not None and self.writer.name == WRITER_NAME

    def committed_parts(self) -> tuple[Part, ...]:
        """Return the parts that hold the dataset's rows."""
        return tuple(part for part in self.parts if part.status == "committed")

    def arrow_schema(self, part: Part | None = None) -> pa.Schema:
        """Return the Arrow schema that the manifest records, for ``part`` if it carries its own.

        Raises:
            ManifestInvalid: a column's type is unknown to this release.
        """
        import pyarrow as pa

        from rivet_core.contract.types import parse_type

        columns = self.columns if part is None or part.columns is None else part.columns
        try:
            return pa.schema([pa.field(column.name, parse_type(column.type), column.nullable) for column in columns])
        except ValueError as error:
            raise ManifestInvalid(
                f"the manifest's schema is not readable: {error}", hint="a newer rivet-core may read it"
            ) from None


def encode(manifest: Manifest) -> bytes:
    """Return the manifest's bytes: UTF-8 JSON, two spaces of indent, a final newline, absent values left out.

    Equal manifests give equal bytes.

    Raises:
        ManifestInvalid: they would be more than ``MAX_MANIFEST_BYTES``.
    """
    data = manifest.model_dump_json(indent=2, by_alias=True, exclude_none=True).encode() + b"\n"
    _check_size(len(data), hint="use fewer, larger parts: a larger chunk_size or max_file_size, or a new prefix")
    return data


def decode(data: bytes) -> Manifest:
    """Read a manifest from untrusted bytes. Every path in the result has passed ``check_key``.

    Raises:
        ManifestInvalid: too large, no UTF-8 JSON object, another version, or a wrong field; the message names it.
    """
    _check_size(len(data), hint="it was not written by Rivet")
    try:
        # Not `model_validate_json`: with every error it copies the whole document, gigabytes of a hostile one.
        document = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _invalid(f"it is not JSON in UTF-8 ({error})") from None
    if not isinstance(document, dict):
        raise _invalid("it is not a JSON object")
    _check_version(document.get("manifest_version"))
    try:
        return Manifest.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise _invalid(f"{_describe(details[0])}{more}") from None


def _check_size(size: int, *, hint: str) -> None:
    if size > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(f"the manifest is too large; the limit is {MAX_MANIFEST_BYTES} bytes", hint=hint)


def _check_version(version: object) -> None:
    """Refuse another version before its fields are read as this one's; anything but a number is left to the model."""
    if type(version) is int and version != MANIFEST_VERSION and version.bit_length() < 64:
        raise ManifestInvalid(
            f"the manifest has version {version}; this release reads version {MANIFEST_VERSION}",
            hint="it was written by a newer Rivet: upgrade rivet-core" if version > MANIFEST_VERSION else "",
        )


def _invalid(why: str) -> ManifestInvalid:
    return ManifestInvalid(
        f"the manifest is invalid: {why}",
        hint="it was changed or damaged after it was written; restore it, or export again",
    )


def _describe(detail: ErrorDetails) -> str:
    where = "".join(_step(step) for step in detail["loc"]).lstrip(".")
    what = re.sub(r"\AValue error, ", "", detail["msg"])
    return f"{where}: {what}" if where else what


def _step(step: int | str) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    # A key of a mapping is the manifest's own text: quoted and cut before a terminal sees it.
    return f".{step}" if step.isidentifier() and len(step) <= 40 else f"[{step[:40]!r}]"


def manifest_json_schema() -> dict[str, object]:
    """Return the JSON Schema (2020-12) of the manifest, as ``rivet schema manifest`` prints it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(by_alias=True, mode="validation"),
    }
