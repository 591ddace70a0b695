"""The verb ``recover``: what a resume keeps of a run that ended before it was published, and what it does anew.

The decisions are those of rule M8 (``contract.decide``). A chunk is kept as a whole or written as a whole: all parts
of its completed attempt have to be as they were recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rivet_core.api.errors import SafetyError
from rivet_core.contract import keys
from rivet_core.contract.decide import Decision, decide
from rivet_core.contract.manifest import Part
from rivet_core.engine.dataset import Reuse
from rivet_core.engine.proof import compare_part
from rivet_core.engine.selecting.chunks import Bounds

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination
    from rivet_core.contract.manifest import Manifest
    from rivet_core.engine.prefix import PrefixView
    from rivet_core.state import PartRow, RunRow, StateStore


@dataclass(frozen=True)
class ResumeDecision:
    """What happens to one part, or to the rows of one chunk that has none.

    Attributes:
        chunk: number of the chunk; ``None`` for an object that belongs to none.
        path: the part; ``None`` where there is none yet.
    """

    decision: Decision
    chunk: int | None = None
    path: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return {"decision": self.decision.value, "chunk": self.chunk, "path": self.path}


@dataclass(frozen=True)
class Recovery:
    """What is there of an unfinished run.

    Attributes:
        run: the run.
        reuse: its chunks, and the parts of those that need not be read again; empty if it died before it had any.
        decisions: one for each part and each unfinished chunk.
        pending: the manifest that it had written before it died, and its bytes, if all its parts are in place.
    """

    run: RunRow
    reuse: Reuse = field(default_factory=Reuse)
    decisions: tuple[ResumeDecision, ...] = ()
    pending: tuple[Manifest, bytes] | None = None

    def of_one_instant(self) -> Recovery:
        """Return the recovery of a run whose snapshot is gone: all of its rows or, of another instant, none."""
        is_complete = self.pending is not None or len(self.reuse.kept) == len(self.reuse.bounds)
        return self if is_complete else Recovery(self.run)


def find_unfinished(state: StateStore, export: str) -> RunRow | None:
    """Return the newest run of an export that can be resumed: it has chunks, and no run has succeeded since."""
    for run in state.runs(export):
        if run.status == "succeeded":
            return None
        if run.inputs is not None:  # recorded together with its chunks
            return run
    return None


def refuse_published(view: PrefixView, run: RunRow, *, force: bool) -> bool:
    """Refuse to touch a published prefix without ``--force``; return whether the unfinished run may go on.

    With it the run goes on if ``_SUCCESS`` is the one that it saw at its start. Otherwise another run has published
    since, and everything is exported anew.

    Raises:
        SafetyError: there is a ``_SUCCESS`` at the prefix.
    """
    if view.success is None:
        return run.success_version is None
    if not force:
        raise SafetyError(
            f"the prefix holds a published dataset; resuming {run.run_id} would replace it",
            hint="add --force to do that, or run without --resume to export everything anew",
        )
    return view.success.info.version == run.success_version


def _pending(destination: Destination, view: PrefixView, run: RunRow) -> tuple[Manifest, bytes] | None:
    stored = view.manifests.get(keys.manifest_copy_key(run.run_id))
    if stored is None or stored.content is None or stored.content.run_id != run.run_id:
        return None
    for part in stored.content.committed_parts():
        if compare_part(destination, part, view.listing.get(part.path)) != "same":
            return None
    return stored.content, stored.control.data


def recover(state: StateStore, run: RunRow, destination: Destination, view: PrefixView) -> Recovery:
    """Compare what the state knows of a run with what is at the destination."""
    chunks = state.chunks(run.run_id)
    parts = state.parts(run.run_id)
    kept: dict[int, list[PartRow]] = {}
    decisions: list[ResumeDecision] = []
    listed: set[str] = set()
    for chunk in chunks:
        if chunk.attempt is None:
            decisions.append(ResumeDecision(decide(listed=False, present=False), chunk.number))
            continue
        own = [part for part in parts if (part.chunk, part.attempt) == (chunk.number, chunk.attempt)]
        listed.update(part.key for part in own)
        found = [ResumeDecision(_decide(destination, part, view), chunk.number, part.key) for part in own]
        decisions += found
        if all(item.decision is Decision.SKIP for item in found):
            kept[chunk.number] = [replace(part, written_by=part.written_by or run.run_id) for part in own]
    if view.control.certified is not None:
        listed.update(part.path for part in view.control.certified.parts)
    decisions += [
        ResumeDecision(decide(listed=False, present=True), path=key)
        for key in sorted(view.listing)
        if keys.parse_part_name(key) is not None and key not in listed
    ]
    bounds = {chunk.number: Bounds.from_json(chunk.bounds) for chunk in chunks}
    return Recovery(run, Reuse(bounds, kept), tuple(decisions), _pending(destination, view, run))


def _decide(destination: Destination, part: PartRow, view: PrefixView) -> Decision:
    recorded = Part(
        part_id=1,
        path=part.key,
        rows=part.rows,
        size_bytes=part.size_bytes,
        content_fingerprint=part.content_fingerprint,
        checksums=dict(part.checksums),
        version=part.version,
    )
    finding = compare_part(destination, recorded, view.listing.get(part.key))
    return decide(
        listed=True,
        present=finding != "missing",
        same_size=finding != "size differs",
        same_content=finding == "same",
    )
