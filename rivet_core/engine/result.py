"""What a run reports: the same facts as text, as JSON and in ``summary.json``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rivet_core.api.errors import Interrupted, RivetError
from rivet_core.api.secret import redact
from rivet_core.contract.keys import safe_run_id

if TYPE_CHECKING:
    from pathlib import Path

RunStatus = Literal["succeeded", "failed", "interrupted"]


@dataclass(frozen=True)
class ErrorReport:
    """An error as data."""

    code: str
    message: str
    hint: str
    exit_code: int

    @classmethod
    def of(cls, error: RivetError) -> ErrorReport:
        """Take the facts of an error, already redacted."""
        return cls(error.code, error.message, error.hint, error.exit_code)


@dataclass
class RunResult:
    """The outcome of one run of one export.

    Attributes:
        prefix: where the dataset is (``stdout`` for a stream).
        bytes: size of all parts at the destination.
        quarantined: part names that were moved aside after the commit point.
        untracked: names at the prefix that are in no manifest and not ours to move.
        validation: the report of ``--validate``.
    """

    export: str
    run_id: str
    mode: str
    prefix: str
    started_at: str
    finished_at: str = ""
    duration_seconds: float = 0.0
    status: RunStatus = "failed"
    rows: int = 0
    parts: int = 0
    bytes: int = 0
    manifest_fingerprint: str | None = None
    quarantined: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    validation: dict[str, object] | None = None
    error: ErrorReport | None = None

    def finish(self, base_dir: Path) -> None:
        """Set the end and its derived facts, and leave ``.rivet/runs/<run_id>/summary.json`` under ``base_dir``."""
        finished = datetime.now(UTC)
        self.finished_at = timestamp(finished)
        self.duration_seconds = round((finished - datetime.fromisoformat(self.started_at)).total_seconds(), 3)
        path = base_dir / ".rivet" / "runs" / safe_run_id(self.run_id) / "summary.json"
        try:
            write_json(path, self.to_json())
        except OSError as error:
            # The run is what it is; a summary that cannot be kept does not change it.
            self.warnings.append(f"the summary could not be written to {path}: {error.strerror}")

    @property
    def exit_code(self) -> int:
        """0, or the error's."""
        return self.error.exit_code if self.error else 0

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return asdict(self)


def timestamp(moment: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with milliseconds: ``2026-11-22T17:21:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_json(path: Path, document: object) -> None:
    """Write a JSON document atomically, every secret removed; creates the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(redact(json.dumps(document, indent=2, ensure_ascii=False)) + "\n", encoding="utf-8")
    temporary.replace(path)


def error_report(error: BaseException, export: str, *, published: bool = False) -> ErrorReport:
    """Turn what ended a run into facts.

    Args:
        published: the dataset was certified before that.
    """
    if isinstance(error, RivetError):
        return ErrorReport.of(error)
    if isinstance(error, KeyboardInterrupt):
        return ErrorReport.of(_interruption(export, published=published))
    unexpected = RivetError(
        f"unexpected {type(error).__name__}: {error}", hint="repeat the command with --debug to see where", code="R999"
    )
    return ErrorReport.of(unexpected)


def _interruption(export: str, *, published: bool) -> Interrupted:
    if published:
        return Interrupted(
            f"the run of {export!r} was interrupted after its dataset was published",
            hint="the dataset is complete; the next run moves the old parts aside",
        )
    return Interrupted(
        f"the run of {export!r} was interrupted",
        hint="nothing was published; what the prefix held before is untouched, run it again",
    )
