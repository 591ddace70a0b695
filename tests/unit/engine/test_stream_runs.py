"""A run into a stream: what it leaves behind although it certifies nothing."""

from __future__ import annotations

import json

import pytest

from rivet_core.api import UsageError
from rivet_core.builtin.stdout import StdoutDestination
from unit.engine.shop import ORDERS, Shop

STREAM = "{name: stream, table: orders, format: csv, destination: {type: stdout}}"


def test_a_reader_that_goes_away_leaves_a_summary_of_a_run_that_failed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: StdoutDestination) -> None:
        raise BrokenPipeError

    shop.configure(STREAM)
    monkeypatch.setattr(StdoutDestination, "open", closed)
    with pytest.raises(BrokenPipeError):
        shop.run()
    (summary,) = (shop.directory / ".rivet" / "runs").glob("*/summary.json")
    assert json.loads(summary.read_text())["status"] == "failed"


def test_a_stream_takes_one_export_and_no_validation(shop: Shop) -> None:
    shop.configure(ORDERS, STREAM)
    with pytest.raises(UsageError, match="2 exports cannot share one stream"):
        shop.run_all()
    assert not shop.out.exists()
    shop.configure(STREAM)
    with pytest.raises(UsageError, match="a stream cannot be validated"):
        shop.run_all(validate=True)
