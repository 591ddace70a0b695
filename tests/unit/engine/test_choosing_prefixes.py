"""Which of an export's prefixes a command means."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from rivet_core.api import ConfigError, UsageError
from rivet_core.engine.plan import PrefixChoice, choose_prefix, resolve_destination
from rivet_core.state import RunStart, open_state
from unit.engine.shop import Shop

LONG_AGO = date(2020, 2, 29)


def chosen(shop: Shop, *, day: date | None = None, run_id: str | None = None, prefix: str | None = None) -> str:
    config = shop.config
    (export,) = config.exports
    choice = choose_prefix(config, export, day=day, run_id=run_id, prefix=prefix)
    return resolve_destination(export, choice).template


def template(shop: Shop, path: str) -> None:
    shop.configure(f"{{name: orders, table: main.orders, destination: {{type: local, path: '{path}'}}}}")


@pytest.fixture
def ran_long_ago(shop: Shop) -> str:
    """The state knows one run, of another day."""
    config = shop.config
    start = RunStart("orders_1", "orders", "full", "file:///out/", datetime(2020, 2, 29, 23, 59, tzinfo=UTC))
    with open_state(config.state_url, config.base_dir) as state, state.acquire("orders") as lease:
        state.start_run(lease, start)
    return start.run_id


def test_today_and_the_names_of_the_export(shop: Shop) -> None:
    template(shop, "out/{date}/{export}/{table}")
    before = datetime.now(UTC).date()
    assert chosen(shop) in {f"out/{day}/orders/orders" for day in (before, datetime.now(UTC).date())}
    assert chosen(shop, day=LONG_AGO) == "out/2020-02-29/orders/orders"
    assert not (shop.directory / ".rivet_state.db").exists()  # nothing here needs the state


def test_the_newest_run_and_its_day(shop: Shop, ran_long_ago: str) -> None:
    template(shop, "out/{date}/{run_id}")
    assert chosen(shop) == f"out/2020-02-29/{ran_long_ago}"
    assert chosen(shop, day=date(2021, 1, 1)) == f"out/2021-01-01/{ran_long_ago}"


def test_a_run_that_is_named_and_its_day(shop: Shop, ran_long_ago: str) -> None:
    template(shop, "out/{date}/{run_id}")
    assert chosen(shop, run_id=ran_long_ago) == f"out/2020-02-29/{ran_long_ago}"
    assert chosen(shop, run_id="of-elsewhere", day=LONG_AGO) == "out/2020-02-29/of-elsewhere"
    assert chosen(shop, run_id="of-elsewhere").endswith("/of-elsewhere")


def test_no_run_at_all(shop: Shop) -> None:
    template(shop, "out/{run_id}")
    with pytest.raises(UsageError, match="the state knows none"):
        chosen(shop)
    assert not (shop.directory / ".rivet_state.db").exists()


def test_a_prefix_that_is_given_is_taken_as_it_is(shop: Shop) -> None:
    template(shop, "out/{run_id}")
    assert chosen(shop, prefix="somewhere/{run_id}") == "somewhere/{run_id}"


def test_a_run_id_that_is_not_known_is_an_error(shop: Shop) -> None:
    template(shop, "out/{run_id}")
    with pytest.raises(ConfigError, match="not known"):
        resolve_destination(shop.config.exports[0], PrefixChoice(LONG_AGO))


def test_a_run_writes_where_validate_looks(shop: Shop) -> None:
    template(shop, "out/{date}/{run_id}")
    result = shop.publish()
    assert result.prefix == f"file://{shop.directory}/{chosen(shop)}/"
