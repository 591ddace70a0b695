"""Exports all chunks of a query, several at the same time; the first failure ends all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import MappingProxyType
from typing import TYPE_CHECKING

from rivet_core.engine.writing.extract import PartNumbers, Stopped, extract_chunk, write_empty_part

if TYPE_CHECKING:
    from rivet_core.api.source import Source
    from rivet_core.engine.selecting.chunks import Chunk
    from rivet_core.engine.writing.extract import PartTarget
    from rivet_core.state import PartRow


def extract_all(
    source: Source,
    chunks: Sequence[Chunk],
    target: PartTarget,
    *,
    first_number: int,
    parallel: int = 1,
    kept: Mapping[int, Sequence[PartRow]] = MappingProxyType({}),
) -> list[PartRow]:
    """Export every chunk.

    Args:
        first_number: the lowest part number that may be free.
        parallel: chunks at the same time, each on a connection and in a thread of its own.
        kept: the parts of chunks that an earlier run has exported, by the chunk's number.

    Returns:
        The committed parts in the order of their rows; none for an empty result without ``write_empty``.
    """
    numbers = PartNumbers(target, first_number)
    target.counters.phase = "exporting"
    for part in (part for parts in kept.values() for part in parts):
        target.counters.count(rows=part.rows, size_bytes=part.size_bytes, parts=1)
    todo = [chunk for chunk in chunks if chunk.number not in kept]
    done = dict(kept)
    if parallel == 1 or len(todo) <= 1:
        done |= {chunk.number: extract_chunk(source, chunk, target, numbers) for chunk in todo}
    else:
        done |= _extract_parallel(source, todo, target, numbers, parallel)
    written = [part for chunk in chunks for part in done[chunk.number]]
    if not written and target.write_empty:
        written = [write_empty_part(chunks[0], target, numbers)]
    return written


def _extract_parallel(
    source: Source, chunks: Sequence[Chunk], target: PartTarget, numbers: PartNumbers, parallel: int
) -> dict[int, list[PartRow]]:
    done: dict[int, list[PartRow]] = {}

    def work(chunk: Chunk) -> None:
        done[chunk.number] = extract_chunk(source, chunk, target, numbers)

    waiting = iter(chunks)
    with ThreadPoolExecutor(parallel, thread_name_prefix="rivet-chunk") as pool:
        running = {pool.submit(work, chunk) for chunk in _take(waiting, parallel)}
        try:
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                _raise_first(ended)
                running |= {pool.submit(work, chunk) for chunk in _take(waiting, len(ended))}
        except BaseException:
            target.stop.set()
            wait(running)
            raise
    return done


def _take(chunks: Iterator[Chunk], number: int) -> list[Chunk]:
    return [chunk for _, chunk in zip(range(number), chunks, strict=False)]


def _raise_first(ended: set[Future[None]]) -> None:
    """Raise what ended a worker; that one was stopped because of another one is no news."""
    errors = [error for future in ended if (error := future.exception()) is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])
