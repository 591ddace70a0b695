"""Finds the earlier parts that may hold rows of an incremental run's window, and reads them back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Final

from rivet_core.contract.key_text import from_text, kind_of
from rivet_core.engine import plan
from rivet_core.engine.prefix import look
from rivet_core.engine.selecting.delivered import Delivered
from rivet_core.engine.selecting.position import is_dataset_of
from rivet_core.engine.store import open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from rivet_core.api.destination import Destination
    from rivet_core.api.source import SourceSchema
    from rivet_core.contract.key_text import KeyValue
    from rivet_core.contract.manifest import Manifest, Part
    from rivet_core.engine.dataset import Job
    from rivet_core.engine.selecting.axis import Axis
    from rivet_core.engine.selecting.selection import Window

# Those whose prefixes are looked at end with the first that has nothing of the window.
_MOST_RUNS: Final = 10_000


def recall(job: Job, window: Window, schema: SourceSchema) -> Delivered:
    """Read back what earlier runs have delivered of a run's window; the caller closes it.

    Raises:
        SafetyError: an earlier part has not the columns or types that tell its rows apart now.
        DestinationError: it cannot be read.
    """
    delivered = Delivered(schema.arrow(), window.key, window.axis.columns)
    if window.is_empty or job.reuse.kept:  # nothing will be read
        return delivered
    try:
        for destination, dataset in _datasets(job, everywhere=window.low is not None):
            parts = dataset.committed_parts()
            reaching = parts if window.low is None else _reaching(parts, window.axis, window.low)
            if parts and not reaching:
                break  # older datasets end before this one
            for part in reaching:
                for batch in _read(job, destination, dataset, part):
                    delivered.add(batch, window.low)
    except BaseException:
        delivered.close()
        raise
    return delivered


def _read(job: Job, destination: Destination, dataset: Manifest, part: Part) -> Iterator[pa.RecordBatch]:
    if part.rows == 0:
        return
    format_ = plan.open_named_format(dataset.format, job.export, job.registry)
    with (
        destination.open_reader(part.path) as source,
        format_.decoder(source, dataset.arrow_schema(part)) as decoder,
    ):
        yield from decoder.batches()


def _datasets(job: Job, *, everywhere: bool) -> Iterator[tuple[Destination, Manifest]]:
    """Yield the datasets that the export has delivered, the newest first, each while its prefix is open."""
    position = job.position
    if position.dataset is not None:
        yield job.destination, position.dataset
    if not position.per_run or not everywhere:
        return
    seen = {job.destination.uri}
    for run in job.state.runs(job.export.name, limit=_MOST_RUNS):
        if run.prefix is None or run.status != "succeeded" or run.mode != "incremental" or run.prefix_uri in seen:
            continue
        seen.add(run.prefix_uri)
        choice = job.export.destination.with_prefix(run.prefix)
        with closing(open_store(choice, job.registry, job.config.base_dir)) as store:
            found = look(store, everything=False).control.certified if store.uri == run.prefix_uri else None
            if found is not None and is_dataset_of(found, job.export):
                yield store, found


def _reaching(parts: Sequence[Part], axis: Axis, low: KeyValue) -> Sequence[Part]:
    """Return the parts whose range reaches ``low`` or beyond; ends of ranges grow from run to run.

    What the source has no row of any more needs no comparison, so the database is asked for rows between ``low`` and
    the end of a range: it alone knows the order of its values.
    """
    first = _last_beginning(parts)
    chain = parts[first:]
    try:
        ends = [from_text(kind_of(low), part.range.high[0]) for part in chain if part.range and part.range.high]
    except ValueError:
        return parts
    if len(ends) != len(chain):
        return parts  # not all of them say what they hold
    below, above = 0, len(chain)
    while below < above:
        middle = (below + above) // 2
        if axis.has_rows(low, ends[middle]):
            above = middle
        else:
            below = middle + 1
    return [*parts[:first], *chain[below:]]


def _last_beginning(parts: Sequence[Part]) -> int:
    """Return the index of the first part of the last run that started from the beginning."""
    begins = [part.range is not None and part.range.low is None for part in parts]
    first = len(parts)
    while first > 0 and not begins[first - 1]:
        first -= 1
    while first > 0 and begins[first - 1]:
        first -= 1
    return first
