"""Lifecycle events of a run. Progress, the journal and plugins subscribe to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

EventKind = Literal[
    "run_started",
    "source_described",
    "part_committed",
    "published",
    "part_quarantined",
    "warning",
    "run_succeeded",
    "run_failed",
    "run_interrupted",
]


@dataclass(frozen=True)
class Event:
    """One thing that happened to a run.

    Attributes:
        kind: what happened.
        run_id: the run that it happened to.
        export: name of the export.
        at: timezone-aware UTC time.
        fields: JSON-able facts, free of secrets and of data; which ones depends on the kind.
    """

    kind: EventKind
    run_id: str
    export: str
    at: datetime
    fields: Mapping[str, object] = field(default_factory=dict)
