"""The probe of ``rivet doctor`` tells the permissions apart, whichever of them are denied, and cleans up behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from rivet_core.api import Capabilities, Check, PermissionDenied, Transient
from rivet_core.engine.doctor import examine
from rivet_core.engine.probe import PROBE_PREFIX, probe
from rivet_core.engine.store import CheckedDestination
from rivet_local.destination import LocalDestination
from unit.engine.shop import Shop

CLAIMED = Capabilities(conditional_put=True)
METHODS = {"put": ("put",), "get": ("head", "open_reader"), "list": ("list",), "delete": ("delete",)}


def deny(patch: pytest.MonkeyPatch, *permissions: str) -> None:
    """Let the store refuse what these permissions are for, as a policy does."""
    for name in [method for permission in permissions for method in METHODS[permission]]:

        def refuse(self: LocalDestination, *args: Any, name: str = name, **options: Any) -> Any:
            raise PermissionDenied(f"{name} is denied", hint="ask for it")

        patch.setattr(LocalDestination, name, refuse)


def checks(store: LocalDestination) -> dict[str, Check]:
    found = list(probe(CheckedDestination(store), CLAIMED))
    assert len({check.name for check in found}) == len(found)
    return {check.name: check for check in found}


def statuses(found: dict[str, Check]) -> dict[str, str]:
    return {name: check.status for name, check in found.items()}


def left(store: LocalDestination) -> list[str]:
    return [info.key for info in store.list()]


GRANTED = dict.fromkeys(("put", "get", "list", "conditional put", "delete"), "ok")


@pytest.mark.parametrize(
    ("denied", "expected"),
    [
        ((), GRANTED),
        (("put",), {"put": "failed", "get": "ok", "list": "ok", "delete": "skipped"}),
        (("get",), {"put": "ok", "get": "failed", "list": "ok", "delete": "ok"}),
        (("list",), {**GRANTED, "list": "failed"}),
        (("delete",), {**GRANTED, "delete": "failed"}),
        (("put", "get"), {"put": "failed", "get": "failed", "list": "ok", "delete": "skipped"}),
        (("put", "list"), {"put": "failed", "get": "skipped", "list": "failed", "delete": "skipped"}),
        (("get", "list"), {"put": "ok", "get": "failed", "list": "failed", "delete": "ok"}),
        (tuple(METHODS), {"put": "failed", "get": "skipped", "list": "failed", "delete": "failed"}),
    ],
    ids=lambda value: "+".join(value) or "nothing" if isinstance(value, tuple) else "",
)
def test_each_permission_has_its_own_answer(
    store: LocalDestination, monkeypatch: pytest.MonkeyPatch, denied: tuple[str, ...], expected: dict[str, str]
) -> None:
    store.put("notes.txt", b"somebody's own")
    with monkeypatch.context() as patch:
        deny(patch, *denied)
        found = checks(store)
    assert statuses(found) == expected
    for name in denied:
        if found[name].status == "failed":
            assert "is denied [R403]" in found[name].message
            assert found[name].hint.startswith("without it ")
            assert found[name].hint.endswith("ask for it")
    remains = [key for key in left(store) if key != "notes.txt"]
    assert len(remains) == (denied == ("delete",))
    for key in remains:
        assert f"{key} is still there, delete it by hand" in found["delete"].hint


def test_hints_tell_the_consequences_apart(store: LocalDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("notes.txt", b"somebody's own")
    hints = []
    for name in METHODS:
        with monkeypatch.context() as patch:
            deny(patch, name)
            hints.append(checks(store)[name].hint.partition(";")[0])
    assert len(set(hints)) == len(METHODS)


def test_an_object_whose_acknowledgement_was_lost_does_not_stay(
    store: LocalDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalDestination.put

    def stored_and_lost(self: LocalDestination, key: str, *args: Any, **options: Any) -> Any:
        put(self, key, b"half of it")
        assert left(self) == [key]
        raise Transient("the answer was lost")

    monkeypatch.setattr(LocalDestination, "put", stored_and_lost)
    assert statuses(checks(store))["put"] == "failed"
    assert left(store) == []


def test_an_interrupted_probe_does_not_stay(store: LocalDestination) -> None:
    running = probe(CheckedDestination(store), CLAIMED)
    assert next(running).status == "ok"
    (key,) = left(store)
    assert key.startswith(PROBE_PREFIX)
    running.close()  # type: ignore[attr-defined]
    assert left(store) == []


def test_a_store_that_lies_is_found_out(store: LocalDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    put = LocalDestination.put

    def replaces(self: LocalDestination, key: str, data: bytes, *, condition: object = None) -> Any:
        return put(self, key, data)

    lies: Iterable[tuple[str, str, Any]] = (
        ("get", "put", lambda self, key, data, *, condition=None: put(self, key, data.upper(), condition=condition)),
        ("list", "list", lambda self, prefix="": iter(())),
        ("conditional put", "put", replaces),
        ("delete", "delete", lambda self, key, *, version=None: None),
    )
    for check, method, lie in lies:
        with monkeypatch.context() as patch:
            patch.setattr(LocalDestination, method, lie)
            assert statuses(checks(store))[check] == "failed"


def test_a_plugin_whose_own_checks_break_is_still_probed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LocalDestination) -> Any:
        raise ZeroDivisionError("a plugin's bug")

    monkeypatch.setattr(LocalDestination, "check", broken)
    config = shop.config
    found = [item.check for item in examine(config, config.exports, shop.registry) if item.subject == "export orders"]
    assert [check.name for check in found if check.status == "failed"] == ["destination"]
    assert [check.name for check in found if check.status == "ok"] == ["query", *GRANTED]
