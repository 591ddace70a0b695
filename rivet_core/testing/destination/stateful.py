"""Any sequence of operations, against a dictionary as the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from rivet_core.api import (
    Destination,
    DestinationSpec,
    IfAbsent,
    IfVersion,
    NotFound,
    ObjectInfo,
    ObjectWriter,
    PreconditionFailed,
)
from rivet_core.testing.catalog import proves
from rivet_core.testing.destination.story import Story
from rivet_core.testing.harness import Harness
from rivet_core.testing.profiles import kit_settings

Pin = Literal["unpinned", "current version", "older version"]
End = Literal["commit", "abort", "leave"]

# Few, so that steps meet at one key.
_KEYS = ("part-000001.parquet", "orders/ü ß.bin", "orders_archive/a%2Fb")
_keys = st.sampled_from(_KEYS)
_contents = st.builds(lambda piece, times: piece * times, st.binary(max_size=9), st.sampled_from([1, 10_000]))
_pins = st.sampled_from(["unpinned", "current version", "older version"])
_ends = st.sampled_from(["commit", "abort", "leave"])


class StatefulTests:
    """Random sequences of writes, deletes, copies, moves, listings and reopenings."""

    @proves(
        "S-MACHINE-1",
        breaks="some sequence of operations would lose an object, show an old one, or change one that was not meant",
        hint="the message lists the shortest sequence that was found; its last step did not do what a dictionary does",
    )
    def test_any_sequence_of_operations_does_what_a_dictionary_does(
        self, open_store: Callable[[str], Destination], spec: DestinationSpec, harness: Harness, prefix: str
    ) -> None:
        numbers = count(1)

        class Machine(_ModelMachine):
            def __init__(self) -> None:
                super().__init__(f"{prefix}-{next(numbers)}", open_store, harness, spec)

        run_state_machine_as_test(
            Machine,
            settings=settings(kit_settings(), max_examples=6 * kit_settings().max_examples),
        )


class _ModelMachine(RuleBasedStateMachine):
    """A destination beside a dictionary. After every step both hold the same."""

    def __init__(
        self, prefix: str, open_store: Callable[[str], Destination], harness: Harness, spec: DestinationSpec
    ) -> None:
        super().__init__()
        self._prefix = prefix
        self._open_store = open_store
        self._harness = harness
        self._conditional = spec.capabilities.conditional_put
        self._store = open_store(prefix)
        self._model: dict[str, bytes] = {}
        self._tokens: dict[str, dict[str, bytes]] = {key: {} for key in _KEYS}
        self._writers: list[tuple[ObjectWriter, str, bytes, bool]] = []
        self._changes = 0
        self._story = Story()

    @rule(key=_keys, data=_contents, condition=st.sampled_from(["none", "if absent", "if current", "if older"]))
    def put(self, key: str, data: bytes, condition: str) -> None:
        holds = True
        wanted: IfAbsent | IfVersion | None = None
        if self._conditional and condition == "if absent":
            wanted, holds = IfAbsent(), key not in self._model
        elif self._conditional and condition != "none":
            pin: Pin = "current version" if condition == "if current" else "older version"
            token = self._token(key, pin)
            if token is not None:
                wanted, holds = IfVersion(token), pin == "current version"
        self._story.add(f"put {key}, {len(data)} bytes, {wanted or 'unconditionally'}")
        with self._story.told():
            if not holds:
                with _refused(PreconditionFailed):
                    self._store.put(key, data, condition=wanted)
                return
            self._written(self._store.put(key, data, condition=wanted), key, data)

    @rule(key=_keys, data=_contents, if_absent=st.booleans())
    def open_writer(self, key: str, data: bytes, if_absent: bool) -> None:
        self._story.add(f"open a writer of {key}, {'if absent' if if_absent else 'unconditionally'}: {len(data)} bytes")
        with self._story.told():
            try:
                writer = self._store.open_writer(key, if_absent=if_absent)
            except PreconditionFailed:
                assert if_absent, "a writer without a condition was refused"
                assert key in self._model, f"{key} is free, and its writer was refused"
                return
            self._writers.append((writer, key, data, if_absent))
            half = len(data) // 2
            assert writer.write(data[:half]) == half
            assert writer.write(memoryview(data)[half:]) == len(data) - half

    @precondition(lambda self: self._writers)
    @rule(end=_ends)
    def end_writer(self, end: End) -> None:
        writer, key, data, if_absent = self._writers.pop(0)
        self._story.add(f"{end} the writer of {key}")
        with self._story.told():
            if end == "abort":
                writer.abort()
            elif end == "leave":
                with writer:
                    pass
            elif if_absent and key in self._model:
                with _refused(PreconditionFailed), writer:
                    writer.commit()
            else:
                with writer:
                    self._written(writer.commit(), key, data)

    @rule(key=_keys, pin=_pins)
    def delete(self, key: str, pin: Pin) -> None:
        token = self._token(key, pin)
        self._story.add(f"delete {key}, {pin if token else 'unpinned'}")
        with self._story.told():
            self._store.delete(key, version=token)
            if token is None or pin == "current version":
                self._forget(key)

    @rule(source=_keys, goal=_keys, pin=_pins, move=st.booleans())
    def copy_or_move(self, source: str, goal: str, pin: Pin, move: bool) -> None:
        current = self._store.head(source)
        if source == goal or current is None:
            return
        older = self._token(source, pin) if pin == "older version" else None
        pinned = ObjectInfo(source, current.size_bytes, older or current.version, current.checksums, current.modified)
        self._story.add(
            f"{'move' if move else 'copy'} {source} to {goal}{', pinned to an older version' if older else ''}"
        )
        act = self._store.move if move else self._store.copy
        with self._story.told():
            refusals = [error for error, due in ((NotFound, older), (PreconditionFailed, goal in self._model)) if due]
            if refusals:
                with _refused(*refusals):
                    act(pinned, goal)
                return
            self._written(act(pinned, goal), goal, self._model[source])
            if move:
                self._forget(source)

    @rule(key=_keys, offset=st.sampled_from([0, 1, 5]), length=st.sampled_from([None, 0, 4]), pin=_pins)
    def read(self, key: str, offset: int, length: int | None, pin: Pin) -> None:
        token = self._token(key, pin)
        self._story.add(f"read {key} from {offset}, {'all' if length is None else length} bytes, {pin}")
        with self._story.told():
            if key not in self._model or (token is not None and pin == "older version"):
                with _refused(NotFound), self._store.open_reader(key, version=token) as reader:
                    reader.read()
                return
            data = self._model[key]
            end = len(data) if length is None else offset + length
            with self._store.open_reader(key, offset=offset, length=length, version=token) as reader:
                assert reader.read() == data[offset:end]

    @rule(prefix=st.sampled_from(["part-", "orders", "orders/", "nothing"]))
    def list(self, prefix: str) -> None:
        self._story.add(f"list {prefix}")
        with self._story.told():
            found = sorted(info.key for info in self._store.list(prefix))
            assert found == sorted(key for key in self._model if key.startswith(prefix))

    @rule(key=_keys)
    def change_behind(self, key: str) -> None:
        self._changes += 1
        # Of a size that nothing else has: a store may tell what others have changed by time and size only.
        data = b"behind the plugin's back".ljust(100 + self._changes)
        self._story.add(f"behind the plugin's back: {key} gets {len(data)} bytes")
        self._harness.put(self._prefix, key, data)
        self._model[key] = data

    @rule()
    def reopen(self) -> None:
        self._story.add("abort what is open, and open the destination anew")
        with self._story.told():
            self._abort_all()
            self._store = self._open_store(self._prefix)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        with self._story.told():
            listed = {info.key: info for info in self._store.list()}
            assert {key: info.size_bytes for key, info in listed.items()} == {
                key: len(data) for key, data in self._model.items()
            }, "list differs from what was written"
            for key in _KEYS:
                expected = self._model.get(key)
                assert self._harness.get(self._prefix, key) == expected, f"raw access sees something else at {key}"
                info = self._store.head(key)
                assert (info and info.size_bytes) == (None if expected is None else len(expected)), f"head of {key}"
                if info is not None and expected is not None:
                    assert info.version == listed[key].version, f"head and list give {key} different versions"
                    with self._store.open_reader(key) as reader:
                        assert reader.read() == expected, f"open_reader gives another content of {key}"
                    self._remember(info, expected)

    def teardown(self) -> None:
        self._abort_all()
        for key in self._harness.list(self._prefix):
            self._harness.delete(self._prefix, key)

    def _abort_all(self) -> None:
        while self._writers:
            self._writers.pop()[0].abort()

    def _token(self, key: str, pin: Pin) -> str | None:
        """Return a version of ``key`` as ``pin`` says, or ``None`` if there is none."""
        current = self._store.head(key)
        if pin == "unpinned" or current is None:
            return None
        if pin == "current version":
            return current.version
        return next((token for token in self._tokens[key] if token != current.version), None)

    def _written(self, info: ObjectInfo, key: str, data: bytes) -> None:
        assert (info.key, info.size_bytes) == (key, len(data)), "the answer describes another object"
        self._model[key] = data
        self._remember(info, data)

    def _forget(self, key: str) -> None:
        self._model.pop(key, None)
        self._tokens[key].clear()

    def _remember(self, info: ObjectInfo, data: bytes) -> None:
        known = self._tokens[info.key].pop(info.version, data)
        assert known == data, f"two contents of {info.key} have the same version {info.version}"
        # The last two: a file system gives numbers of files that are gone to new ones.
        self._tokens[info.key] = {**dict([*self._tokens[info.key].items()][-1:]), info.version: data}


@contextmanager
def _refused(*errors: type[Exception]) -> Iterator[None]:
    """Expect one of the errors."""
    try:
        yield
    except errors:
        return
    raise AssertionError(
        f"{' or '.join(error.__name__ for error in errors)} was due, and the operation was carried out"
    )
