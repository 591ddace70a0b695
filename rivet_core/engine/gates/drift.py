"""Schema drift: compares the columns of a run with those of the dataset that it replaces, before a row is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

from pydantic import TypeAdapter, ValidationError

from rivet_core.api.errors import SchemaDrift
from rivet_core.contract.manifest import Column
from rivet_core.contract.types import type_name

if TYPE_CHECKING:
    from rivet_core.api.source import SourceSchema
    from rivet_core.contract.manifest import Manifest
    from rivet_core.state import StateStore

_MOST_NAMED: Final = 20
_COLUMNS: Final = TypeAdapter(tuple[Column, ...])


@dataclass(frozen=True)
class ColumnChange:
    """One difference between two schemas.

    Attributes:
        change: ``nullable`` and ``position`` are told and never refused.
        before: the type's name, for ``nullable`` ``NULL`` or ``NOT NULL``, for ``position`` the place from 1; ``None``
            for a column that was added.
        now: the same of the new schema; ``None`` for a column that was removed.
    """

    column: str
    change: Literal["added", "removed", "type", "nullable", "position"]
    before: str | None
    now: str | None

    @property
    def is_drift(self) -> bool:
        """Whether a reader of the earlier dataset may stumble over it."""
        return self.change in ("added", "removed", "type")

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return asdict(self)

    def __str__(self) -> str:
        match self.change:
            case "added":
                return f"{self.column!r} ({self.now}) is new"
            case "removed":
                return f"{self.column!r} ({self.before}) is gone"
            case "position":
                return f"{self.column!r} was at place {self.before}, is at {self.now}"
            case _:
                return f"{self.column!r} was {self.before}, is {self.now}"


def columns_of(schema: SourceSchema) -> tuple[Column, ...]:
    """Return the columns as a manifest has them."""
    return tuple(
        Column(
            name=column.name,
            type=type_name(column.type),
            nullable=column.nullable,
            source_type=column.source_type,
        )
        for column in schema.columns
    )


def columns_to_json(columns: Sequence[Column]) -> str:
    """Return the columns as the state keeps them."""
    return json.dumps([column.model_dump(exclude_none=True) for column in columns])


def earlier_columns(certified: Manifest | None, state: StateStore | None, export: str) -> tuple[Column, ...] | None:
    """Return the columns of the certified dataset at the prefix, else of the export's last successful run."""
    if certified is not None and certified.is_ours and certified.columns:  # others may name types otherwise
        return certified.columns
    stored = state.newest_columns(export) if state else None
    try:
        return None if stored is None else _COLUMNS.validate_json(stored)
    except ValidationError:
        return None


def compare(before: Sequence[Column], now: Sequence[Column]) -> list[ColumnChange]:
    """Return every difference: what is gone in the old order, then the rest in the new one."""
    old = {column.name: column for column in before}
    new = {column.name: column for column in now}
    changes = [ColumnChange(name, "removed", column.type, None) for name, column in old.items() if name not in new]
    for name, column in new.items():
        earlier = old.get(name)
        if earlier is None:
            changes.append(ColumnChange(name, "added", None, column.type))
            continue
        if earlier.type != column.type:
            changes.append(ColumnChange(name, "type", earlier.type, column.type))
        if earlier.nullable != column.nullable:
            changes.append(ColumnChange(name, "nullable", _nullable(earlier), _nullable(column)))
    return changes + _moved(list(old), list(new))


def _moved(old: list[str], new: list[str]) -> list[ColumnChange]:
    """Return the columns that stand elsewhere among those that both have."""
    before = [name for name in old if name in new]
    now = [name for name in new if name in old]
    return [
        ColumnChange(name, "position", str(old.index(name) + 1), str(new.index(name) + 1))
        for name, other in zip(now, before, strict=True)
        if name != other
    ]


def _nullable(column: Column) -> str:
    return "NULL" if column.nullable else "NOT NULL"


def describe(changes: Sequence[ColumnChange]) -> str:
    """Name the drift among the changes, the first of many; empty if there is none."""
    drift = [str(change) for change in changes if change.is_drift]
    more = len(drift) - _MOST_NAMED
    return "; ".join([*drift[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])


def refuse_drift(changes: Sequence[ColumnChange]) -> None:
    """Refuse columns that have drifted.

    Raises:
        SchemaDrift: names them.
    """
    drift = describe(changes)
    if drift:
        raise SchemaDrift(
            f"the columns differ from those of the last run: {drift}",
            hint="change the query or the table back; to accept the new columns, run once with on_schema_drift: warn",
        )
