"""The partitions of a dataset: which rows of the source each of its parts stands for, by the manifest alone.

A chunked dataset has the ranges of its chunks, in the order of the key. Two neighbours share a bound; where they do
not, the chunk between them had no rows and so has no part: a partition all the same, as are the rows without a key.
Any other dataset is one partition: all rows, up to the last cursor or from the window's first moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from rivet_core.contract.manifest import KeyRange

if TYPE_CHECKING:
    from rivet_core.contract.manifest import Manifest, Part

#: ``range``: a chunk with rows. ``gap``: between two chunks, where there were none. ``nulls``: rows without a key.
#: ``whole``: all rows. ``beyond``: above the last chunk, which is not part of the dataset.
PartitionKind = Literal["range", "gap", "nulls", "whole", "beyond"]


@dataclass(frozen=True)
class Partition:
    """Rows of the source, and the parts that hold them.

    Attributes:
        number: counts from 1 in the order of the key.
        range: the keys, above ``low`` and up to and with ``high``; ``None`` for all rows.
        parts: empty where the dataset has no such rows.
    """

    number: int
    kind: PartitionKind
    range: KeyRange | None
    parts: tuple[Part, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the dataset."""
        return sum(part.rows for part in self.parts)


def partitions(manifest: Manifest, *, nulls: bool = True) -> tuple[Partition, ...]:
    """Return the partitions of a dataset in the order of the key, ``beyond`` the last one.

    Args:
        nulls: rows may have no key, as far as the source says.
    """
    parts = manifest.committed_parts()
    extraction = manifest.source.extraction
    if extraction.strategy == "incremental" and extraction.cursor_column and extraction.cursor_high is not None:
        column, last = (extraction.cursor_column,), (extraction.cursor_high,)
        beyond = Partition(2, "beyond", _range(column, last, None))
        return (Partition(1, "whole", _range(column, None, last), parts), beyond)
    if extraction.strategy == "time_window" and extraction.cursor_column and extraction.cursor_low is not None:
        window = KeyRange(columns=(extraction.cursor_column,), low=(extraction.cursor_low,))
        return (Partition(1, "whole", window, parts),)
    chunks = [(range_, tuple(group)) for range_, group in groupby(parts, key=lambda part: part.range)]
    ranges = [range_ for range_, _ in chunks if range_ is not None and not range_.nulls]
    if extraction.strategy != "chunked" or not _in_order([range_ for range_, _ in chunks]):
        return (Partition(1, "whole", None, parts),)
    columns = ranges[0].columns if ranges else chunks[0][0].columns
    found: list[tuple[PartitionKind, KeyRange, tuple[Part, ...]]] = []
    reached: tuple[str, ...] | None = None
    for range_, held in chunks:
        assert range_ is not None  # noqa: S101  _in_order has looked
        if range_.nulls:
            continue
        if range_.low != reached:
            found.append(("gap", _range(columns, reached, range_.low), ()))
        found.append(("range", _range(columns, range_.low, range_.high), held))
        reached = range_.high
    without_key = next((held for range_, held in chunks if range_ is not None and range_.nulls), ())
    if without_key or (nulls and len(columns) == 1 and reached is not None):
        found.append(("nulls", _range(columns, None, None, nulls=True), without_key))
    if reached is not None:
        found.append(("beyond", _range(columns, reached, None), ()))
    return tuple(Partition(number, *facts) for number, facts in enumerate(found, start=1))


def _in_order(ranges: Sequence[KeyRange | None]) -> bool:
    """Whether these are the ranges of chunks as this package cuts them: of one key, each once, the last one closed."""
    known = [range_ for range_ in ranges if range_ is not None]
    if not known or len(known) < len(ranges) or len(set(known)) < len(known) or not known[0].columns:
        return False
    keyed = [range_ for range_ in known if not range_.nulls]
    return (
        len({range_.columns for range_ in known}) == 1
        and sum(range_.nulls for range_ in known) <= 1
        and all(range_.high_inclusive and not range_.low_inclusive for range_ in known)
        and all(range_.low is not None for range_ in keyed[1:])
        and (len(keyed) == 1 or all(range_.high is not None for range_ in keyed))
    )


def _range(
    columns: tuple[str, ...], low: tuple[str, ...] | None, high: tuple[str, ...] | None, *, nulls: bool = False
) -> KeyRange:
    return KeyRange(columns=columns, low=low, high=high, low_inclusive=False, high_inclusive=True, nulls=nulls)
