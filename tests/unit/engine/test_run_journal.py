"""Who hears of an event, and what happens when the state cannot record it."""

from __future__ import annotations

import pytest

from rivet_core.api import Event, StateError
from rivet_core.engine.journal import Journal
from rivet_core.plugins import Registry


class Ears(Registry):
    """A registry with one subscriber, which hears what every plugin would."""

    def __init__(self) -> None:
        super().__init__([])
        self.heard: list[Event] = []

    def emit(self, event: Event) -> None:
        self.heard.append(event)


class Book:
    """The state's event table; it can be full."""

    def __init__(self) -> None:
        self.written: list[Event] = []
        self.asked = 0
        self.full = False

    def record(self, event: Event) -> None:
        self.asked += 1
        if self.full:
            raise StateError("the state database is full")
        self.written.append(event)


def test_the_state_and_every_plugin_hear_the_same() -> None:
    book, ears = Book(), Ears()
    journal = Journal("orders_1", "orders", ears, book.record)
    journal.emit("run_started", prefix="file:///out/")
    journal.emit_if_possible("run_succeeded", rows=2)
    assert book.written == ears.heard
    assert [(event.kind, event.run_id, event.export, dict(event.fields)) for event in ears.heard] == [
        ("run_started", "orders_1", "orders", {"prefix": "file:///out/"}),
        ("run_succeeded", "orders_1", "orders", {"rows": 2}),
    ]


def test_nobody_hears_what_the_state_refuses_while_the_run_depends_on_it() -> None:
    book, ears = Book(), Ears()
    book.full = True
    with pytest.raises(StateError):
        Journal("orders_1", "orders", ears, book.record).emit("part_committed", key="part-000001.parquet")
    assert ears.heard == []


def test_a_state_that_fails_is_asked_no_more_once_nothing_depends_on_it(caplog: pytest.LogCaptureFixture) -> None:
    book, ears = Book(), Ears()
    book.full = True
    journal = Journal("orders_1", "orders", ears, book.record)
    journal.emit_if_possible("published")
    journal.warn("an old part could not be moved")
    assert [event.kind for event in ears.heard] == ["published", "warning"]
    assert book.asked == 1
    unrecorded = "the state has no record of 'published' and what came after: the state database is full"
    assert journal.warnings == [unrecorded, "an old part could not be moved"]
    assert [record.getMessage() for record in caplog.records] == [f"orders: {text}" for text in journal.warnings]
