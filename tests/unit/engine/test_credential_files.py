"""Files with credentials are found from the directory of the configuration, wherever the command is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rivet_core.api import AuthResolverSpec
from rivet_core.api.destination import Destination, DestinationContext
from rivet_core.config import AuthChoice
from rivet_core.engine.store import open_unchecked
from unit.engine.shop import Shop

SEEN: dict[str, object] = {}


def remember(fields: dict[str, object], destination_type: str) -> None:
    SEEN.update(fields)


def open_nothing(config: object, context: DestinationContext) -> Destination | None:
    return None


@pytest.mark.parametrize(
    ("given", "expected"),
    [("keys/token", "{base}/keys/token"), ("/run/token", "/run/token"), ("~/token", "{home}/token")],
)
def test_a_relative_file_starts_at_the_configuration(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, expected: str
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    resolver = AuthResolverSpec(
        name="token-file",
        destinations=frozenset({"local"}),
        summary="A token",
        selects_on=frozenset({"token_file"}),
        optional=frozenset({"user"}),
        files=frozenset({"token_file"}),
        produces="token",
        factory=f"{__name__}:remember",
    )
    (export,) = shop.config.exports
    spec = replace(export.destination.spec, factory=f"{__name__}:open_nothing")
    choice = replace(
        export.destination, spec=spec, auth=AuthChoice(resolver, {"token_file": given, "user": "keys/none"})
    )
    open_unchecked(choice, shop.registry, shop.directory)
    assert {"token_file": expected.format(base=shop.directory, home=Path.home()), "user": "keys/none"} == SEEN
