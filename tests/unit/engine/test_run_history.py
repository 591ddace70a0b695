"""What is told of earlier runs: how they ended, whether they died, their journal, their chunks and parts."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from rivet_core.api import StateError, UsageError
from rivet_core.engine.history import RunSummary, list_runs, show_chunks, show_run
from rivet_core.state import open_state
from unit.engine.shop import ORDERS, Shop

CHUNKED = "{name: orders, table: orders, mode: chunked, chunk_size: 1, destination: {type: local, path: out}}"


def listed(shop: Shop, export: str | None = None, limit: int = 20) -> list[RunSummary]:
    return list_runs(shop.config, export=export, limit=limit)


def shows_nothing_and_leaves_nothing(shop: Shop) -> None:
    assert listed(shop) == []
    with pytest.raises(UsageError, match="knows no run yet"):
        show_run(shop.config, "latest", export=None)
    with pytest.raises(UsageError, match="knows no run of 'orders' yet"):
        show_chunks(shop.config, "orders", "latest")


def test_without_a_state_there_is_nothing_and_none_is_made(shop: Shop):
    shows_nothing_and_leaves_nothing(shop)
    assert not (shop.directory / ".rivet_state.db").exists()


def test_a_state_without_tables_gets_none(shop: Shop):
    shop.state("SELECT 1")  # creates the file
    shows_nothing_and_leaves_nothing(shop)
    assert shop.state("SELECT name FROM sqlite_master") == []


def test_a_state_of_an_older_release_is_not_migrated(shop: Shop):
    shop.publish()
    shop.state("UPDATE rivet_schema SET version = 2")
    with pytest.raises(StateError, match="has schema 2") as caught:
        listed(shop)
    assert "rivet run" in caught.value.hint
    assert shop.state("SELECT version FROM rivet_schema") == [(2,)]


def test_runs_are_listed_the_newest_first(shop: Shop):
    shop.configure(ORDERS, "{name: other, table: orders, destination: {type: local, path: other}}")
    first = [result.run_id for result in shop.run_all()]
    second = [result.run_id for result in shop.run_all()]
    assert [item.run.run_id for item in listed(shop)] == [*reversed(second), *reversed(first)]
    assert [item.run.run_id for item in listed(shop, limit=1)] == [second[1]]
    assert [item.run.run_id for item in listed(shop, "orders")] == [second[0], first[0]]
    with pytest.raises(UsageError, match='no export "odrers"'):
        listed(shop, "odrers")


def test_a_run_of_an_export_that_was_removed_is_still_known(shop: Shop):
    shop.publish()
    shop.configure(ORDERS.replace("name: orders", "name: other"))
    assert [item.run.export for item in listed(shop, "orders")] == ["orders"]
    assert listed(shop, "other") == []


def test_a_run_is_told_with_its_journal_and_its_parts(shop: Shop):
    shop.source(
        "DROP TABLE orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY)", "INSERT INTO orders VALUES (1), (2)"
    )
    shop.configure(CHUNKED)
    result = shop.publish()
    told = show_run(shop.config, "latest", export=None).to_json()
    assert (told["run_id"], told["status"], told["error"]) == (result.run_id, "succeeded", None)
    assert (told["rows"], told["parts"], told["bytes"]) == (2, 2, result.bytes)
    assert (told["chunks_done"], told["chunks"]) == (2, 2)
    kinds = [event["kind"] for event in told["events"]]  # type: ignore[attr-defined]
    assert kinds == [
        "run_started",
        "source_described",
        "part_committed",
        "part_committed",
        "published",
        "run_succeeded",
    ]
    parts = told["committed_parts"]
    assert [part["path"] for part in parts] == shop.parts()  # type: ignore[attr-defined]
    assert {part["written_by"] for part in parts} == {result.run_id}  # type: ignore[attr-defined]


def test_a_failed_run_says_why(shop: Shop):
    shop.configure(ORDERS.replace("table: orders", "table: nothing"))
    shop.run()
    (run,) = listed(shop)
    assert (run.status, run.died) == ("failed", None)
    assert run.to_json()["error"] == {"code": "R304", "message": run.run.error_message}


def test_a_run_is_found_by_the_beginning_of_its_id(shop: Shop):
    run_id = shop.publish().run_id
    for wanted in (run_id, run_id[:-1], "orders_", "latest"):
        assert show_run(shop.config, wanted, export=None).summary.run.run_id == run_id
    second = shop.publish().run_id
    assert show_run(shop.config, run_id, export=None).summary.run.run_id == run_id
    with pytest.raises(UsageError, match="2 runs") as caught:
        show_run(shop.config, "orders_", export=None)
    assert run_id in caught.value.hint
    assert second in caught.value.hint


@pytest.mark.parametrize("wanted", ["ORDERS_", "%", "orders%", "x"])
def test_a_run_that_is_not_known_is_an_error(shop: Shop, wanted: str):
    shop.publish()
    with pytest.raises(UsageError, match="knows no run whose id begins with"):
        show_run(shop.config, wanted, export=None)


def test_an_id_with_a_typing_error_gets_a_hint(shop: Shop):
    run_id = shop.publish().run_id
    with pytest.raises(UsageError) as caught:
        show_run(shop.config, run_id.replace("orders", "order"), export=None)
    assert f'did you mean "{run_id}"?' in caught.value.hint


def unfinished(shop: Shop) -> None:
    """Leave a run that the state has no end of, as a killed process does."""
    shop.publish()
    shop.state("UPDATE rivet_run SET status = 'running', finished_at = NULL")


def test_a_run_whose_lease_is_free_has_died(shop: Shop):
    unfinished(shop)
    (run,) = listed(shop)
    assert (run.status, run.died) == ("died", "no process holds the lease of its export")


def test_a_run_whose_process_has_ended_has_died(shop: Shop):
    unfinished(shop)
    with open_state(shop.config.state_url, shop.directory) as state, state.acquire("orders"):
        assert [run.status for run in listed(shop)] == ["running"]
        shop.state("UPDATE rivet_lease SET pid_started = pid_started - 1000")  # the pid is another process's by now
        (run,) = listed(shop)
        assert run.status == "died"
        assert run.died is not None
        assert run.died.endswith("which holds the lease, has ended")


def test_a_run_elsewhere_is_alive_until_it_is_silent_for_long(shop: Shop):
    unfinished(shop)
    with open_state(shop.config.state_url, shop.directory) as state, state.acquire("orders"):
        shop.state("UPDATE rivet_lease SET host_identity = 'elsewhere', host = 'elsewhere'")
        assert [run.status for run in listed(shop)] == ["running"]
        shop.state("UPDATE rivet_lease SET heartbeat = heartbeat - 61")
        (run,) = listed(shop)
        assert run.status == "died"
        assert run.died is not None
        assert "on elsewhere, which holds the lease, is silent for 6" in run.died


def test_chunks_are_done_or_open(shop: Shop):
    shop.source(
        "DROP TABLE orders",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, amount DECIMAL(4, 2))",
        "INSERT INTO orders VALUES (1, 1), (2, 'none'), (3, 3)",
    )
    shop.configure(CHUNKED)
    shop.run()
    summary, (first, second, third) = show_chunks(shop.config, "orders", "latest")
    assert (summary.status, summary.chunks_done, summary.chunks) == ("failed", 1, 3)
    assert (first.state, first.low, first.high, first.rows, first.parts) == ("done", None, ("1",), 1, 1)
    assert (second.state, second.low, second.high, second.rows, second.parts) == ("open", ("1",), ("2",), 0, 0)
    assert third.state == "open"


def test_looking_takes_no_lease(shop: Shop):
    shop.publish()
    with open_state(shop.config.state_url, shop.directory) as state, state.acquire("orders") as lease:
        listed(shop)
        show_run(shop.config, "latest", export="orders")
        lease.check()


def test_looking_waits_for_no_writer(shop: Shop):
    shop.publish()
    with closing(sqlite3.connect(shop.directory / ".rivet_state.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE rivet_run SET status = 'failed'")
        assert [run.status for run in listed(shop)] == ["succeeded"]
        writer.execute("ROLLBACK")
