"""The verbs ``state show`` and ``state reset``: where an export stands by the state database alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rivet_core.engine.result import timestamp
from rivet_core.state import open_state, read_state

if TYPE_CHECKING:
    from rivet_core.config import Config, ExportConfig
    from rivet_core.state import CursorRow, LeaseInfo, RunRow, StateStore


@dataclass(frozen=True)
class Standing:
    """Where an export stands.

    Attributes:
        cursor: how far an incremental export has got; ``None`` before its first run.
        last_run: the run that started last.
        holder: who runs the export now.
    """

    export: str
    mode: str
    cursor: CursorRow | None
    last_run: RunRow | None
    holder: LeaseInfo | None

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        run, holder = self.last_run, self.holder
        return {
            "export": self.export,
            "mode": self.mode,
            "cursor": asdict(self.cursor) if self.cursor else None,
            "last_run": run
            and {
                "run_id": run.run_id,
                "status": run.status,
                "prefix": run.prefix_uri,
                "started_at": timestamp(run.started_at),
                "finished_at": timestamp(run.finished_at) if run.finished_at else None,
            },
            "lease": holder and {"pid": holder.pid, "host": holder.host, "since": timestamp(holder.since)},
        }


@dataclass(frozen=True)
class CursorReset:
    """What ``state reset`` forgets.

    Attributes:
        cursor: what there was; ``None`` if there was none.
        executed: it is forgotten; else it would be.
    """

    export: str
    cursor: CursorRow | None
    executed: bool

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return asdict(self)


def standing_of(state: StateStore | None, export: ExportConfig) -> Standing:
    """Return where an export stands.

    Args:
        state: ``None`` if no run has used it yet.

    Raises:
        StateError: the state database cannot be read.
    """
    if state is None:
        return Standing(export.name, export.mode, cursor=None, last_run=None, holder=None)
    holder = state.lease_holder(export.name)
    return Standing(
        export=export.name,
        mode=export.mode,
        cursor=state.cursor(export.name),
        last_run=state.newest_run(export.name),
        holder=holder.owner if holder and not holder.is_gone else None,
    )


def reset_cursor(config: Config, export: ExportConfig, *, execute: bool) -> CursorReset:
    """Forget the cursor of an export, under its lease; without ``execute`` only look.

    Raises:
        LeaseHeld: a run of the export is alive.
        StateError: the state database cannot be read or written.
    """
    if not execute:
        with read_state(config.state_url, config.base_dir) as found:
            return CursorReset(export.name, None if found is None else found.cursor(export.name), executed=False)
    with open_state(config.state_url, config.base_dir) as state, state.acquire(export.name, wait_seconds=0) as lease:
        cursor = state.cursor(export.name)
        state.reset_cursor(lease)
    return CursorReset(export.name, cursor, executed=True)
