"""Tells everybody what happens to a run: the state's event table, plugins, progress and the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rivet_core.api.events import Event, EventKind

if TYPE_CHECKING:
    from rivet_core.plugins import Registry

logger = logging.getLogger(__name__)
Subscriber = Callable[[Event], None]


class Journal:
    """Emits the lifecycle events of one run to its subscribers, in order.

    Args:
        record: writes the event to the state; its failure fails the run, unlike a plugin's.
    """

    def __init__(self, run_id: str, export: str, registry: Registry, record: Subscriber | None = None) -> None:
        self._run_id = run_id
        self._export = export
        self._registry = registry
        self._record = record
        self.warnings: list[str] = []

    def emit(self, kind: EventKind, **fields: object) -> None:
        """Emit one event with JSON-able fields."""
        event = Event(kind, self._run_id, self._export, datetime.now(UTC), fields)
        if self._record is not None:
            self._record(event)
        self._registry.emit(event)

    def warn(self, message: str) -> None:
        """Emit a warning; it is also part of the run's summary."""
        self.warnings.append(message)
        logger.warning("%s: %s", self._export, message)
        self.emit("warning", message=message)
