"""Each declared capability holds, and each one that is not declared is refused and not silently ignored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Final

import pytest

from rivet_core.api import (
    Capabilities,
    Condition,
    Destination,
    DestinationError,
    DestinationSpec,
    IfAbsent,
    IfVersion,
    ObjectInfo,
    ObjectWriter,
    PreconditionFailed,
)
from rivet_core.testing.catalog import proves
from rivet_core.testing.destination.objects import at_once, content, digest, keys, write
from rivet_core.testing.harness import Harness
from rivet_core.testing.suite import not_applicable

PART = "part-000001.parquet"
_THREADS: Final = 8
_ROUNDS: Final = 5
_LARGEST_TRIED: Final = 64 << 20


class ClaimTests:
    """Proof of what ``DestinationSpec.capabilities`` claims."""

    @proves(
        "C-PUT-1",
        breaks="a run would replace a manifest that another one has published meanwhile",
        hint="send the condition with the request (If-None-Match, If-Match, generation), and map every status that "
        "the store has for a lost race to PreconditionFailed",
        capability="conditional_put",
    )
    def test_put_honours_its_condition(
        self, store: Destination, spec: DestinationSpec, harness: Harness, prefix: str
    ) -> None:
        _needs(spec.capabilities.conditional_put, "conditional_put")
        first = store.put("manifest.json", b"1", condition=IfAbsent())
        _refused(store, "manifest.json", IfAbsent())
        assert harness.get(prefix, "manifest.json") == b"1", "put overwrote an object despite IfAbsent"
        second = store.put("manifest.json", b"2", condition=IfVersion(first.version))
        _refused(store, "manifest.json", IfVersion(first.version))
        assert harness.get(prefix, "manifest.json") == b"2", "put overwrote an object despite IfVersion"
        harness.put(prefix, "manifest.json", b"somebody's")
        _refused(store, "manifest.json", IfVersion(second.version))
        store.delete("manifest.json")
        _refused(store, "manifest.json", IfVersion(second.version))
        assert harness.get(prefix, "manifest.json") is None, "put created an object despite IfVersion"

    @proves(
        "C-PUT-2",
        breaks="two runs at once would both believe that they have published",
        hint="the store decides, in the one request that writes: looking first and writing then is no condition",
        capability="conditional_put",
    )
    @pytest.mark.parametrize("condition", ["IfAbsent", "IfVersion"])
    def test_exactly_one_conditional_put_wins(
        self, store: Destination, spec: DestinationSpec, harness: Harness, prefix: str, condition: str
    ) -> None:
        _needs(spec.capabilities.conditional_put, "conditional_put")
        for attempt in range(_ROUNDS):
            key = f"manifest-{attempt}.json"
            at: Condition = IfAbsent()
            if condition == "IfVersion":
                at = IfVersion(store.put(key, b"the old one").version)
            winner = _only_winner(_race_to_put(store, key, at))
            assert harness.get(prefix, key) == b"%d" % winner, "the object is not the winner's"

    @proves(
        "C-PUT-3",
        breaks="Rivet would rely on a condition that the store never saw",
        hint="raise DestinationError for a condition that you cannot pass on, or declare conditional_put",
        capability="conditional_put",
    )
    @pytest.mark.parametrize("condition", ["IfAbsent", "IfVersion"])
    def test_conditions_that_are_not_declared_are_refused(
        self, store: Destination, spec: DestinationSpec, harness: Harness, prefix: str, condition: str
    ) -> None:
        _lacks(spec.capabilities.conditional_put, "conditional_put")
        harness.put(prefix, "taken", b"old")
        at: Condition = IfAbsent() if condition == "IfAbsent" else IfVersion("no-such-version")
        with pytest.raises((DestinationError, NotImplementedError)):
            store.put("taken", b"new", condition=at)
        assert harness.get(prefix, "taken") == b"old", "the condition was ignored"

    @proves(
        "C-WRITE-1",
        breaks="two runs at once would overwrite each other's parts",
        hint="commit creates the object in one request that fails if the key is taken (If-None-Match on the "
        "completion, generation 0, link instead of rename)",
        capability="conditional_writer",
    )
    def test_exactly_one_writer_wins(
        self, store: Destination, spec: DestinationSpec, harness: Harness, prefix: str
    ) -> None:
        _needs(spec.capabilities.conditional_writer, "conditional_writer")
        for attempt in range(_ROUNDS):
            key = f"part-{attempt:06d}.parquet"
            data = [content(200_000, seed=number) for number in range(_THREADS)]
            writers = [store.open_writer(key) for _ in data]
            for writer, piece in zip(writers, data, strict=True):
                writer.write(piece)
            winner = _only_winner(_race_to_commit(writers))
            for writer in writers:
                writer.abort()
            assert digest(harness.get(prefix, key)) == digest(data[winner]), "the object is not the winner's"
        assert list(store.pending_uploads()) == [], "the losers' uploads are still pending"

    @proves(
        "C-WRITE-2",
        breaks="Rivet would overwrite a part that another run has written",
        hint="without conditional_writer look at the key before commit, and refuse one that is taken",
        capability="conditional_writer",
    )
    def test_taken_keys_are_refused_without_the_claim(
        self, store: Destination, spec: DestinationSpec, harness: Harness, prefix: str
    ) -> None:
        _lacks(spec.capabilities.conditional_writer, "conditional_writer")
        with store.open_writer(PART) as writer:
            writer.write(b"ours")
            harness.put(prefix, PART, b"theirs")
            with pytest.raises(DestinationError):
                writer.commit()
        assert harness.get(prefix, PART) == b"theirs", "if_absent was ignored"

    @proves(
        "C-SUM-1",
        breaks="validating would have no checksum to compare, or compare with a wrong one",
        hint="report the declared checksum of the whole object wherever an ObjectInfo of one object is made: put, "
        "commit, copy, head; in list if the store gives it there",
        capability="checksum",
    )
    @pytest.mark.parametrize("size", ["small", "large"])
    def test_declared_checksum_is_there_and_right(
        self, store: Destination, spec: DestinationSpec, harness: Harness, size: str
    ) -> None:
        if spec.capabilities.checksum is None:
            not_applicable("the destination declares no checksum")
        algorithm, _ = spec.capabilities.checksum
        data = content(harness.large_bytes if size == "large" else 1_000)
        written = write(store, PART, [data])
        infos = {"commit": written, "head": store.head(PART), "copy": store.copy(written, "copied")}
        infos |= {"head of the copy": store.head("copied")}
        if size == "small":
            infos["put"] = store.put("put", data)
        expected = _checksum(algorithm, data)
        for place, info in infos.items():
            assert info is not None
            assert info.checksums.get(algorithm) == expected, f"{algorithm} from {place}: {dict(info.checksums)}"
        (listed,) = store.list(PART)
        assert listed.checksums.get(algorithm, expected) == expected, f"{algorithm} from list: {dict(listed.checksums)}"

    @proves(
        "C-SUM-2",
        breaks="Rivet would trust a checksum that no one has declared",
        hint="declare the algorithm in Capabilities.checksum, or leave it out of ObjectInfo.checksums",
        capability="checksum",
    )
    def test_checksums_that_are_not_declared_are_not_given(self, store: Destination, spec: DestinationSpec) -> None:
        _lacks(spec.capabilities.checksum is not None, "checksum")
        infos = [store.put("put", b"x"), write(store, PART, [b"x"]), *store.list()]
        assert [dict(info.checksums) for info in infos if info.checksums] == []

    @proves(
        "C-PEND-1",
        breaks="uploads that a killed run has left would be billed for ever, unseen",
        hint="yield every upload that was begun and neither completed nor aborted, with its relative key, as long as "
        "it is there; nothing else, and none of a sibling prefix",
        capability="pending",
    )
    def test_pending_uploads_are_found_and_aborted(
        self,
        store: Destination,
        open_store: Callable[[str], Destination],
        spec: DestinationSpec,
        harness: Harness,
        prefix: str,
    ) -> None:
        _needs(spec.capabilities.pending == "listed", "pending uploads that can be listed")
        killed = store.open_writer(PART)
        killed.write(content(harness.large_bytes))
        sibling = open_store(f"{prefix}_archive")
        other = sibling.open_writer("part-000002.parquet")
        other.write(content(harness.large_bytes))
        write(store, "finished", [b"x"])
        later = open_store(prefix)
        pending = list(later.pending_uploads())
        assert [upload.key for upload in pending] == [PART]
        assert pending[0].started is None or pending[0].started.tzinfo is not None, "started has no time zone"
        for _ in range(2):  # the second time it is absent, which is fine
            later.abort_upload(pending[0])
        assert list(later.pending_uploads()) == []
        assert [upload.key for upload in sibling.pending_uploads()] == ["part-000002.parquet"]
        with pytest.raises(DestinationError):
            killed.commit()
        assert keys(later) == ["finished"]
        killed.abort()
        other.abort()

    @proves(
        "C-PEND-2",
        breaks="`rivet clean` would report uploads that it cannot remove",
        hint="what a dead writer has left must vanish by itself, unseen until then, as some stores' unfinished uploads "
        "do. Temporary files do not: declare pending='listed' and list them. The harness's list must show them, too",
        capability="pending",
    )
    def test_self_expiring_uploads_leave_nothing(
        self,
        store: Destination,
        open_store: Callable[[str], Destination],
        spec: DestinationSpec,
        harness: Harness,
        prefix: str,
    ) -> None:
        _lacks(spec.capabilities.pending == "listed", "pending uploads that can be listed")
        dead = store.open_writer(PART)
        dead.write(content(harness.large_bytes))
        later = open_store(prefix)
        assert list(later.pending_uploads()) == [], "uploads are listed, so they do not expire by themselves"
        assert list(harness.list(prefix)) == [], "the writer keeps something that nobody would remove if it died now"
        dead.abort()
        assert list(harness.list(prefix)) == [], "an abort has left something behind"

    @proves(
        "C-MAX-1",
        breaks="an export would fail after hours, or lose what is beyond the limit",
        hint="refuse to write beyond max_object_bytes, and accept exactly as much",
        capability="max_object_bytes",
    )
    def test_largest_object_is_the_declared_one(
        self, store: Destination, spec: DestinationSpec, harness: Harness, prefix: str
    ) -> None:
        limit = spec.capabilities.max_object_bytes
        if limit is None or limit > _LARGEST_TRIED:
            not_applicable(f"the destination declares no limit up to {_LARGEST_TRIED} bytes, the largest one tried")
        data = content(limit + 1)
        assert write(store, PART, [data[:limit]]).size_bytes == limit
        with pytest.raises(DestinationError):
            write(store, "larger", [data])
        assert harness.get(prefix, "larger") is None

    @proves(
        "C-ALL-1",
        breaks="a wrong claim would be found by nobody",
        hint="use the values that Capabilities documents",
    )
    def test_claims_are_well_formed(self, spec: DestinationSpec) -> None:
        claimed: Capabilities = spec.capabilities
        assert isinstance(claimed.conditional_put, bool)
        assert isinstance(claimed.conditional_writer, bool)
        assert claimed.pending in ("listed", "self_expiring")
        assert claimed.max_object_bytes is None or claimed.max_object_bytes > 0
        if claimed.checksum is not None:
            algorithm, assurance = claimed.checksum
            assert algorithm == algorithm.lower()
            assert assurance in ("verified", "declared")


def _needs(declared: bool, name: str) -> None:
    if not declared:
        not_applicable(f"the destination does not declare {name}")


def _lacks(declared: bool, name: str) -> None:
    if declared:
        not_applicable(f"the destination declares {name}")


def _refused(store: Destination, key: str, condition: Condition) -> None:
    with pytest.raises(PreconditionFailed):
        store.put(key, b"must not be written", condition=condition)


def _race_to_put(store: Destination, key: str, condition: Condition) -> list[ObjectInfo | Exception]:
    return at_once(_THREADS, lambda number: store.put(key, b"%d" % number, condition=condition))


def _race_to_commit(writers: Sequence[ObjectWriter]) -> list[ObjectInfo | Exception]:
    return at_once(len(writers), lambda number: writers[number].commit())


def _only_winner(results: list[ObjectInfo | Exception]) -> int:
    """Return the number of the one writer that won; all others must have lost by ``PreconditionFailed``."""
    winners = [number for number, result in enumerate(results) if isinstance(result, ObjectInfo)]
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, PreconditionFailed):
            raise result
    assert len(winners) == 1, f"{len(winners)} of {len(results)} writers won"
    return winners[0]


def _checksum(algorithm: str, data: bytes) -> str:
    if algorithm == "crc32c":
        return f"{_crc32c(data):08x}"
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


def _crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720 appendix B.4) by a library, one of which a plugin that declares it has.

    >>> f"{_crc32c(b'123456789'):08x}"
    'e3069283'
    """
    for module, name in (("awscrt.checksums", "crc32c"), ("google_crc32c", "value")):
        with suppress(ImportError):
            return int(getattr(import_module(module), name)(data))
    return _crc32c_slowly(data)


def _crc32c_slowly(data: bytes) -> int:
    """Return the CRC-32C byte by byte from a table: some seconds for a large object.

    >>> f"{_crc32c_slowly(b'123456789'):08x}"
    'e3069283'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC32C[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _crc32c_of_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC32C: Final = [_crc32c_of_byte(byte) for byte in range(256)]
