"""The verb ``repair``: exports again what differs from the source, and keeps the rest of a dataset.

Repairing is a run like any other: it takes over the parts of the chunks that are right, writes new parts for the
others, publishes, and moves the stale parts to quarantine. Until its commit point the old dataset stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rivet_core.api.errors import LostRace, SafetyError, UsageError
from rivet_core.contract import keys
from rivet_core.contract.partitions import Partition, partitions
from rivet_core.contract.types import schema_fingerprint
from rivet_core.engine import plan
from rivet_core.engine.dataset import Reuse
from rivet_core.engine.inputs import changes, inputs_of
from rivet_core.engine.prefix import look
from rivet_core.engine.reconcile import certified_dataset, damaged_parts, look_and_compare, manifest_fingerprint
from rivet_core.engine.run import ExportRun, RunOptions
from rivet_core.engine.selecting.chunks import key_columns
from rivet_core.engine.selecting.ranges import Ranges
from rivet_core.engine.selecting.view import ask_again
from rivet_core.engine.store import open_store
from rivet_core.engine.writing.rows import dataset_columns
from rivet_core.state import PartRow, open_state

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination
    from rivet_core.api.source import Query, Source, SourceSchema
    from rivet_core.config import Config, DestinationChoice, ExportConfig
    from rivet_core.contract.manifest import KeyRange, Manifest, Part
    from rivet_core.contract.reconciliation import ReconcileReport
    from rivet_core.engine.plan import PrefixChoice
    from rivet_core.engine.prefix import PrefixView
    from rivet_core.engine.result import RunResult
    from rivet_core.engine.run import Watch
    from rivet_core.engine.selecting.chunks import Bounds
    from rivet_core.plugins import Registry
    from rivet_core.state import StateStore

#: What may be changed in an export without making the kept parts wrong: how the rest is cut.
_HARMLESS = frozenset({"chunk_size", "chunk_count", "chunk_by_days", "consistency"})
_RUN_ANEW = "`rivet run` exports it anew"


@dataclass(frozen=True)
class Flagged:
    """Rows to export again.

    Attributes:
        number: of the partition.
        range: the keys; ``None`` for all rows.
        parts: the parts that hold them now.
        reason: what is wrong with them.
    """

    number: int
    range: KeyRange | None
    parts: tuple[str, ...]
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        range_ = None if self.range is None else self.range.model_dump(mode="json")
        return {"number": self.number, "range": range_, "parts": list(self.parts), "reason": self.reason}


@dataclass
class RepairReport:
    """What a repair would do, or has done.

    Attributes:
        resolved_prefix: where the dataset is.
        executed: it was done; else nothing was changed.
        run_id: the run that wrote the dataset.
        flagged: what is exported again.
        kept: how many parts are taken over as they are.
        unknown: how many partitions could not be compared, and are kept.
        run: the report of the run that repaired; ``None`` where nothing was run.
    """

    export: str
    resolved_prefix: str
    executed: bool
    run_id: str
    manifest_fingerprint: str
    flagged: Sequence[Flagged] = ()
    kept: int = 0
    unknown: int = 0
    run: RunResult | None = None

    @property
    def aside(self) -> list[str]:
        """The parts that go to quarantine."""
        return [path for item in self.flagged for path in item.parts]

    @property
    def exit_code(self) -> int:
        """That of the run; 0 where nothing was run."""
        return self.run.exit_code if self.run else 0

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return {
            "export": self.export,
            "resolved_prefix": self.resolved_prefix,
            "executed": self.executed,
            "run_id": self.run_id,
            "manifest_fingerprint": self.manifest_fingerprint,
            "flagged": [item.to_json() for item in self.flagged],
            "aside": self.aside,
            "kept": self.kept,
            "unknown": self.unknown,
            "run": self.run.to_json() if self.run else None,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True)
class RepairOrder:
    """What a run is told that repairs one dataset, instead of deciding for itself.

    Attributes:
        target: the destination at the dataset's prefix.
        fingerprint: of the manifest that was looked at.
        run_id: the run that wrote the dataset.
        inputs: what the rows depend on now.
        reuse: the chunks of the dataset, and the parts of those that are kept.
        stale: parts that go to quarantine, whatever the export says of superseded ones.
    """

    export: str
    target: DestinationChoice
    fingerprint: str
    run_id: str
    inputs: Mapping[str, object]
    reuse: Reuse
    stale: frozenset[str]

    @property
    def plan_id(self) -> None:
        """A repair applies no plan."""
        return None

    def destination(self, run_id: str) -> DestinationChoice:
        """Return the destination at the dataset's prefix."""
        return self.target

    def refuse_stale(self, state: StateStore, view: PrefixView) -> None:
        """Refuse to repair what is no longer there, or what the export no longer is.

        Raises:
            LostRace: another dataset is certified now.
            SafetyError: nobody knows the query that the kept parts are of.
            UsageError: the export was changed since its dataset was written.
        """
        if manifest_fingerprint(view) != self.fingerprint:
            raise LostRace(
                "another run published at the prefix since it was compared with the source",
                hint="nothing was changed; repair again",
            )
        run = state.find_run(self.export, self.run_id)
        if run is None or run.inputs is None:
            if self.reuse.kept and self.inputs["table"] is None:
                raise SafetyError(
                    f"the state does not know the run {self.run_id}, so nothing says whether its query was this one",
                    hint=f"repair where the state of that run is; {_RUN_ANEW}",
                )
            return
        now = {name: value for name, value in self.inputs.items() if name not in _HARMLESS}
        differences = changes(json.loads(run.inputs), now)
        if differences:
            raise _changed(self.run_id, ", ".join(differences))


def repair_export(
    config: Config,
    export: ExportConfig,
    registry: Registry,
    choice: PrefixChoice,
    options: RunOptions,
    *,
    watch: Watch,
    report: ReconcileReport | None = None,
    execute: bool = False,
) -> RepairReport:
    """Export again what differs from the source. See ``prepare_repair`` for what it raises.

    Args:
        execute: do it; else only say what would be done.
    """
    found, order = prepare_repair(config, export, registry, choice, options.params, report=report)
    if order is not None and execute:
        found.executed = True
        with open_state(config.state_url, config.base_dir) as state:
            run = ExportRun(config, export, registry, state, options, order=order)
            with watch(export.name, run.counters):
                found.run = run.execute()
    return found


def prepare_repair(
    config: Config,
    export: ExportConfig,
    registry: Registry,
    choice: PrefixChoice,
    params: Mapping[str, str],
    *,
    report: ReconcileReport | None = None,
) -> tuple[RepairReport, RepairOrder | None]:
    """Find out what has to be exported again, and change nothing.

    Args:
        params: values of the query's binds.
        report: what differs; without it the dataset is compared by counts now. Parts that are missing or damaged are
            exported again in any case.

    Returns:
        What would be done, and the order to the run that does it; ``None`` if there is nothing to do.

    Raises:
        TrustError: nothing is certified at the prefix, or it was tampered with.
        SafetyError: the dataset cannot be repaired, or the report is about another one.
        UsageError: the export is no longer the one that wrote it, or the report does not fit.
        RivetError: source or destination failed.
    """
    target = plan.resolve_destination(export, choice)
    reread = target.spec.capabilities.rehash_on_validate
    with closing(open_store(target, registry, config.base_dir)) as destination:
        compared = report is None
        if report is None:
            view, report = look_and_compare(config, export, registry, destination, params, reread=reread)
        else:
            view = look(destination)
        manifest = _repairable(destination, view)
        fingerprint = manifest_fingerprint(view)
        if fingerprint is None or report.manifest_fingerprint != fingerprint:
            raise SafetyError(
                f"the report is about another dataset than the one that is certified at {destination.uri}",
                hint="make a new one with `rivet reconcile`, or leave out --report",
            )
        # What is damaged now, a report that was just made says.
        damaged = {} if compared else damaged_parts(destination, view, manifest, reread=reread)
    if report.columns:
        raise _changed(manifest.run_id, f"its columns ({'; '.join(report.columns)})")
    split = partitions(manifest)
    flagged = _flag(split, report, damaged)
    stale = frozenset(path for item in flagged for path in item.parts)
    found = RepairReport(
        export.name,
        report.resolved_prefix,
        executed=False,
        run_id=manifest.run_id,
        manifest_fingerprint=fingerprint,
        flagged=flagged,
        kept=manifest.part_count - len(stale),
        unknown=sum(item.result == "unknown" and item.kind != "beyond" for item in report.partitions),
    )
    if not flagged:
        return found, None
    with closing(plan.open_source(config, export, registry)) as source:
        query, schema = plan.describe_query(source, export, params)
        inputs = inputs_of(export, query, schema)
        takeover = _Takeover(export, registry, ask_again(source), query, schema, manifest)
        reuse = takeover.reuse(split, {item.number for item in flagged})
    if not reuse.kept:
        found.kept = 0
    return found, RepairOrder(export.name, target, fingerprint, manifest.run_id, inputs, reuse, stale)


def _repairable(destination: Destination, view: PrefixView) -> Manifest:
    manifest = certified_dataset(destination, view)
    if manifest is None:
        raise SafetyError(
            f"{destination.uri} holds files without a manifest: nothing says which rows they have", hint=_RUN_ANEW
        )
    if not manifest.is_ours:
        raise SafetyError(f"the dataset at {destination.uri} was written by another program", hint=_RUN_ANEW)
    if manifest.source.extraction.strategy == "incremental":
        raise SafetyError(
            "an incremental dataset cannot be repaired: its parts have versions of rows that the source no longer has",
            hint="to export all rows anew, choose another prefix, forget the cursor with `rivet state reset`, and run",
        )
    return manifest


def _flag(split: Sequence[Partition], report: ReconcileReport, damaged: Mapping[str, str]) -> list[Flagged]:
    """Return the partitions to export again: those of the report, and those whose parts are damaged."""
    reported = {item.number: item for item in report.partitions if item.kind != "beyond"}
    flagged = []
    for partition in split:
        item = reported.pop(partition.number, None)
        parts = tuple(part.path for part in partition.parts)
        if item is not None and (item.kind, item.range, item.parts) != (partition.kind, partition.range, parts):
            raise _misfit(partition.number)
        reasons = [f"{path} {damaged[path]}" for path in parts if path in damaged]
        if item is not None and item.result == "mismatch":
            reasons = [item.reason or "the report says that it differs"]
        if reasons:
            flagged.append(Flagged(partition.number, partition.range, parts, "; ".join(reasons)))
    if reported:
        raise _misfit(min(reported))
    return flagged


def _changed(run_id: str, what: str) -> UsageError:
    return UsageError(
        f"the export was changed since the run {run_id} wrote the dataset: {what}",
        hint=f"change it back, or {_RUN_ANEW}",
    )


def _misfit(number: int) -> UsageError:
    return UsageError(
        f"the report does not fit the dataset that it is about: partition {number} is another one there",
        hint="make a new one with `rivet reconcile`, or leave out --report",
    )


@dataclass(frozen=True)
class _Takeover:
    """Decides what a run takes over from a dataset, after proving that the export is still the one that wrote it."""

    export: ExportConfig
    registry: Registry
    source: Source
    query: Query
    schema: SourceSchema
    manifest: Manifest

    def reuse(self, split: Sequence[Partition], flagged: Container[int]) -> Reuse:
        """Return the chunks and the kept parts; nothing at all where nothing is kept, for a run that plans anew.

        Raises:
            UsageError: the export was changed.
        """
        if not any(item.parts for item in split if item.number not in flagged):
            return Reuse()
        ranges = Ranges(self.source, self.query, self._refuse_changes(split))
        bounds: dict[int, Bounds] = {}
        kept: dict[int, list[PartRow]] = {}
        for item in split:
            if item.range is None or not (item.parts or item.number in flagged):
                continue  # rows that there were none of, and that nobody looks for
            try:
                found = ranges.bounds(item.range)
            except ValueError as error:
                raise self._changed(f"its key ({error})") from None
            if found is None:  # the source has no key any more: every part is stale
                return Reuse()
            bounds[item.number] = found
            if item.number not in flagged:
                kept[item.number] = [self._row(part, item.number) for part in item.parts]
        return Reuse(bounds, kept)

    def _refuse_changes(self, split: Sequence[Partition]) -> tuple[str, ...]:
        """Return the key, if the export still has it and everything else that the kept parts have."""
        format_ = plan.open_format(self.export, self.registry)
        written = (self.manifest.format, self.manifest.compression)
        columns = dataset_columns(self.schema, exported_at=self.export.exported_at)
        table = (self.manifest.source.schema_name, self.manifest.source.table)
        now = (self.query.table.schema, self.query.table.table) if self.query.table else (None, None)
        key = split[0].range.columns if split[0].range else ()
        if table != now:
            raise self._changed("its table or query")
        if schema_fingerprint(columns.arrow()) != self.manifest.schema_fingerprint:
            raise self._changed("its columns")
        if written != (self.export.format.spec.name, format_.compression):
            raise self._changed("its format or compression")
        if self.export.chunking is None or key_columns(self.source, self.query, self.export.chunking) != key:
            raise self._changed("the key of its chunks")
        return key

    def _changed(self, what: str) -> UsageError:
        return _changed(self.manifest.run_id, what)

    def _row(self, part: Part, chunk: int) -> PartRow:
        name = keys.parse_part_name(part.path)
        if name is None:
            raise SafetyError(f"{part.path} has no name that Rivet gives its parts", hint=_RUN_ANEW)
        return PartRow(
            key=part.path,
            number=name.number,
            rows=part.rows,
            size_bytes=part.size_bytes,
            content_fingerprint=part.content_fingerprint,
            version=part.version or "",
            chunk=chunk,
            checksums=part.checksums,
            written_by=part.run_id or self.manifest.run_id,
        )
