"""What is written to the state comes back unchanged, on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from rivet_core.api import Event, StateError, register_secret
from rivet_core.state import PartRow, RunStart, StateStore, open_state

STARTED = datetime(2026, 11, 22, 17, 21, 0, 123456, tzinfo=UTC)
START = RunStart("orders_1", "orders", "full", "file:///exports/orders/", STARTED, success_version="1-2-3")
PART = PartRow("part-000007.parquet", 7, 50_000, 2**40, "xxh3:0123456789abcdef", "1-2-3", attempt=2, chunk=3)


@pytest.fixture
def store(state_url: str, tmp_path: Path) -> Iterator[StateStore]:
    with open_state(state_url, tmp_path) as opened:
        yield opened


def test_a_run_comes_back_as_it_was_recorded(store: StateStore) -> None:
    finished = STARTED + timedelta(seconds=1.5)
    with store.acquire("orders") as lease:
        store.start_run(lease, START)
        running = store.newest_run("orders")
        store.reserve_part(lease, START.run_id, PART.key, PART.number)
        assert store.parts(START.run_id) == []
        store.commit_part(lease, START.run_id, PART)
        store.publishing(lease, START.run_id, "xxh3:fedcba9876543210")
        publishing = store.newest_run("orders")
        store.finish_run(lease, START.run_id, "succeeded", finished_at=finished, rows=2**40, size_bytes=2**50, parts=1)

    assert running is not None
    assert vars(running) == {
        **vars(START),
        "inputs": None,
        "columns": None,
        "status": "running",
        "finished_at": None,
        "manifest_fingerprint": None,
        "error_code": None,
        "error_message": None,
        "rows": 0,
        "size_bytes": 0,
        "parts": 0,
    }
    assert publishing == replace(running, status="publishing", manifest_fingerprint="xxh3:fedcba9876543210")
    assert store.newest_run("orders") == replace(
        publishing, status="succeeded", finished_at=finished, rows=2**40, size_bytes=2**50, parts=1
    )
    assert store.parts(START.run_id) == [PART]


def test_times_of_other_zones_are_the_same_instants(store: StateStore) -> None:
    local = STARTED.astimezone(timezone(timedelta(hours=5, minutes=45)))
    with store.acquire("orders") as lease:
        store.start_run(lease, replace(START, started_at=local))
    found = store.newest_run("orders")
    assert found is not None
    assert found.started_at == STARTED
    assert found.started_at.tzinfo == UTC


def test_a_number_reserved_once_counts_for_its_prefix_for_ever(store: StateStore) -> None:
    assert store.highest_part(START.prefix_uri) == 0
    with store.acquire("orders") as lease:
        store.start_run(lease, START)
        store.reserve_part(lease, START.run_id, "part-000009.parquet", 9)
        store.start_run(lease, replace(START, run_id="orders_2"))
        store.reserve_part(lease, "orders_2", "part-000004.parquet", 4)
        store.start_run(lease, replace(START, run_id="orders_3", prefix_uri="file:///exports/orders"))
        store.reserve_part(lease, "orders_3", "part-000011.parquet", 11)
    assert store.highest_part(START.prefix_uri) == 9


def test_starting_a_run_abandons_unfinished_ones_of_this_export_alone(store: StateStore) -> None:
    with store.acquire("orders") as lease, store.acquire("Orders") as other:
        store.start_run(other, replace(START, run_id="other", export="Orders"))
        for number, finish in enumerate(("running", "publishing", "failed"), start=1):
            run_id = f"orders_{number}"
            store.start_run(lease, replace(START, run_id=run_id))
            if finish == "publishing":
                store.publishing(lease, run_id, "xxh3:0000000000000000")
            elif finish == "failed":
                store.finish_run(lease, run_id, "failed", finished_at=STARTED, error_code="R304", error_message="no")
        store.start_run(lease, replace(START, run_id="orders_4"))

    assert [(run.run_id, run.status) for run in store.runs("orders")] == [
        ("orders_4", "running"),
        ("orders_3", "failed"),
        ("orders_2", "abandoned"),
        ("orders_1", "abandoned"),
    ]
    assert [run.run_id for run in store.runs(limit=2)] == ["orders_4", "orders_3"]
    newest = store.newest_run("Orders")
    assert newest is not None
    assert newest.run_id == "other"
    assert store.newest_run("missing") is None
    failed = store.find_run("orders", "orders_3")
    assert failed is not None
    assert failed.status == "failed"
    assert store.find_run("Orders", "orders_3") is None


def test_events_come_back_in_order_whatever_text_they_carry(store: StateStore) -> None:
    events = [
        Event("part_committed", START.run_id, "orders", STARTED, {"key": PART.key, "rows": 3, "ranges": [[1, None]]}),
        Event("warning", START.run_id, "orders", STARTED, {"message": "café 🎉 \0 \udce9", "nested": {"ok": True}}),
    ]
    with store.acquire("orders") as lease:
        for event in events:
            store.record_event(lease, event)
    assert store.events(START.run_id) == events
    assert store.events("orders_2") == []


def test_no_secret_and_no_unstorable_text_reaches_the_database(store: StateStore) -> None:
    register_secret('hunter"22')
    with store.acquire("orders") as lease:
        store.start_run(lease, START)
        store.record_event(
            lease, Event("warning", START.run_id, "orders", STARTED, {"tried": [{"url": 'x://u:hunter"22@h'}]})
        )
        store.finish_run(
            lease, START.run_id, "failed", finished_at=STARTED, error_message='hunter"22 \0 \udce9 was refused'
        )
    assert [event.fields for event in store.events(START.run_id)] == [{"tried": [{"url": "x://u:***@h"}]}]
    found = store.newest_run("orders")
    assert found is not None
    assert found.error_message == "*** \\x00 \\udce9 was refused"


def test_a_lease_gives_no_right_on_runs_of_another_export(store: StateStore) -> None:
    with store.acquire("orders") as lease, store.acquire("items") as other:
        store.start_run(lease, START)
        for write in (
            lambda: store.reserve_part(other, START.run_id, PART.key, 7),
            lambda: store.publishing(other, START.run_id, "xxh3:0000000000000000"),
            lambda: store.finish_run(other, START.run_id, "failed", finished_at=STARTED),
        ):
            with pytest.raises(StateError, match="no run orders_1 of export 'items'"):
                write()
        with pytest.raises(StateError, match="never reserved"):
            store.commit_part(lease, START.run_id, PART)


def test_a_name_is_never_reserved_or_started_twice(store: StateStore) -> None:
    with store.acquire("orders") as lease:
        store.start_run(lease, START)
        store.reserve_part(lease, START.run_id, PART.key, 7)
        with pytest.raises(StateError):
            store.reserve_part(lease, START.run_id, PART.key, 7)
        with pytest.raises(StateError):
            store.start_run(lease, START)
    found = store.newest_run("orders")
    assert found is not None
    assert found.status == "running", "the refused start abandoned the run that it collided with"


def test_workers_write_parts_of_one_run_at_once(store: StateStore) -> None:
    with store.acquire("orders") as lease:
        store.start_run(lease, START)

        def write(number: int) -> PartRow:
            part = replace(PART, key=f"part-{number:06}.parquet", number=number)
            store.reserve_part(lease, START.run_id, part.key, number)
            lease.check()
            store.commit_part(lease, START.run_id, part)
            return part

        with ThreadPoolExecutor(8) as workers:
            written = list(workers.map(write, range(1, 41)))
    assert store.parts(START.run_id) == written
    assert store.highest_part(START.prefix_uri) == 40
