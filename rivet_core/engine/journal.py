"""Tells what happens to a run: to the state's event table and to plugins, and warnings to the log, too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rivet_core.api.errors import RivetError
from rivet_core.api.events import Event, EventKind

if TYPE_CHECKING:
    from rivet_core.plugins import Registry

logger = logging.getLogger(__name__)
Subscriber = Callable[[Event], None]


class Journal:
    """Emits the lifecycle events of one run to its subscribers, in order.

    Args:
        record: writes the event to the state.

    Attributes:
        warnings: every warning so far, for the run's summary.
    """

    def __init__(self, run_id: str, export: str, registry: Registry, record: Subscriber) -> None:
        self._run_id = run_id
        self._export = export
        self._registry = registry
        self._record = record
        self._recordable = True
        self.warnings: list[str] = []

    def emit(self, kind: EventKind, **fields: object) -> None:
        """Emit one event with JSON-able fields.

        Raises:
            RivetError: the state has not recorded it, so nobody else was told either.
        """
        event = self._event(kind, fields)
        self._record(event)
        self._registry.emit(event)

    def emit_if_possible(self, kind: EventKind, **fields: object) -> None:
        """Emit one event that the run no longer depends on: a state that fails is a warning and not asked again."""
        event = self._event(kind, fields)
        if self._recordable:
            try:
                self._record(event)
            except RivetError as error:
                self._recordable = False
                self._note(f"the state has no record of {kind!r} and what came after: {error.message}")
        self._registry.emit(event)

    def warn(self, message: str) -> None:
        """Emit a warning; it is also logged and part of the run's summary."""
        self._note(message)
        self.emit_if_possible("warning", message=message)

    def _event(self, kind: EventKind, fields: dict[str, object]) -> Event:
        return Event(kind, self._run_id, self._export, datetime.now(UTC), fields)

    def _note(self, message: str) -> None:
        self.warnings.append(message)
        logger.warning("%s: %s", self._export, message)
