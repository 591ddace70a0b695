"""What a run reports: the same facts as text, as JSON and in ``summary.json``."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rivet_core.api.errors import Interrupted, RivetError, as_rivet_error
from rivet_core.api.secret import redact_values
from rivet_core.contract.keys import safe_run_id

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

_PUBLISHED = "its dataset was published before that and is complete"
_NOTHING_PUBLISHED = "nothing was published; what the prefix held before is untouched, run it again"

RunStatus = Literal["succeeded", "failed", "interrupted", "planned"]


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
        new_rows: rows that this run has added to those of the dataset before; all of them where it replaced it.
        unchanged: an incremental run found nothing new and left the prefix as it is.
        quarantined: part names that were moved aside after the commit point.
        untracked: names at the prefix that are in no manifest and not ours to move.
        validation: the report of ``--validate``.
        reconciliation: what ``--reconcile`` counted.
        resumes: the run that this one resumed.
        decisions: what became of each part and each chunk of that run.
        longest_statement_seconds: how long the longest query at the source took; ``None`` where that is not known.
        quality: what each quality gate has found.
        schema_drift: how the columns differ from those of the dataset before.
        plan: the id of the plan that this run applied.
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
    new_rows: int = 0
    unchanged: bool = False
    manifest_fingerprint: str | None = None
    quarantined: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    validation: dict[str, object] | None = None
    reconciliation: dict[str, object] | None = None
    resumes: str | None = None
    decisions: list[dict[str, object]] = field(default_factory=list)
    quality: list[dict[str, object]] = field(default_factory=list)
    schema_drift: list[dict[str, object]] = field(default_factory=list)
    plan: str | None = None
    longest_statement_seconds: float | None = None
    error: ErrorReport | None = None

    def finish(self, base_dir: Path) -> None:
        """Set the end and its derived facts, and leave ``.rivet/runs/<run_id>/summary.json`` under ``base_dir``."""
        finished = datetime.now(UTC)
        self.finished_at = timestamp(finished)
        self.duration_seconds = round((finished - datetime.fromisoformat(self.started_at)).total_seconds(), 3)
        if self.longest_statement_seconds is not None:
            self.longest_statement_seconds = round(self.longest_statement_seconds, 3)
        path = base_dir / ".rivet" / "runs" / safe_run_id(self.run_id) / "summary.json"
        try:
            write_json(path, self.to_json())
        except OSError as error:
            # The run is what it is; a summary that cannot be kept does not change it.
            message = f"the summary could not be written to {path}: {error.strerror}"
            self.warnings.append(message)
            logger.warning("%s: %s", self.export, message)

    @property
    def exit_code(self) -> int:
        """0, or the error's."""
        return self.error.exit_code if self.error else 0

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return asdict(self)


def overall_exit_code(codes: Iterable[int]) -> int:
    """Return the exit code of a command that did several things: the highest of theirs.

    A command that was interrupted (130) says so, one of which a person must hear (2 to 5) is not hidden behind
    another that will pass by itself (1), and 0 means that all went well.
    """
    return max(codes, default=0)


def timestamp(moment: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with milliseconds: ``2026-11-22T17:21:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_json(path: Path, document: object) -> None:
    """Write a JSON document atomically, every secret removed; creates the directories above it."""
    write_text(path, json.dumps(redact_values(document), indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file atomically; creates the directories above it.

    Args:
        mode: who may read and write it, less the process's umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(text.encode("utf-8", "backslashreplace"))  # file names may hold lone surrogates
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def error_report(error: BaseException, export: str, *, published: bool = False) -> ErrorReport:
    """Turn what ended a run into facts.

    Args:
        published: the dataset was certified before that.
    """
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted(f"the run of {export!r} was interrupted", hint="" if published else _NOTHING_PUBLISHED)
    report = ErrorReport.of(as_rivet_error(error))
    return replace(report, hint="; ".join(filter(None, (_PUBLISHED, report.hint)))) if published else report
