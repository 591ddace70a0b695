"""A process that has crashed can do nothing any more, and one whose answer was lost goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rivet_core.api import Capabilities, Destination, PendingUpload, Transient
from rivet_core.testing.destination.crash import Crash, Disturbance, MortalDestination, Process
from rivet_core.testing.destination.scenario import Workbench
from rivet_core.testing.harness import Harness

KEY = "part-000001.parquet"

CALLS: dict[str, Callable[[Any], object]] = {
    "put": lambda store: store.put(KEY, b"x"),
    "head": lambda store: store.head(KEY),
    "list": lambda store: store.list(),
    "open_reader": lambda store: store.open_reader(KEY),
    "open_writer": lambda store: store.open_writer("new"),
    "copy": lambda store: store.copy(store.info, "copied"),
    "move": lambda store: store.move(store.info, "moved"),
    "delete": lambda store: store.delete(KEY),
    "pending_uploads": lambda store: store.pending_uploads(),
    "abort_upload": lambda store: store.abort_upload(PendingUpload(KEY, "upload")),
    "capabilities": lambda store: store.capabilities(Capabilities()),
    "warnings": lambda store: store.warnings(),
    "check": lambda store: store.check(),
    "close": lambda store: store.close(),
    "writer.write": lambda store: store.writer.write(b"more"),
    "writer.commit": lambda store: store.writer.commit(),
    "writer.abort": lambda store: store.writer.abort(),
    "reader.read": lambda store: store.reader.read(),
}


@pytest.fixture
def inner(open_store: Callable[[str], Destination]) -> Destination:
    return open_store("dead")


def test_the_calls_of_a_destination_are_all_tried() -> None:
    declared = {name for name, member in vars(Destination).items() if callable(member) and not name.startswith("_")}
    assert declared == {name for name in CALLS if "." not in name}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_of_a_dead_process_fails_and_changes_nothing(
    inner: Destination, harness: Harness, call: str
) -> None:
    process = Process(Disturbance(4, "crash before"))
    store: Any = MortalDestination(inner, process)
    store.info = store.put(KEY, b"old")
    store.reader = store.open_reader(KEY)
    store.writer = store.open_writer("begun")
    with pytest.raises(Crash):
        store.head(KEY)
    before = sorted(harness.list("dead"))
    with pytest.raises(Crash, match=f"crash before operation 4, head {KEY}"):
        CALLS[call](store)
    assert sorted(harness.list("dead")) == before
    assert harness.get("dead", KEY) == b"old"
    process.bury()


def test_the_state_refuses_a_dead_process_and_serves_the_next_one(workbench: Workbench) -> None:
    database = workbench.database
    database.process = process = Process(Disturbance(1, "crash before"))
    with pytest.raises(Crash):
        process.operate("head", KEY, lambda: None)
    for transaction in (database.read, database.write):
        with pytest.raises(Crash), transaction():
            pytest.fail("a dead process has read the state")
    database.process = Process()
    with database.write() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


@pytest.mark.parametrize(
    ("fate", "error", "carried_out"),
    [("crash before", Crash, False), ("crash after", Crash, True), ("lose the answer of", Transient, True)],
)
def test_the_disturbed_operation_is_carried_out_or_not(
    inner: Destination, harness: Harness, fate: Any, error: type[BaseException], carried_out: bool
) -> None:
    process = Process(Disturbance(1, fate))
    store = MortalDestination(inner, process)
    with pytest.raises(error):
        store.put(KEY, b"x")
    assert (harness.get("dead", KEY) is not None) == carried_out
    assert process.dead == (error is Crash)
    if not process.dead:
        assert store.head(KEY) is not None
    process.bury()


@pytest.mark.parametrize("own", [True, False], ids=["move of its own", "copy and delete"])
def test_a_process_dies_inside_a_move_that_is_two_requests(
    inner: Destination, harness: Harness, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    if not own:
        monkeypatch.setattr(type(inner), "move", Destination.move)
    process = Process(Disturbance(2, "crash after"))
    store = MortalDestination(inner, process)
    info = store.put(KEY, b"x")
    with pytest.raises(Crash):
        store.move(info, "moved")
    assert process.operations[1:] == [f"move {KEY}" if own else f"copy {KEY}"]
    assert harness.get("dead", "moved") == b"x"
    assert harness.get("dead", KEY) == (None if own else b"x")


def test_an_upload_that_a_dead_process_has_begun_stays_until_it_is_buried(inner: Destination) -> None:
    process = Process(Disturbance(2, "crash before"))
    store = MortalDestination(inner, process)
    with pytest.raises(Crash), store.open_writer(KEY) as writer:
        writer.write(b"x")
    assert [upload.key for upload in inner.pending_uploads()] == [KEY]
    process.bury()
    assert list(inner.pending_uploads()) == []
