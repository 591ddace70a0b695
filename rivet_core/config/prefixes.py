"""Every export needs a prefix of its own: two datasets at one prefix would each take the other's files for strays."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path, PurePosixPath
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


def sample_placeholders(export: str, table: str) -> Placeholders:
    """Return values as a run might have them; the run id differs from that of any other export."""
    return Placeholders(_A_DAY, export, table, run_id=f"{export}_run")


def find_overlaps(targets: Sequence[Target], base_dir: Path) -> list[Overlap]:
    """Return the pairs of stores on one destination whose prefixes can coincide or nest in runs of one day.

    A day that one template writes out is tried in the ``{date}`` of the other.

    Args:
        targets: with valid templates.
        base_dir: where relative paths start.
    """
    stores = {index: target for index, target in enumerate(targets) if target.destination.spec.kind == "store"}
    locations = {index: _location(target.destination) for index, target in stores.items()}
    found: set[Overlap] = set()
    for day in {_A_DAY}.union(*(_dates(target.destination.template) for target in stores.values())):
        folders = {index: _folder(target, day, base_dir) for index, target in stores.items()}
        owners: dict[PurePosixPath, list[int]] = {}
        for index, folder in folders.items():
            owners.setdefault(folder, []).append(index)
        for index, folder in folders.items():
            for other in (owner for outer in (folder, *folder.parents) for owner in owners.get(outer, ())):
                if other != index and locations[other] == locations[index]:
                    found.add(Overlap(min(index, other), max(index, other)))
    return sorted(found)


def _folder(target: Target, day: date, base_dir: Path) -> PurePosixPath:
    prefix = resolve(target.destination.template, replace(target.values, date=day))
    return PurePosixPath(posixpath.normpath(posixpath.join(base_dir.as_posix(), prefix)))


def _location(destination: DestinationChoice) -> tuple[str, dict[str, object]]:
    """Return what two choices of one place have in common: the type, the bucket, the endpoint, not the prefix."""
    spec = destination.spec
    fields = destination.model.model_dump()
    fields.pop(spec.template)
    return spec.type, {name: value for name, value in fields.items() if name in (spec.place or fields)}


def _dates(template: str) -> set[date]:
    dates = set()
    for text in _WRITTEN_DATE.findall(template):
        try:
            dates.add(date.fromisoformat(text))
        except ValueError:
            continue
    return dates
