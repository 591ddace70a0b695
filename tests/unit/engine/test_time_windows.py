"""Time windows on SQLite, where times are text or numbers; what a resume and a stream make of them."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet
import pytest

from rivet_core.api import SourceUnavailable
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.builtin.stdout import StdoutDestination
from unit.engine.shop import Shop

DAYS = 3
EXPORT = (
    "{name: orders, table: orders, mode: time_window, time_column: at, window_days: 3, time_unit: %s, "
    "destination: {type: %s}}"
)


def set_up(shop: Shop, type_: str, values: list[object], unit: str = "timestamp", to: str = "local, path: out") -> None:
    shop.configure(EXPORT % (unit, to))
    shop.source("DROP TABLE orders", f"CREATE TABLE orders (id INTEGER PRIMARY KEY, at {type_})")
    for number, value in enumerate(values):
        shop.source(f"INSERT INTO orders VALUES ({number}, {'NULL' if value is None else repr(value)})")


def ids(shop: Shop) -> list[int]:
    (part,) = json.loads((shop.out / "manifest.json").read_bytes())["parts"]
    return sorted(pyarrow.parquet.read_table(shop.out / part["path"])["id"].to_pylist())


def around_the_edge() -> list[datetime]:
    """An hour before the edge, an hour after it, and now."""
    now = datetime.now(UTC)
    edge = now - timedelta(days=DAYS)
    return [edge - timedelta(hours=1), edge + timedelta(hours=1), now]


@pytest.mark.parametrize("form", ["%Y%m%d", "%Y%m%dT%H%M%S", "%G-W%V-%u"])
def test_text_that_does_not_compare_with_the_moment_of_the_window_is_refused(shop: Shop, form: str):
    set_up(shop, "TEXT", [moment.strftime(form) for moment in around_the_edge()])
    error = shop.run().error
    assert error is not None
    assert "text that is no date" in error.message


@pytest.mark.parametrize("type_", ["TIMESTAMP", "TEXT"])
@pytest.mark.parametrize(
    "form",
    [
        lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S"),
        lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S"),
        lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S.%f"),
    ],
    ids=["space", "T", "fraction"],
)
def test_timestamps_as_text(shop: Shop, type_: str, form: Any):
    set_up(shop, type_, [*map(form, around_the_edge()), None])
    shop.publish()
    assert ids(shop) == [1, 2]


def test_timestamps_with_an_offset_as_text(shop: Shop):
    tokyo = [moment.astimezone(UTC).isoformat(timespec="seconds") for moment in around_the_edge()]
    set_up(shop, "TEXT", [text.replace("+00:00", "Z") for text in tokyo])
    shop.publish()
    assert ids(shop) == [1, 2]


def test_dates_as_text(shop: Shop):
    today = datetime.now(UTC).date()
    set_up(shop, "DATE", [(today - timedelta(days=days)).isoformat() for days in (5, 4, 2, 0)])
    shop.publish()
    assert ids(shop) == [2, 3]


@pytest.mark.parametrize(("unit", "factor"), [("seconds", 1), ("milliseconds", 1000)])
@pytest.mark.parametrize("type_", ["INTEGER", "REAL"])
def test_numbers_since_1970(shop: Shop, unit: str, factor: int, type_: str):
    set_up(shop, type_, [int(moment.timestamp() * factor) for moment in around_the_edge()], unit)
    shop.publish()
    assert ids(shop) == [1, 2]


@pytest.mark.parametrize(
    ("type_", "value", "unit", "said"),
    [
        ("TEXT", "last week", "timestamp", "text that is no date"),
        ("INTEGER", 1, "timestamp", "no date or timestamp"),
        ("TEXT", "2026-01-01", "seconds", "no seconds since 1970"),
        ("BOOLEAN", 1, "timestamp", "no date or timestamp"),
    ],
)
def test_what_is_no_time_is_refused(shop: Shop, type_: str, value: object, unit: str, said: str):
    set_up(shop, type_, [value], unit)
    result = shop.run()
    assert result.error is not None
    assert result.error.exit_code == 2
    assert said in result.error.message
    assert result.error.hint


def test_each_run_replaces_the_window(shop: Shop):
    set_up(shop, "TIMESTAMP", [moment.isoformat(" ") for moment in around_the_edge()])
    shop.source("UPDATE orders SET at = substr(at, 1, 19)")
    shop.publish()
    shop.source("DELETE FROM orders WHERE id = 2")
    result = shop.publish()
    assert ids(shop) == [1]
    assert result.quarantined == ["part-000001.parquet"]


def test_a_resume_keeps_the_recorded_window(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    set_up(shop, "INTEGER", [int(moment.timestamp()) for moment in around_the_edge()], "seconds")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise SourceUnavailable("the database went away")

    with monkeypatch.context() as patch:
        patch.setattr(SqlalchemySource, "read", fail)
        assert shop.run().error is not None
    recorded = json.loads(shop.state("SELECT bounds FROM rivet_chunk")[0][0])["low"][0][1]
    moved = f"json_set(bounds, '$.low[0][1]', '{int(recorded) - 7200}')"
    shop.state(f"UPDATE rivet_chunk SET bounds = {moved}")  # as if the run had started two hours ago
    result = shop.run(resume=True)
    assert result.error is None
    assert ids(shop) == [0, 1, 2]
    content = json.loads((shop.out / "manifest.json").read_bytes())
    assert content["source"]["extraction"]["cursor_low"] == str(int(recorded) - 7200)


def test_a_stream_has_the_window_too(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    set_up(shop, "INTEGER", [int(moment.timestamp()) for moment in around_the_edge()], "seconds", "stdout")
    shop.configure((EXPORT % ("seconds", "stdout")).replace("{name", "{format: csv, name"))
    written = io.BytesIO()
    monkeypatch.setattr(StdoutDestination, "open", lambda self: nullcontext(written))
    result = shop.run()
    assert (result.error, result.rows) == (None, 2)
    assert written.getvalue().count(b"\r\n") == 3
