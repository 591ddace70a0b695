"""The verb ``clean``: removes what runs have put aside or left unfinished, once it is old enough, and nothing else.

Quarantine, uploads that were never finished, and what ``rivet doctor`` could not delete: no dataset needs any of it, so
a removal that is interrupted is simply repeated.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from rivet_core.api.destination import ObjectInfo, PendingUpload
from rivet_core.api.errors import RivetError, as_rivet_error
from rivet_core.contract import keys
from rivet_core.engine import plan
from rivet_core.engine.probe import PROBE_PREFIX
from rivet_core.engine.result import ErrorReport, timestamp
from rivet_core.engine.store import open_store

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination
    from rivet_core.config import Config, ExportConfig
    from rivet_core.engine.plan import PrefixChoice
    from rivet_core.plugins import Registry

logger = logging.getLogger(__name__)

Kind = Literal["quarantine", "unfinished_upload", "probe"]
Status = Literal["found", "removed", "failed", "not_tried"]

#: Where a run moves a part: under its own name, and under a number if the part's name is taken there.
_QUARANTINED: Final = re.compile(rf"{keys.QUARANTINE}(?P<run>[A-Za-z0-9._-]+)/(?P<part>.+?)(?:\.[0-9]+)?")
#: The end of a run id that ``keys.make_run_id`` has made: its start and its random digits.
_RUN_STARTED: Final = re.compile(r"_(?P<start>[0-9]{8}T[0-9]{6}\.[0-9]{3})_[0-9a-f]+\Z")
_PROBE: Final = re.compile(rf"{PROBE_PREFIX}[0-9a-f]{{8}}")


@dataclass(frozen=True)
class Leftover:
    """Something that Rivet itself has left at a prefix and that no dataset lists.

    Attributes:
        key: its key; of an unfinished upload the key at which nothing has appeared.
        size_bytes: ``None`` where the store does not tell.
        since: since when it is there; ``None`` if nothing tells.
        reason: why it is there.
    """

    kind: Kind
    key: str
    size_bytes: int | None
    since: datetime | None
    reason: str
    found: ObjectInfo | PendingUpload = field(repr=False)

    def remove(self, destination: Destination) -> None:
        """Remove exactly what was found: an object that has changed since stays."""
        if isinstance(self.found, PendingUpload):
            destination.abort_upload(self.found)
        else:
            destination.delete(self.key, version=self.found.version)


@dataclass(frozen=True)
class Kept:
    """Something that stays, and why."""

    key: str
    reason: str


@dataclass
class Item:
    """A leftover that is old enough, and what became of it."""

    leftover: Leftover
    age: timedelta
    status: Status = "found"
    error: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        leftover = self.leftover
        return {
            "key": leftover.key,
            "kind": leftover.kind,
            "size_bytes": leftover.size_bytes,
            "since": timestamp(leftover.since) if leftover.since else None,
            "age_days": round(self.age / timedelta(days=1), 1),
            "reason": leftover.reason,
            "status": self.status,
            "error": self.error,
        }


@dataclass
class CleanReport:
    """What ``rivet clean`` found at one prefix and did about it.

    Attributes:
        resolved_prefix: the prefix that was looked at.
        executed: things were removed; else they were only looked for.
        items: everything that is old enough.
        younger: how much more is there that is not.
        kept: what is never removed, although it lies where leftovers do.
        error: why it ended early.
    """

    export: str
    resolved_prefix: str
    executed: bool
    items: list[Item] = field(default_factory=list)
    younger: int = 0
    kept: list[Kept] = field(default_factory=list)
    error: ErrorReport | None = None

    def count(self, status: Status) -> tuple[int, int]:
        """Return how many items have this status, and their bytes as far as they are known."""
        chosen = [item.leftover.size_bytes or 0 for item in self.items if item.status == status]
        return len(chosen), sum(chosen)

    @property
    def exit_code(self) -> int:
        """0, the error's, or 1 if something could not be removed."""
        return self.error.exit_code if self.error else int(self.count("failed")[0] > 0)

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        totals = {}
        for status in ("found", "removed", "failed", "not_tried"):
            number, size = self.count(status)
            totals[status] = {"objects": number, "bytes": size}
        return {
            "export": self.export,
            "resolved_prefix": self.resolved_prefix,
            "executed": self.executed,
            "items": [item.to_json() for item in self.items],
            "totals": totals,
            "younger": self.younger,
            "kept": [asdict(kept) for kept in self.kept],
            "exit_code": self.exit_code,
            "error": asdict(self.error) if self.error else None,
        }


def clean_export(
    config: Config,
    export: ExportConfig,
    registry: Registry,
    choice: PrefixChoice,
    *,
    older_than: timedelta,
    execute: bool,
) -> CleanReport:
    """Find the leftovers at one prefix of an export and, with ``execute``, remove them under the export's lease.

    Raises:
        LeaseHeld: a run of the export is alive, so what looks like a leftover may be its work.
        DestinationError: the prefix could not be read.
    """
    resolved = plan.resolve_destination(export, choice)
    with ExitStack() as stack:
        guard = _unguarded
        if execute:
            from rivet_core.state import open_state  # loads SQLAlchemy, which a dry run does without

            state = stack.enter_context(open_state(config.state_url, config.base_dir))
            guard = stack.enter_context(state.acquire(export.name, wait_seconds=0)).check
        destination = stack.enter_context(closing(open_store(resolved, registry, config.base_dir)))
        report = CleanReport(export.name, destination.uri, execute)
        survey(destination, report, older_than=older_than, now=datetime.now(UTC))
        if execute:
            remove(destination, report, guard)
        return report


def survey(destination: Destination, report: CleanReport, *, older_than: timedelta, now: datetime) -> None:
    """Write into ``report`` what is at the prefix: what is old enough, what is not, and what is not ours."""
    for found in _leftovers(destination):
        if isinstance(found, Kept):
            report.kept.append(found)
        elif found.since is None:
            report.kept.append(Kept(found.key, "nothing tells how old it is"))
        elif (age := now - found.since) < older_than:
            report.younger += 1
        else:
            report.items.append(Item(found, age))


def remove(destination: Destination, report: CleanReport, guard: Callable[[], None]) -> None:
    """Remove the items of a report, one by one; one that fails keeps no other back.

    Args:
        guard: called before every removal; raises if this process lost its lease, which ends the work.
    """
    for item in report.items:
        item.status = "not_tried"
    for item in report.items:
        try:
            guard()
        except RivetError as error:
            report.error = ErrorReport.of(error)
            return
        try:
            item.leftover.remove(destination)
        except Exception as error:
            logger.debug("%s was not removed", item.leftover.key, exc_info=True)
            known = as_rivet_error(error)
            item.status, item.error = "failed", f"{known.message} [{known.code}]"
        else:
            item.status = "removed"


def _unguarded() -> None:
    """A dry run removes nothing, so it needs no lease."""


def _leftovers(destination: Destination) -> Iterator[Leftover | Kept]:
    for info in destination.list(keys.QUARANTINE):
        yield _quarantined(info)
    for upload in destination.pending_uploads():
        yield _unfinished(upload)
    for info in destination.list(PROBE_PREFIX):
        if _PROBE.fullmatch(info.key):
            yield Leftover("probe", info.key, info.size_bytes, info.modified, "left by rivet doctor", info)
        else:
            yield Kept(info.key, "no run and no probe has put it there")


def _quarantined(info: ObjectInfo) -> Leftover | Kept:
    found = _QUARANTINED.fullmatch(info.key)
    if found is None or keys.parse_part_name(found["part"]) is None:
        return Kept(info.key, "no run and no probe has put it there")
    # A file keeps its time when it is moved, so the run that moved it tells when it came here.
    known = [moment for moment in (info.modified, _run_started(found["run"])) if moment is not None]
    since = max(known, default=None)
    return Leftover("quarantine", info.key, info.size_bytes, since, "moved aside by a run", info)


def _unfinished(upload: PendingUpload) -> Leftover | Kept:
    key = upload.key
    if keys.parse_part_name(key) is None and not keys.is_control(key) and not _PROBE.fullmatch(key):
        return Kept(key or upload.upload_id, "an unfinished upload, but of no object that Rivet writes")
    return Leftover("unfinished_upload", key, upload.size_bytes, upload.started, "an upload never finished", upload)


def _run_started(run_id: str) -> datetime | None:
    found = _RUN_STARTED.search(run_id)
    if found is None:
        return None
    try:
        return datetime.strptime(found["start"], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
