"""Every export needs a prefix of its own: two datasets at one prefix would each take the other's files for strays."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from rivet_core.config.model import DestinationChoice
from rivet_core.config.placeholders import Placeholders, resolve

_A_DAY = date(2000, 1, 1)
_WRITTEN_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Target(NamedTuple):
    """Where one export writes to."""

    destination: DestinationChoice
    values: Placeholders


class Overlap(NamedTuple):
    """Two targets, by their index, that can be at one prefix or one inside the other."""

    first: int
    second: int
    first_prefix: str
    second_prefix: str


def sample_placeholders(export: str, table: str) -> Placeholders:
    """Return values as a run might have them; the run id differs from that of any other export."""
    return Placeholders(_A_DAY, export, table, run_id=f"{export}_run")


def find_overlaps(targets: Sequence[Target], base_dir: Path) -> Iterator[Overlap]:
    """Yield the pairs of stores on one destination whose prefixes can coincide or nest in runs of one day.

    A day that one template writes out is tried in the ``{date}`` of the other.

    Args:
        targets: with valid templates.
        base_dir: where relative paths start.
    """
    for (first, one), (second, other) in combinations(enumerate(targets), 2):
        if one.destination.spec.kind == "stream" or _location(one.destination) != _location(other.destination):
            continue
        for day in sorted({_A_DAY} | _dates(one.destination.template) | _dates(other.destination.template)):
            prefixes = [
                resolve(target.destination.template, replace(target.values, date=day)) for target in (one, other)
            ]
            folders = [posixpath.normpath(posixpath.join(base_dir.as_posix(), text)) + "/" for text in prefixes]
            if folders[0].startswith(folders[1]) or folders[1].startswith(folders[0]):
                yield Overlap(first, second, *prefixes)
                break


def _location(destination: DestinationChoice) -> tuple[str, dict[str, object]]:
    """Return what two choices of one place have in common: the type, the bucket, the endpoint, not the prefix."""
    fields = destination.model.model_dump()
    fields.pop(destination.spec.template)
    return destination.spec.type, fields


def _dates(template: str) -> set[date]:
    dates = set()
    for text in _WRITTEN_DATE.findall(template):
        try:
            dates.add(date.fromisoformat(text))
        except ValueError:
            continue
    return dates
