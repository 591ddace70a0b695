"""``doctor`` is for the moment when something is broken: one check that breaks keeps no other from its answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rivet_core.api import Check
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.engine.doctor import examine
from unit.engine.shop import Shop


def test_a_plugin_that_raises_is_a_failed_check_and_the_others_go_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: SqlalchemySource) -> Iterator[Check]:
        yield Check("reachable", "ok", "yes")
        raise ZeroDivisionError("a plugin's bug")

    monkeypatch.setattr(SqlalchemySource, "check", broken)
    config = shop.config
    found = [(item.subject, item.check) for item in examine(config, config.exports, shop.registry)]
    (failed,) = [(subject, check.message) for subject, check in found if check.status == "failed"]
    assert failed == ("source", "unexpected ZeroDivisionError: a plugin's bug [R999]")
    assert ("export orders", "delete", "ok") in [(who, check.name, check.status) for who, check in found]
