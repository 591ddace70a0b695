"""What the state knows of runs, for people who ask what happened. Takes no lease and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rivet_core.api.errors import UsageError
from rivet_core.config.problems import did_you_mean
from rivet_core.contract.key_text import to_text
from rivet_core.engine.result import timestamp
from rivet_core.engine.selecting.chunks import Bounds
from rivet_core.state import read_state

if TYPE_CHECKING:
    from rivet_core.api.events import Event
    from rivet_core.config import Config
    from rivet_core.state import ChunkRow, PartRow, RunRow, RunStatus, StateStore

#: Stands for the newest run where a run id is asked for.
LATEST: Final = "latest"

_SIMILAR_AMONG = 200
_FIRST: Final = "`rivet run` makes the first one"


@dataclass(frozen=True)
class RunSummary:
    """A run in a few facts.

    Attributes:
        run: what the state has recorded.
        died: how it is known that the run is dead, although the state has no end of it; ``None`` otherwise.
        chunks_done: chunks whose parts are all committed.
        chunks: all of its chunks; 0 before they were planned.
    """

    run: RunRow
    died: str | None
    chunks_done: int
    chunks: int

    @property
    def status(self) -> RunStatus | Literal["died"]:
        """How the run ended, or that it has not."""
        return "died" if self.died else self.run.status

    @property
    def seconds(self) -> float | None:
        """How long it took; ``None`` without an end."""
        end = self.run.finished_at
        return None if end is None else round((end - self.run.started_at).total_seconds(), 3)

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        run = self.run
        return {
            "run_id": run.run_id,
            "export": run.export,
            "mode": run.mode,
            "status": self.status,
            "died": self.died,
            "prefix": run.prefix_uri,
            "started_at": timestamp(run.started_at),
            "finished_at": timestamp(run.finished_at) if run.finished_at else None,
            "duration_seconds": self.seconds,
            "rows": run.rows,
            "parts": run.parts,
            "bytes": run.size_bytes,
            "chunks_done": self.chunks_done,
            "chunks": self.chunks,
            "resumes": run.resumes,
            "manifest_fingerprint": run.manifest_fingerprint,
            "error": {"code": run.error_code, "message": run.error_message} if run.error_code else None,
        }


@dataclass(frozen=True)
class RunDetails:
    """A run, its journal and its committed parts."""

    summary: RunSummary
    events: Sequence[Event]
    parts: Sequence[PartRow]

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return {
            **self.summary.to_json(),
            "events": [
                {"at": timestamp(event.at), "kind": event.kind, "fields": dict(event.fields)} for event in self.events
            ],
            "committed_parts": [
                {
                    "path": part.key,
                    "chunk": part.chunk,
                    "attempt": part.attempt,
                    "rows": part.rows,
                    "size_bytes": part.size_bytes,
                    "content_fingerprint": part.content_fingerprint,
                    "written_by": part.written_by or self.summary.run.run_id,
                }
                for part in self.parts
            ],
        }


@dataclass(frozen=True)
class ChunkSummary:
    """A chunk of a run.

    Attributes:
        low: the rows are above this key, or begin with it if ``low_inclusive``; ``None`` is open.
        high: up to and with this one.
        nulls: the rows without a key, and no others.
        attempt: the attempt that finished it; ``None`` while it is open.
        rows: rows of that attempt.
        parts: parts of that attempt.
    """

    number: int
    low: tuple[str, ...] | None
    high: tuple[str, ...] | None
    low_inclusive: bool
    nulls: bool
    attempt: int | None
    rows: int
    parts: int

    @property
    def state(self) -> Literal["done", "open"]:
        """Whether a resume would read it again."""
        return "open" if self.attempt is None else "done"

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return {**vars(self), "state": self.state}


def list_runs(config: Config, *, export: str | None, limit: int) -> list[RunSummary]:
    """Return the newest runs, the newest first, of one export or of all that the state knows.

    Raises:
        UsageError: neither the configuration nor the state has such an export.
        StateError: the state database cannot be read.
    """
    with _opened(config, export) as state:
        return _summaries(state, state.runs(export, limit)) if state else []


def show_run(config: Config, wanted: str, *, export: str | None) -> RunDetails:
    """Return everything about one run.

    Args:
        wanted: a run id, its beginning, or ``latest``.
        export: look only at the runs of this export.

    Raises:
        UsageError: there is no such run, or several whose ids begin so.
        StateError: the state database cannot be read.
    """
    with _opened(config, export) as state:
        if state is None:
            raise UsageError("the state knows no run yet", hint=_FIRST)
        run = find_run(state, wanted, export=export)
        (summary,) = _summaries(state, [run])
        return RunDetails(summary, state.events(run.run_id), state.parts(run.run_id))


def show_chunks(config: Config, export: str, wanted: str) -> tuple[RunSummary, list[ChunkSummary]]:
    """Return the chunks of one run of an export; ``wanted`` as for ``show_run``."""
    with _opened(config, export) as state:
        if state is None:
            raise UsageError(f"the state knows no run of {export!r} yet", hint=_FIRST)
        run = find_run(state, wanted, export=export)
        parts = state.parts(run.run_id)
        (summary,) = _summaries(state, [run])
        return summary, _chunk_summaries(state.chunks(run.run_id), parts)


def find_run(state: StateStore, wanted: str, *, export: str | None) -> RunRow:
    """Return the run that is meant by an id, by the beginning of one, or by ``latest``.

    Raises:
        UsageError: there is no such run, or several whose ids begin so.
    """
    found = state.runs(export, 1) if wanted == LATEST else state.runs_like(wanted, export)
    exact = [run for run in found if run.run_id == wanted] or found
    if len(exact) == 1:
        return exact[0]
    of_export = f" of {export!r}" if export else ""
    if exact:
        raise UsageError(
            f"{len(exact)} runs{of_export} or more have an id that begins with {wanted!r}",
            hint=f"write more of it: {', '.join(run.run_id for run in exact[:5])}",
        )
    known = [run.run_id for run in state.runs(export, _SIMILAR_AMONG)]
    if not known:
        raise UsageError(f"the state knows no run{of_export} yet", hint=_FIRST)
    hint = "; ".join(filter(None, (did_you_mean(wanted, known), "`rivet runs list` shows them")))
    raise UsageError(f"the state knows no run{of_export} whose id begins with {wanted!r}", hint=hint)


@contextmanager
def _opened(config: Config, export: str | None) -> Iterator[StateStore | None]:
    """Open the state, if there is one; refuse an export of which neither it nor the configuration has heard."""
    with read_state(config.state_url, config.base_dir) as state:
        if export is not None and not (state and state.runs(export, 1)):
            config.select([export])
        yield state


def _summaries(state: StateStore, runs: Sequence[RunRow]) -> list[RunSummary]:
    counts = state.chunk_counts([run.run_id for run in runs])
    unfinished = {run.export for run in runs if run.status in ("running", "publishing")}
    deaths = {export: _death(state, export) for export in unfinished}
    return [
        RunSummary(
            run,
            deaths[run.export] if run.status in ("running", "publishing") else None,
            *counts.get(run.run_id, (0, 0)),
        )
        for run in runs
    ]


def _death(state: StateStore, export: str) -> str | None:
    """Say how it is known that no process runs an export; ``None`` if one does."""
    holder = state.lease_holder(export)
    if holder is None:
        return "no process holds the lease of its export"
    if not holder.is_gone:
        return None
    owner = holder.owner
    if holder.alive is False:
        return f"process {owner.pid} on {owner.host}, which holds the lease, has ended"
    return f"process {owner.pid} on {owner.host}, which holds the lease, is silent for {owner.silent_seconds:.0f} s"


def _chunk_summaries(chunks: Sequence[ChunkRow], parts: Sequence[PartRow]) -> list[ChunkSummary]:
    rows: Counter[tuple[int, int]] = Counter()
    files: Counter[tuple[int, int]] = Counter()
    for part in parts:
        rows[part.chunk, part.attempt] += part.rows
        files[part.chunk, part.attempt] += 1
    return [_chunk_summary(chunk, rows, files) for chunk in chunks]


def _chunk_summary(chunk: ChunkRow, rows: Counter[tuple[int, int]], files: Counter[tuple[int, int]]) -> ChunkSummary:
    bounds = Bounds.from_json(chunk.bounds)
    finished = (chunk.number, chunk.attempt or 0)
    return ChunkSummary(
        number=chunk.number,
        low=None if bounds.low is None else tuple(map(to_text, bounds.low)),
        high=None if bounds.high is None else tuple(map(to_text, bounds.high)),
        low_inclusive=bounds.low_inclusive,
        nulls=bounds.nulls,
        attempt=chunk.attempt,
        rows=rows[finished],
        parts=files[finished],
    )
