"""What a destination does to its surroundings: opening and closing, errors, secrets, ``check``."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from typing import Literal
from urllib.parse import quote, quote_plus

import pytest

from rivet_core.api import (
    Check,
    Destination,
    DestinationError,
    IfAbsent,
    IfVersion,
    NotFound,
    ObjectInfo,
    PermissionDenied,
    PreconditionFailed,
    RivetError,
    Transient,
)
from rivet_core.config import DestinationChoice
from rivet_core.testing.catalog import proves
from rivet_core.testing.destination.crash import Crash
from rivet_core.testing.destination.objects import content, digest, keys, read, write
from rivet_core.testing.harness import Fault, Harness
from rivet_core.testing.suite import NotApplicable, not_applicable

_MOVED = content(100_000)
_OBJECT = ObjectInfo("there", 5, "no-such-version")
_READS: dict[str, Callable[[Destination], object]] = {
    "open_reader": lambda store: read(store, "there"),
    "head": lambda store: store.head("there"),
    "list": lambda store: list(store.list()),
}
_WRITES: dict[str, Callable[[Destination], object]] = {
    "put": lambda store: store.put("new", b"x"),
    "open_writer": lambda store: write(store, "new", [b"x"]),
    "delete": lambda store: store.delete("there"),
}
_ERRORS: dict[str, type[DestinationError]] = {"denied": PermissionDenied, "unavailable": Transient}


class SafetyTests:
    """A destination fails in Rivet's words, gives nothing away and leaves its surroundings as they were."""

    @proves(
        "D-OPEN-1",
        breaks="planning, validating and `rivet doctor` would leave traces in a store that they only look at",
        hint="the factory connects at most; nothing is created before the first write",
    )
    def test_opening_creates_nothing(self, store: Destination, harness: Harness, prefix: str) -> None:
        assert store.head("absent") is None
        assert keys(store) == []
        assert list(store.pending_uploads()) == []
        store.delete("absent")
        assert list(harness.list(prefix)) == []

    @proves(
        "D-OPEN-2",
        breaks="a second command would not see what the first one has written",
        hint="everything is in the store and nothing in the instance; close releases connections only",
    )
    def test_instances_share_the_store_only(
        self, store: Destination, open_store: Callable[[str], Destination], prefix: str
    ) -> None:
        info = store.put("a", b"1")
        second = open_store(prefix)
        assert second.head("a") == info
        second.put("b", b"2")
        assert keys(store) == ["a", "b"]
        another = open_store(f"{prefix}/2026")
        assert keys(another) == []
        assert another.uri != store.uri

    @proves(
        "D-URI-1",
        breaks="the manifest, and every message, would name the wrong place",
        hint="uri is the scheme, the place and the prefix, ending in a slash, percent-encoded, without credentials",
    )
    def test_uri_names_the_place(self, store: Destination, prefix: str) -> None:
        scheme, separator, _ = store.uri.partition(":")
        assert separator, f"{store.uri!r} has no scheme"
        assert scheme.isidentifier(), f"{store.uri!r} has no scheme"
        assert store.uri.endswith("/")
        assert store.uri.isascii(), "a URI is ASCII, anything else percent-encoded"
        assert " " not in store.uri
        assert prefix.rpartition("/")[2] in store.uri

    @proves(
        "D-CHECK-1",
        breaks="`rivet doctor` would crash, or say nothing about what is wrong",
        hint="check yields Check objects; what fails is a Check with status failed and a hint, not an exception",
    )
    def test_check_reports(self, store: Destination, harness: Harness, prefix: str) -> None:
        checks = list(store.check())
        for check in checks:
            assert isinstance(check, Check)
            assert check.status in ("ok", "warning", "failed", "skipped")
            assert check.name
            assert check.message
            assert check.status != "failed", f"{check.name}: {check.message}"
        assert list(harness.list(prefix)) == [], "check has left objects behind"

    @proves(
        "D-ERR-1",
        breaks="users would see a traceback of an SDK, or no error at all, where a permission is missing",
        hint="map what the store says about forbidden access to PermissionDenied, once for all requests; never turn "
        "it into None or an empty listing",
    )
    @pytest.mark.parametrize("operation", [*_READS, *_WRITES])
    def test_denied_access_is_permission_denied(
        self, store: Destination, harness: Harness, prefix: str, operation: str
    ) -> None:
        _fail(store, harness, prefix, operation, "denied")

    @proves(
        "D-ERR-2",
        breaks="a run would give up where a second attempt helps, or take a failing store for an empty one",
        hint="map lost connections, time-outs, 429 and 5xx to Transient after your own few retries; never turn them "
        "into None or an empty listing",
    )
    @pytest.mark.parametrize("operation", [*_READS, *_WRITES])
    def test_unavailable_store_is_transient(
        self, store: Destination, harness: Harness, prefix: str, operation: str
    ) -> None:
        _fail(store, harness, prefix, operation, "unavailable")

    @proves(
        "D-ERR-3",
        breaks="a lost answer would be taken for a failure of another kind, and a written object be forgotten",
        hint="a request whose answer was lost is Transient, or a success if you have looked and it is there",
    )
    @pytest.mark.parametrize("operation", ["put", "open_writer"])
    def test_lost_answer_is_transient_or_settled(
        self, store: Destination, harness: Harness, prefix: str, operation: str
    ) -> None:
        with _faults(harness, "lose_answer"), suppress(Transient):
            _WRITES[operation](store)
        assert digest(harness.get(prefix, "new")) in (digest(None), digest(b"x"))
        with suppress(PreconditionFailed):
            _WRITES[operation](store)
        assert harness.get(prefix, "new") == b"x", "the write cannot be repeated after a lost answer"

    @proves(
        "D-MOVE-2",
        breaks="a part would be gone for good where a run is killed while it puts the part aside",
        hint="move deletes the source last, when the whole copy is at the target",
    )
    def test_move_that_is_killed_keeps_the_object(
        self, store: Destination, harness: Harness, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        finished = False
        for operations in count():
            source = write(store, f"part-{operations}", [_MOVED])
            with _dying(type(store), operations, monkeypatch), suppress(Crash):
                store.move(source, f"moved-{operations}")
                finished = True
            _check_moved(harness, prefix, source.key, f"moved-{operations}")
            if finished:
                break

    @proves(
        "D-MOVE-3",
        breaks="a part would be gone for good where the connection breaks while a run puts the part aside",
        hint="move deletes the source last, when the store has answered that the whole copy is there",
    )
    @pytest.mark.parametrize("fault", ["lose_answer", "unavailable"])
    def test_move_that_fails_keeps_the_object(
        self, store: Destination, harness: Harness, prefix: str, fault: Literal["lose_answer", "unavailable"]
    ) -> None:
        source = write(store, "part", [_MOVED])
        with _faults(harness, fault), suppress(Transient):
            store.move(source, "moved")
        _check_moved(harness, prefix, "part", "moved")

    @proves(
        "D-SECRET-1",
        breaks="credentials would end up in logs, reports and bug trackers",
        hint="keep them in rivet_core.api.Secret until the SDK gets them, give repr nothing to show, and write "
        "messages of your own instead of passing on the SDK's",
    )
    def test_no_secret_is_shown(
        self,
        store: Destination,
        choose: Callable[[str], DestinationChoice],
        harness: Harness,
        prefix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        if not harness.secrets:
            not_applicable("the harness names no secrets")
        caplog.set_level("DEBUG")
        choice = choose(prefix)
        shown = [store.uri, repr(store), str(store), repr(choice), repr(choice.model), str(choice.model)]
        shown += map(repr, store.check())
        shown += _texts_of_errors(store, harness)
        shown += [record.getMessage() for record in caplog.records]
        for text in shown:
            for form in _forms(harness.secrets):
                assert form not in text, f"a secret is in {text.replace(form, '<SECRET>')}"

    @proves(
        "D-ERR-4",
        breaks="users would not know what has failed",
        hint="an error's message is one sentence about the object and what was tried, with a stable code",
    )
    def test_errors_say_what_failed(self, store: Destination) -> None:
        store.put("taken", b"x")
        with pytest.raises(NotFound) as missing:
            store.open_reader("no-such-part").close()
        with pytest.raises(PreconditionFailed) as taken:
            write(store, "taken", [b"y"])
        assert "no-such-part" in missing.value.message
        assert "taken" in taken.value.message
        assert missing.value.code == NotFound.code
        assert taken.value.code == PreconditionFailed.code


@contextmanager
def _dying(store: type[Destination], after: int, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the process die in the block once so many of the destination's own operations were carried out."""
    done = 0

    def mortal(operation: Callable[..., object]) -> Callable[..., object]:
        def operate(*args: object, **options: object) -> object:
            nonlocal done
            if done >= after:  # whoever is dead does nothing more
                raise Crash
            result = operation(*args, **options)
            done += 1
            return result

        return operate

    with patch.context() as patched:
        for name in ("put", "open_writer", "open_reader", "head", "list", "copy", "delete"):
            patched.setattr(store, name, mortal(getattr(store, name)))
        yield


@contextmanager
def _faults(harness: Harness, fault: Fault) -> Iterator[None]:
    """Open a block in which the store behaves badly; the test ends where the harness has no such fault."""
    if harness.faults is None:
        not_applicable("the harness injects no faults")
    with ExitStack() as stack:
        try:
            stack.enter_context(harness.faults(fault))
        except NotImplementedError:
            not_applicable(f"the harness cannot inject {fault!r}")
        yield


def _fail(
    store: Destination, harness: Harness, prefix: str, operation: str, fault: Literal["denied", "unavailable"]
) -> None:
    """Let one operation fail, and check that it says so, has done nothing, and that the next one works."""
    harness.put(prefix, "there", b"x")
    store.head("there")
    with _faults(harness, fault), pytest.raises(_ERRORS[fault]):
        {**_READS, **_WRITES}[operation](store)
    assert harness.get(prefix, "there") == b"x"
    assert harness.get(prefix, "new") is None
    assert read(store, "there") == b"x", "the destination does not recover"


def _check_moved(harness: Harness, prefix: str, *keys: str) -> None:
    """Check that the object is at one of the keys, and at none of them a part of it."""
    found = {digest(harness.get(prefix, key)) for key in keys}
    assert digest(_MOVED) in found, "the object is at neither key"
    assert found <= {digest(_MOVED), digest(None)}, "a part of the object is at one of the keys"


def _texts_of_errors(store: Destination, harness: Harness) -> list[str]:
    """Return everything that a user may see of the errors of this destination."""
    store.put("taken", b"x")
    failing: list[Callable[[], object]] = [
        lambda: read(store, "absent"),
        lambda: write(store, "taken", [b"y"]),
        lambda: store.put("taken", b"y", condition=IfAbsent()),
        lambda: store.put("taken", b"y", condition=IfVersion("no-such-version")),
        lambda: store.copy(_OBJECT, "target"),
        lambda: store.move(_OBJECT, "target"),
    ]
    texts = [text for attempt in failing for text in _texts_of(attempt)]
    faults: tuple[Fault, ...] = ("denied", "unavailable")
    for fault in faults:
        with suppress(NotApplicable), _faults(harness, fault):
            for use in (*_READS.values(), *_WRITES.values()):
                texts += _texts_of(partial(use, store))
    return texts


def _texts_of(attempt: Callable[[], object]) -> list[str]:
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  whatever it is, it must not show a secret
        texts = [str(error), repr(error), *map(str, error.args), *traceback.format_exception(error)]
        return [*texts, error.hint] if isinstance(error, RivetError) else texts
    return []


def _forms(secrets: Iterable[str]) -> Iterator[str]:
    """Yield each secret as it is and as URLs and headers encode it."""
    for secret in secrets:
        yield from (secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode())
