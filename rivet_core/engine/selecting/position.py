"""Where an incremental export has got to: by the certified manifest at its prefix, which the state database caches.

Where each run has a prefix of its own (``{date}`` or ``{run_id}`` in it), the state database alone knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rivet_core.api.errors import SafetyError
from rivet_core.config.placeholders import placeholders_in
from rivet_core.state import CursorRow

if TYPE_CHECKING:
    from rivet_core.config import ExportConfig
    from rivet_core.contract.manifest import Manifest
    from rivet_core.state import StateStore

_STRATEGY: Final = "incremental"


@dataclass(frozen=True)
class Position:
    """Where the next run of an incremental export begins.

    Attributes:
        cursor: the largest cursor that was delivered, as text; ``None`` at the beginning.
        dataset: what is certified at the prefix, to which the run appends; ``None`` for a new dataset.
        per_run: runs have prefixes of their own, so rows may have been delivered elsewhere.
    """

    cursor: str | None = None
    dataset: Manifest | None = None
    per_run: bool = False


def has_own_prefixes(export: ExportConfig) -> bool:
    """Whether runs of an export go to different prefixes."""
    return not placeholders_in(export.destination.template).isdisjoint({"date", "run_id"})


def find_position(stored: CursorRow | None, export: ExportConfig, dataset: Manifest | None) -> Position:
    """Return where an incremental export has got to.

    Args:
        stored: what the state has.
        dataset: what is certified at the prefix.

    Raises:
        SafetyError: state and manifest disagree, or the prefix holds what this export cannot append to.
    """
    assert export.incremental is not None  # noqa: S101  only called for such an export
    if dataset is not None:
        _refuse_foreign(dataset, export)
    if stored is not None and stored.column != export.incremental.cursor:
        raise SafetyError(
            f"the state has a cursor of {stored.column} for {export.name!r}, whose cursor_column is now "
            f"{export.incremental.cursor}",
            hint="change it back; to start from the beginning choose a new prefix and run "
            f"`rivet state reset -e {export.name} --execute`",
        )
    if has_own_prefixes(export):
        return Position(stored.value if stored else None, dataset, per_run=True)
    certified = dataset.source.extraction.cursor_high if dataset else None
    if stored is not None and stored.value != certified:
        _refuse_disagreement(export, stored, dataset)
    return Position(certified, dataset)


def expected_position(state: StateStore | None, export: ExportConfig, dataset: Manifest | None) -> Position:
    """Return where a run that started now would begin; changes nothing.

    A run first records a commit that the state has missed. Here the manifest of that commit is believed.

    Args:
        state: ``None`` where no run has left any.

    Raises:
        SafetyError: as for ``find_position``, and where a run would have to look at another prefix first.
    """
    if state is None:
        return find_position(None, export, dataset)
    stored, newest = state.cursor(export.name), state.newest_run(export.name)
    if newest is not None and newest.status != "succeeded" and newest.manifest_fingerprint is not None:
        if dataset is not None and dataset.run_id == newest.run_id:
            stored = cursor_of(dataset) or stored
        elif has_own_prefixes(export):
            raise SafetyError(
                f"the run {newest.run_id} may have published, and the state has not heard of it",
                hint="`rivet run` looks where it wrote, and goes on from there",
            )
    return find_position(stored, export, dataset)


def cursor_of(content: Manifest) -> CursorRow | None:
    """Return how far the run of a manifest has got; ``None`` if it is no incremental one, or had no row yet."""
    extraction = content.source.extraction
    if extraction.strategy != _STRATEGY or extraction.cursor_column is None or extraction.cursor_high is None:
        return None
    return CursorRow(extraction.cursor_column, extraction.cursor_high, content.run_id)


def new_rows(content: Manifest, before: Manifest | None) -> int:
    """Return how many rows a manifest lists beyond those of the dataset that its run has appended to."""
    known = {part.path for part in before.parts} if before else set()
    return sum(part.rows for part in content.committed_parts() if part.path not in known)


def is_dataset_of(content: Manifest, export: ExportConfig) -> bool:
    """Whether an incremental export can append to a dataset, and has delivered its rows."""
    return _strangeness(content, export) is None


def _strangeness(content: Manifest, export: ExportConfig) -> str | None:
    """Say why an export cannot append to a dataset; ``None`` if it can."""
    assert export.incremental is not None  # noqa: S101  only called for such an export
    extraction, format_ = content.source.extraction, export.format.spec.name
    if content.export_name != export.name:
        return f"a dataset of the export {content.export_name!r}"
    if not content.is_ours:
        return "a dataset of another program"
    if extraction.strategy != _STRATEGY:
        return f"a dataset of mode {extraction.strategy}"
    if extraction.cursor_column != export.incremental.cursor:
        return f"a dataset with the cursor {extraction.cursor_column}"
    if content.format != format_:
        return f"{content.format} files, and the export writes {format_}"
    return None


def _refuse_foreign(dataset: Manifest, export: ExportConfig) -> None:
    strange = _strangeness(dataset, export)
    if strange is not None:
        raise SafetyError(
            f"the prefix holds {strange}; the incremental export {export.name!r} appends only to its own",
            hint="choose another prefix; "
            f"if the state has a cursor then, `rivet state reset -e {export.name} --execute` forgets it",
        )


def _refuse_disagreement(export: ExportConfig, stored: CursorRow, dataset: Manifest | None) -> None:
    said = f"the state has the cursor {stored.column} = {stored.value} of {export.name!r} (run {stored.run_id})"
    reset = f"`rivet state reset -e {export.name} --execute` forgets what the state has: the next run then"
    if dataset is None:
        raise SafetyError(
            f"{said}, but the prefix has no certified manifest",
            hint=f"look where the dataset is, or whether the prefix is right; {reset} starts from the beginning",
        )
    certified = dataset.source.extraction.cursor_high
    raise SafetyError(
        f"{said}, the certified manifest has {'none' if certified is None else certified} (run {dataset.run_id})",
        hint=f"was the prefix or the state restored, or does another machine write there? {reset} goes on from the "
        "manifest",
    )
