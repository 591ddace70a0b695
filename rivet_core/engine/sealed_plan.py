"""A plan as a file: what ``rivet plan`` has found, sealed, so that ``rivet apply`` can tell that it is unchanged.

The seal shows that a file was edited or damaged. It is no signature: whoever can change a plan can seal it anew, and
therefore nothing in a plan decides where rows are read from or written to. That comes from the configuration, and a
plan that says otherwise is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from rivet_core import __version__
from rivet_core.api.errors import PlanRefused, UsageError
from rivet_core.api.secret import redact_values
from rivet_core.contract.manifest import WRITER_NAME, Column, Writer
from rivet_core.engine.result import timestamp, write_text
from rivet_core.engine.selecting.chunks import MAX_CHUNKS, Bounds

if TYPE_CHECKING:
    from pathlib import Path

PLAN_VERSION: Final = 1
#: The largest plan that is read, in bytes: a hundred thousand chunks have some twenty million.
MAX_PLAN_BYTES: Final = 64 << 20

#: Where the rows of a plan's chunks come from: counted, the size to which they were cut, or the source's own estimate.
RowsFrom = Literal["count", "chunk_size", "source_estimate", "unknown"]

# Nobody reads more of them; without indentation they take a third of the room.
_READABLE_CHUNKS: Final = 1000
_HINT: Final = "write one with `rivet plan -o plan.json`"
_MADE_ANEW: Final = "make a new one with `rivet plan`"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)


class PlannedChunk(_Model):
    """A chunk: its bounds as the state keeps them, and its rows, as far as they are known."""

    number: int = Field(ge=1)
    bounds: dict[str, Any]
    rows: int | None = None

    def restored(self) -> Bounds:
        """Return the bounds.

        Raises:
            PlanRefused: they are none.
        """
        try:
            return Bounds.from_json(json.dumps(self.bounds))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PlanRefused(f"the bounds of the plan's chunk {self.number} are none", hint=_MADE_ANEW) from None


class PublishedDataset(_Model):
    """The certified dataset that was at the prefix when the plan was made."""

    run_id: str
    finished_at: AwareDatetime
    rows: int
    parts: int
    bytes: int


class PlannedExport(_Model):
    """What a run of one export would do.

    Attributes:
        plan_id: ends the id of the run that applies the plan.
        prefix: where the run writes, a URI; ``{run_id}`` stands for an id that is not known yet.
        schema_drift: how the columns differ from those of the dataset before (``drift.ColumnChange``).
        key: the key of the chunks, or the column of the window; empty where everything is read at once.
        cursor: where an incremental export has got to, as text.
        rows: sum over the chunks; ``None`` if it is not known of all of them.
        estimated_bytes: size of all parts, estimated from a sample.
        sampled_rows: rows of the sample; 0 if there was none.
        success: what ``_SUCCESS`` says at the prefix; ``None`` if it is not there.
        published: the dataset that it certifies.
        superseded: what the run would do to that dataset's parts; ``append``: it lists them, too.
        inputs: what decides which rows there are; no SQL and no values (``inputs.inputs_of``).
        settings: what else an approval is about (``inputs.settings_of``).
    """

    plan_id: str = Field(pattern="^[0-9a-f]{16}$")
    export: str
    mode: str
    prefix: str
    columns: tuple[Column, ...]
    schema_drift: tuple[dict[str, Any], ...] = ()
    key: tuple[str, ...] = ()
    cursor: str | None = None
    chunks: tuple[PlannedChunk, ...] = Field(min_length=1, max_length=MAX_CHUNKS)
    rows: int | None
    rows_from: RowsFrom
    estimated_bytes: int | None
    sampled_rows: int
    success: str | None
    published: PublishedDataset | None
    superseded: str
    inputs: dict[str, Any]
    settings: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """0: the export can be planned."""
        return 0

    def bounds(self) -> dict[int, Bounds]:
        """Return the chunks' bounds by number.

        Raises:
            PlanRefused: they are none, or leave a gap between two chunks.
        """
        found = {chunk.number: chunk.restored() for chunk in self.chunks}
        ranges = [bounds for bounds in found.values() if not bounds.nulls]
        arities = {len(key) for bounds in ranges for key in (bounds.low, bounds.high) if key is not None}
        if (
            list(found) != list(range(1, len(self.chunks) + 1))
            or any(before.high is None or before.high != after.low for before, after in pairwise(ranges))
            or (self.mode == "chunked" and any(bounds.low is not None for bounds in ranges[:1]))
            or not arities <= {len(self.key)}
        ):
            raise PlanRefused(f"the chunks of {self.export!r} in the plan do not follow each other", hint=_MADE_ANEW)
        return found

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values, free of secrets; bounds are data of the key and stay what they are."""
        facts = self.model_dump(mode="json")
        chunks = facts.pop("chunks")
        redacted = redact_values(facts)
        return {**redacted, "chunks": chunks} if isinstance(redacted, dict) else {}


class Plan(_Model):
    """A plan of one or several exports, with the time at which it was made."""

    plan_version: Literal[1]
    writer: Writer
    created_at: AwareDatetime
    exports: tuple[PlannedExport, ...] = Field(min_length=1)
    seal: str


def seal_of(document: Mapping[str, object]) -> str:
    """Return the seal of a plan's document: SHA-256 of its canonical JSON without ``seal`` itself."""
    content = {name: value for name, value in document.items() if name != "seal"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def write_plan(path: Path, exports: Sequence[PlannedExport], created_at: datetime) -> None:
    """Write a sealed plan that only its owner can read: the bounds of chunks are keys, and keys are data.

    Raises:
        UsageError: the file cannot be written, or would be too large to be read.
    """
    document: dict[str, object] = {
        "plan_version": PLAN_VERSION,
        "writer": {"name": WRITER_NAME, "version": __version__},
        "created_at": timestamp(created_at),
        "exports": [export.to_json() for export in exports],
    }
    document["seal"] = seal_of(document)
    indent = 2 if sum(len(export.chunks) for export in exports) <= _READABLE_CHUNKS else None
    text = json.dumps(document, indent=indent) + "\n"
    if len(text) > MAX_PLAN_BYTES:
        raise UsageError(
            f"the plan has {len(text)} bytes; {MAX_PLAN_BYTES} are the most that are read",
            hint="choose larger chunks, or plan fewer exports at a time",
        )
    try:
        write_text(path, text, mode=0o600)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="choose another file for the plan") from None


def read_plan(path: Path) -> Plan:
    """Read a plan, which may be anybody's.

    Raises:
        UsageError: the file cannot be read, or is no plan.
        PlanRefused: its seal is broken, or its version is unknown.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PLAN_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the plan {path}: {error.strerror}", hint=_HINT) from None
    if len(data) > MAX_PLAN_BYTES:
        raise UsageError(f"{path} is too large to be a plan", hint=_HINT)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "plan_version" not in document:
        raise UsageError(f"{path} is no plan", hint=_HINT)
    if document["plan_version"] != PLAN_VERSION:
        raise PlanRefused(
            f"the plan has version {str(document['plan_version'])[:20]!r}, this release reads {PLAN_VERSION}",
            hint="apply it with the release that made it, or make a new one with this one",
        )
    if document.get("seal") != seal_of(document):
        raise PlanRefused("the plan was changed since it was made: its seal is broken", hint=_MADE_ANEW)
    try:
        plan = Plan.model_validate(document)
    except ValidationError as error:
        field = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"]))
        raise UsageError(f"{path} is no plan: {field} is not valid", hint=_HINT) from None
    names = [planned.export for planned in plan.exports]
    if len(set(names)) < len(names):
        raise UsageError(f"{path} is no plan: it has an export twice", hint=_HINT)
    return plan
