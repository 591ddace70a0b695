"""What comparing a dataset with its source has shown: the report's model, and the reader of untrusted ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from rivet_core.api.errors import UsageError
from rivet_core.contract.fingerprint import FINGERPRINT_PATTERN
from rivet_core.contract.manifest import KeyRange, Time
from rivet_core.contract.partitions import PartitionKind

REPORT_VERSION: Final = 1
#: The largest report that is read, in bytes.
MAX_REPORT_BYTES: Final = 256 * 1024 * 1024

#: ``unknown``: nothing could be compared, and the reason says why.
Result = Literal["match", "mismatch", "unknown"]
Texts = tuple[str, ...]
Rows = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)


class KeyExamples(_Model):
    """Keys of some rows that differ, one text for each column of the report's ``key``."""

    missing: tuple[Texts, ...] = ()
    extra: tuple[Texts, ...] = ()
    changed: tuple[Texts, ...] = ()


class PartitionReport(_Model):
    """One partition of the dataset, and what the source has of it.

    Attributes:
        number: counts from 1 in the order of the key.
        range: the keys; ``None`` for all rows.
        parts: the files that hold its rows.
        rows: rows of the parts, as the manifest says.
        source_rows: rows of the source; ``None`` if they were not counted.
        reason: why it is no match; empty for a match.
        missing: by content: rows of the source that the parts lack; ``None`` if contents were not compared.
        extra: rows of the parts that the source lacks.
        changed: rows whose key is on both sides, and some other value is not the same.
    """

    number: Annotated[int, Field(ge=1, strict=True)]
    kind: PartitionKind
    range: KeyRange | None = None
    parts: Texts = ()
    rows: Rows = 0
    source_rows: Rows | None = None
    result: Result
    reason: str = ""
    missing: Rows | None = None
    extra: Rows | None = None
    changed: Rows | None = None
    examples: KeyExamples = KeyExamples()


class ReconcileReport(_Model):
    """What ``rivet reconcile`` found at one prefix.

    Attributes:
        run_id: the run that wrote the dataset; ``None`` where there is no manifest.
        manifest_fingerprint: names the dataset: what ``_SUCCESS`` certified.
        compared: whether rows were counted or their contents compared.
        key: the columns that name a row; empty if none do.
        result: ``mismatch`` if any partition is one, else ``unknown`` if any is; what is beyond the dataset counts as
            neither.
        rows: rows of the dataset.
        source_rows: rows of the source in its partitions; ``None`` if some were not counted.
        columns: the columns that differ, one sentence each; their contents were not compared.
    """

    report_version: Literal[1] = REPORT_VERSION
    export: str
    resolved_prefix: str
    run_id: str | None = None
    manifest_fingerprint: Annotated[str, Field(pattern=f"^{FINGERPRINT_PATTERN}$")] | None = None
    checked_at: Time
    compared: Literal["counts", "content"]
    key: Texts = ()
    result: Result
    reason: str = ""
    rows: Rows | None = None
    source_rows: Rows | None = None
    columns: Texts = ()
    partitions: tuple[PartitionReport, ...] = ()

    @property
    def exit_code(self) -> int:
        """3 for a mismatch, else 0."""
        return 3 if self.result == "mismatch" else 0

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return {**self.model_dump(mode="json"), "exit_code": self.exit_code}


def overall(results: Iterable[Result]) -> Result:
    """Return the result of several: one mismatch is a mismatch, and without one an unknown is unknown."""
    found = set(results)
    return "mismatch" if "mismatch" in found else "unknown" if "unknown" in found else "match"


def read_report(data: bytes, export: str) -> ReconcileReport:
    """Read the report on one export from the document that ``rivet reconcile --json`` prints.

    Raises:
        UsageError: it is no such document, is too large, or has no report on this export.
    """
    if len(data) > MAX_REPORT_BYTES:
        raise _refused(f"it has more than {MAX_REPORT_BYTES} bytes")
    try:
        document = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _refused(f"it is not JSON in UTF-8 ({error})") from None
    reports = document.get("reports") if isinstance(document, dict) else None
    if not isinstance(reports, list):
        raise _refused("it has no list of reports")
    found = [report for report in reports if isinstance(report, dict) and report.get("export") == export]
    if len(found) != 1:
        raise _refused(f"it has {len(found)} reports on {export!r}")
    if "error" in found[0]:
        raise _refused(f"{export!r} could not be compared then")
    version = found[0].get("report_version")
    if version != REPORT_VERSION:
        raise _refused(f"its version is {str(version)[:20]}, this release reads version {REPORT_VERSION}")
    try:
        return ReconcileReport.model_validate(found[0])
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step)[:40] for step in detail["loc"])
        raise _refused(f"{where}: {detail['msg']}") from None


def _refused(why: str) -> UsageError:
    return UsageError(
        f"the report cannot be used: {why}",
        hint="make a new one: rivet reconcile --json -o FILE, or leave out --report",
    )
