"""One living owner per export: real processes contend, die and come back, on every engine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy

from rivet_core.api import Event, LeaseHeld, SafetyError
from rivet_core.state import Lease, LeaseInfo, PartRow, RunStart, StateStore, lease, open_state, tables

NOW = datetime(2026, 11, 22, 17, 21, tzinfo=UTC)


@pytest.fixture
def store(state_url: str, tmp_path: Path) -> Iterator[StateStore]:
    with open_state(state_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def edit(state_url: str) -> Iterator[Callable[..., None]]:
    """Change columns of the lease of ``orders`` behind the store's back."""
    engine = sqlalchemy.create_engine(state_url)

    def apply(**values: object) -> None:
        with engine.begin() as connection:
            changed = connection.execute(sqlalchemy.update(tables.lease).values(**values))
            assert changed.rowcount == 1

    yield apply
    engine.dispose()


class Holder:
    """A process that waits for ``go`` to acquire the lease of ``orders``."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("lease_holder.py")), url, "orders"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.says() == "ready"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@contextmanager
def holders(url: str, count: int = 1) -> Iterator[list[Holder]]:
    started = [Holder(url) for _ in range(count)]
    try:
        yield started
    finally:
        for holder in started:
            holder.end()


def record_run(store: StateStore, owner: Lease) -> None:
    store.start_run(owner, RunStart("orders_1", "orders", "full", "file:///exports/orders/", NOW))
    store.reserve_part(owner, "orders_1", "part-000001.parquet", 1)


def test_the_second_process_learns_who_holds_the_lease(store: StateStore, state_url: str) -> None:
    with holders(state_url) as (holder,):
        holder.go()
        assert holder.says() == "acquired 1"
        started = time.monotonic()
        with pytest.raises(LeaseHeld) as refused:
            store.acquire("orders")
        assert time.monotonic() - started < 30
        assert f"process {holder.process.pid} on {os.uname().nodename} since " in refused.value.message
        store.acquire("items").release()
    with store.acquire("orders") as owner:
        assert owner.token == 2


def test_a_killed_owner_loses_the_lease_at_once(store: StateStore, state_url: str) -> None:
    with holders(state_url) as (holder,):
        holder.go()
        assert holder.says() == "acquired 1"
        holder.process.kill()
        os.waitid(os.P_PID, holder.process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie of this process
        started = time.monotonic()
        with store.acquire("orders") as owner:
            assert owner.token == 2
        assert time.monotonic() - started < 30
    with store.acquire("orders") as owner:
        assert owner.token == 3


def test_processes_that_start_together_on_an_empty_database_get_one_lease(state_url: str) -> None:
    with holders(state_url, 4) as started:
        for holder in started:
            holder.go()
        answers = sorted(holder.says() for holder in started)
    assert answers == ["acquired 1", "held", "held", "held"]


def test_the_first_lease_of_an_export_has_one_owner_however_many_come_at_once(
    store: StateStore, state_url: str, tmp_path: Path
) -> None:
    together = threading.Barrier(5, timeout=30)

    def contend(export: str) -> bool:
        with open_state(state_url, tmp_path) as own:
            together.wait()
            try:
                lease = own.acquire(export)
            except LeaseHeld:
                lease = None
            together.wait()
            if lease is not None:
                lease.release()
            return lease is not None

    with ThreadPoolExecutor(together.parties) as threads:
        for number in range(10):
            export = f"orders{number}"
            assert sorted(threads.map(contend, [export] * together.parties)) == [False] * 4 + [True]


def test_another_process_with_the_pid_of_the_owner_is_not_the_owner(
    store: StateStore, edit: Callable[..., None]
) -> None:
    with store.acquire("orders"):
        edit(pid_started=tables.lease.c.pid_started - 60)
        with store.acquire("orders") as owner:
            assert owner.token == 2


def test_an_owner_on_another_host_loses_the_lease_a_minute_after_its_last_renewal(
    store: StateStore, edit: Callable[..., None]
) -> None:
    waiting: list[LeaseInfo] = []
    with store.acquire("orders"):
        edit(host="elsewhere", host_identity="elsewhere/boot/1", heartbeat=tables.database_clock() - 55)
        started = time.monotonic()
        with store.acquire("orders", on_wait=waiting.append) as owner:
            assert 1 <= time.monotonic() - started < 30
            assert owner.token == 2
    assert [(info.pid, info.host) for info in waiting] == [(os.getpid(), "elsewhere")]
    assert 55 <= waiting[0].silent_seconds < 60


def test_an_owner_on_another_host_that_renews_keeps_the_lease(
    store: StateStore, edit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 1.5)
    with store.acquire("orders") as owner:
        edit(host="elsewhere", host_identity="elsewhere/boot/1")
        with pytest.raises(LeaseHeld, match="on elsewhere since"):
            store.acquire("orders", wait_seconds=20)
        owner.check()


def test_a_lease_with_more_time_left_than_the_caller_waits_is_not_taken(
    store: StateStore, edit: Callable[..., None]
) -> None:
    with store.acquire("orders") as owner:
        edit(host_identity="elsewhere/boot/1")
        with pytest.raises(LeaseHeld):
            store.acquire("orders", wait_seconds=0)
        owner.check()


def test_a_lease_released_on_another_host_is_taken_while_waiting(store: StateStore, edit: Callable[..., None]) -> None:
    released = store.acquire("orders")
    edit(host_identity="elsewhere/boot/1")
    timer = threading.Timer(1.5, released.release)
    timer.start()
    with store.acquire("orders") as owner:
        assert owner.token == 2
    timer.join()


def test_a_lease_is_renewed_while_it_is_held(
    store: StateStore, edit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.2)
    silent: list[LeaseInfo] = []
    with store.acquire("orders"):
        edit(host_identity="elsewhere/boot/1", heartbeat=tables.database_clock() - 50)
        time.sleep(1)
        with pytest.raises(LeaseHeld):
            store.acquire("orders", wait_seconds=0, on_wait=silent.append)
    assert silent[0].silent_seconds < 5


def test_every_write_of_an_owner_that_lost_the_lease_is_refused(store: StateStore, edit: Callable[..., None]) -> None:
    old = store.acquire("orders")
    record_run(store, old)
    edit(pid_started=0.0)
    with store.acquire("orders") as new:
        before = (store.runs(), store.parts("orders_1"), store.highest_part("file:///exports/orders/"))
        for write in (
            lambda: store.start_run(old, RunStart("orders_2", "orders", "full", "file:///exports/orders/", NOW)),
            lambda: store.reserve_part(old, "orders_1", "part-000002.parquet", 2),
            lambda: store.commit_part(old, "orders_1", PartRow("part-000001.parquet", 1, 1, 1, "xxh3:0", "1")),
            lambda: store.publishing(old, "orders_1", "xxh3:0"),
            lambda: store.finish_run(old, "orders_1", "succeeded", finished_at=NOW),
            lambda: store.record_event(old, Event("published", "orders_1", "orders", NOW)),
            old.check,
        ):
            with pytest.raises(LeaseHeld, match=f"was lost to process {os.getpid()} on "):
                write()
        after = (store.runs(), store.parts("orders_1"), store.highest_part("file:///exports/orders/"))
        assert after == before
        assert store.events("orders_1") == []

        old.release()
        new.check()  # a late release takes nothing from the next owner
        store.publishing(new, "orders_1", "xxh3:0")


def test_nothing_is_written_with_a_lease_that_was_given_back(store: StateStore) -> None:
    with store.acquire("orders") as owner:
        owner.check()
    with pytest.raises(SafetyError, match="no longer holds the lease"):
        record_run(store, owner)
    with pytest.raises(SafetyError, match="no longer holds the lease"):
        owner.check()
    assert store.runs() == []


def test_a_takeover_waits_for_a_write_that_has_verified_the_token(
    store: StateStore, state_url: str, tmp_path: Path, edit: Callable[..., None]
) -> None:
    verified, go_on = threading.Event(), threading.Event()

    def pause(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if "INSERT INTO rivet_event" in statement:
            verified.set()
            assert go_on.wait(30)

    old = store.acquire("orders")
    edit(pid_started=0.0)
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", pause)
    try:
        with open_state(state_url, tmp_path) as rival, ThreadPoolExecutor(2) as threads:
            write = threads.submit(store.record_event, old, Event("published", "orders_1", "orders", NOW))
            assert verified.wait(30)
            takeover = threads.submit(rival.acquire, "orders")
            with pytest.raises(TimeoutError):
                takeover.result(timeout=1)
            go_on.set()
            write.result(timeout=30)
            takeover.result(timeout=30).release()
    finally:
        go_on.set()
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", pause)
    old.release()
    assert len(store.events("orders_1")) == 1
