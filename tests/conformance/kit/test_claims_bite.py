"""The proofs of claims accept a destination that keeps its word, and refuse one that does not."""

from __future__ import annotations

import base64
import doctest
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rivet_core.api import (
    Capabilities,
    Condition,
    DestinationError,
    DestinationSpec,
    ObjectInfo,
    PendingUpload,
    PreconditionFailed,
    StorageFull,
)
from rivet_core.testing import Harness
from rivet_core.testing.destination import claims as claims_module
from rivet_core.testing.destination.claims import ClaimTests
from rivet_core.testing.suite import NotApplicable
from rivet_local.destination import LocalDestination
from rivet_local.objects import LocalWriter

PREFIX = "kit/orders"
LIMIT = 1000
BROKEN = (AssertionError, pytest.fail.Exception)


def spec_of(**claims: Any) -> DestinationSpec:
    return DestinationSpec("local", "store", "-", "a:b", "a:b", Capabilities(**claims))


@pytest.fixture
def prove(tmp_path: Path) -> Callable[..., None]:
    """Run one test of the kit against a destination of this class with these claims."""

    def run(test: Callable[..., None], store: type[LocalDestination], claims: dict[str, Any], *arguments: str) -> None:
        harness = Harness(
            config=lambda prefix: {"path": str(tmp_path / prefix)},
            get=lambda prefix, key: path.read_bytes() if (path := tmp_path / prefix / key).is_file() else None,
            put=lambda prefix, key, data: (tmp_path / prefix / key).write_bytes(data),
            list=lambda prefix: [path.name for path in (tmp_path / prefix).rglob("*") if path.is_file()],
            delete=lambda prefix, key: (tmp_path / prefix / key).unlink(),
            large_bytes=100_000,
        )
        (tmp_path / PREFIX).mkdir(parents=True)
        opened = {name: store(tmp_path / name) for name in (PREFIX, f"{PREFIX}_archive")}
        known = {
            "store": opened[PREFIX],
            "open_store": opened.__getitem__,
            "spec": spec_of(**claims),
            "harness": harness,
            "prefix": PREFIX,
            "condition": arguments[0] if arguments else "",
            "size": arguments[0] if arguments else "",
        }
        wanted = test.__code__.co_varnames[1 : test.__code__.co_argcount]
        test(ClaimTests(), **{name: known[name] for name in wanted})

    return run


class Md5(LocalDestination):
    """Keeps the MD5 of every object."""

    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        return self._with(super().put(key, data, condition=condition))

    def open_writer(self, key: str, *, if_absent: bool = True) -> LocalWriter:
        writer, commit = super().open_writer(key, if_absent=if_absent), LocalWriter.commit
        writer.commit = lambda: self._with(commit(writer))  # type: ignore[method-assign]
        return writer

    def head(self, key: str) -> ObjectInfo | None:
        info = super().head(key)
        return info and self._with(info)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return map(self._with, super().list(prefix))

    def digest(self, data: bytes) -> str:
        return hashlib.md5(data).hexdigest()

    def _with(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, checksums={"md5": self.digest(Path(self._shown(info.key)).read_bytes())})


class Md5InBase64(Md5):
    def digest(self, data: bytes) -> str:
        return base64.b64encode(hashlib.md5(data).digest()).decode()


class Md5OfTheFirstPiece(Md5):
    def digest(self, data: bytes) -> str:
        return hashlib.md5(data[:5000]).hexdigest()


class Md5NotInListings(Md5):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return LocalDestination.list(self, prefix)


class Md5NotAfterCopying(Md5):
    def copy(self, source: ObjectInfo, target: str) -> ObjectInfo:
        return replace(super().copy(source, target), checksums={})


MD5 = {"checksum": ("md5", "verified")}


@pytest.mark.parametrize("store", [Md5, Md5NotInListings])
@pytest.mark.parametrize("size", ["small", "large"])
def test_a_checksum_that_is_declared_must_be_there_and_right(prove, store, size):
    prove(ClaimTests.test_declared_checksum_is_there_and_right, store, MD5, size)


@pytest.mark.parametrize("function", ["_crc32c", "_crc32c_slowly"])
def test_the_witness_of_crc32c_knows_the_standard_s_example(function):
    (example,) = doctest.DocTestFinder().find(getattr(claims_module, function), module=claims_module)
    assert doctest.DocTestRunner().run(example) == doctest.TestResults(failed=0, attempted=1)


@pytest.mark.parametrize(
    ("store", "size", "why"),
    [
        (LocalDestination, "small", "md5 from commit"),
        (Md5InBase64, "small", "md5 from commit"),
        (Md5OfTheFirstPiece, "large", "md5 from commit"),
        (Md5NotAfterCopying, "small", "md5 from copy"),
    ],
)
def test_a_checksum_that_is_missing_or_wrong_is_found(prove, store, size, why):
    with pytest.raises(AssertionError, match=why):
        prove(ClaimTests.test_declared_checksum_is_there_and_right, store, MD5, size)


def test_a_checksum_that_is_not_declared_is_found(prove):
    with pytest.raises(AssertionError):
        prove(ClaimTests.test_checksums_that_are_not_declared_are_not_given, Md5, {})


class RefusesConditions(LocalDestination):
    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        if condition is not None:
            raise DestinationError("this store knows no conditions")
        return super().put(key, data)


class IgnoresConditions(LocalDestination):
    def put(self, key: str, data: bytes, *, condition: Condition | None = None) -> ObjectInfo:
        return super().put(key, data)


@pytest.mark.parametrize("condition", ["IfAbsent", "IfVersion"])
def test_conditions_without_the_claim_are_refused_and_not_ignored(prove, condition):
    prove(ClaimTests.test_conditions_that_are_not_declared_are_refused, RefusesConditions, {}, condition)


@pytest.mark.parametrize("condition", ["IfAbsent", "IfVersion"])
def test_conditions_that_are_ignored_are_found(prove, condition):
    with pytest.raises(BROKEN):
        prove(ClaimTests.test_conditions_that_are_not_declared_are_refused, IgnoresConditions, {}, condition)


def test_a_claim_that_is_ignored_is_found(prove):
    with pytest.raises(BROKEN):
        prove(ClaimTests.test_put_honours_its_condition, IgnoresConditions, {"conditional_put": True})


class LooksFirst(LocalDestination):
    """Looks at the key and then replaces it: no race is safe, and what is there already is."""

    def open_writer(self, key: str, *, if_absent: bool = True) -> LocalWriter:
        writer, commit = super().open_writer(key, if_absent=False), LocalWriter.commit

        def look_and_commit() -> ObjectInfo:
            if if_absent and self.head(key):
                raise PreconditionFailed(f"{key} is taken")
            return commit(writer)

        writer.commit = look_and_commit  # type: ignore[method-assign]
        return writer


class NeverLooks(LocalDestination):
    def open_writer(self, key: str, *, if_absent: bool = True) -> LocalWriter:
        return super().open_writer(key, if_absent=False)


def test_a_writer_without_the_claim_looks_at_least(prove):
    prove(ClaimTests.test_taken_keys_are_refused_without_the_claim, LooksFirst, {})


def test_a_writer_that_overwrites_is_found(prove):
    with pytest.raises(BROKEN):
        prove(ClaimTests.test_taken_keys_are_refused_without_the_claim, NeverLooks, {})


class ListsNothing(LocalDestination):
    def pending_uploads(self) -> Iterator[PendingUpload]:
        return iter(())


class ListsFullKeys(LocalDestination):
    def pending_uploads(self) -> Iterator[PendingUpload]:
        return (replace(upload, key=f"{PREFIX}/{upload.key}") for upload in super().pending_uploads())


class ListsSiblings(LocalDestination):
    def pending_uploads(self) -> Iterator[PendingUpload]:
        yield from super().pending_uploads()
        yield from LocalDestination(Path(f"{self._tree.root}_archive")).pending_uploads()


class AbortsNothing(LocalDestination):
    def abort_upload(self, upload: PendingUpload) -> None:
        pass


def test_pending_uploads_that_are_listed_pass(prove):
    prove(ClaimTests.test_pending_uploads_are_found_and_aborted, LocalDestination, {"pending": "listed"})


@pytest.mark.parametrize("store", [ListsNothing, ListsFullKeys, ListsSiblings, AbortsNothing])
def test_pending_uploads_that_are_wrong_are_found(prove, store):
    with pytest.raises(BROKEN):
        prove(ClaimTests.test_pending_uploads_are_found_and_aborted, store, {"pending": "listed"})


class LeavesNothing(LocalDestination):
    """Keeps what is not committed in memory, so that it goes with the process."""

    def open_writer(self, key: str, *, if_absent: bool = True) -> Any:
        return _MemoryWriter(lambda data: self.put(key, data))

    def pending_uploads(self) -> Iterator[PendingUpload]:
        return iter(())


class _MemoryWriter(io.BytesIO):
    def __init__(self, put: Callable[[bytes], ObjectInfo]) -> None:
        super().__init__()
        self.put = put

    def commit(self) -> ObjectInfo:
        return self.put(self.getvalue())

    def abort(self) -> None:
        self.close()


def test_uploads_that_expire_by_themselves_pass(prove):
    prove(ClaimTests.test_self_expiring_uploads_leave_nothing, LeavesNothing, {"pending": "self_expiring"})


@pytest.mark.parametrize(
    ("store", "why"), [(LocalDestination, "uploads are listed"), (ListsNothing, "nobody would remove")]
)
def test_uploads_that_do_not_expire_by_themselves_are_found(prove, store, why):
    with pytest.raises(AssertionError, match=why):
        prove(ClaimTests.test_self_expiring_uploads_leave_nothing, store, {"pending": "self_expiring"})


class _LimitedWriter(LocalWriter):
    written = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        self.written += len(data)
        if self.written > LIMIT:
            raise StorageFull("larger than this store takes")
        return super().write(data)


class Limited(LocalDestination):
    def open_writer(self, key: str, *, if_absent: bool = True) -> LocalWriter:
        writer = super().open_writer(key, if_absent=if_absent)
        writer.__class__ = _LimitedWriter
        return writer


def test_the_largest_object_is_the_declared_one(prove):
    prove(ClaimTests.test_largest_object_is_the_declared_one, Limited, {"max_object_bytes": LIMIT})


@pytest.mark.parametrize(("store", "limit"), [(LocalDestination, LIMIT), (Limited, LIMIT + 1)])
def test_a_wrong_limit_is_found(prove, store, limit):
    with pytest.raises((*BROKEN, StorageFull)):
        prove(ClaimTests.test_largest_object_is_the_declared_one, store, {"max_object_bytes": limit})


@pytest.mark.parametrize(
    ("test", "claims"),
    [
        (ClaimTests.test_put_honours_its_condition, {}),
        (ClaimTests.test_conditions_that_are_not_declared_are_refused, {"conditional_put": True}),
        (ClaimTests.test_exactly_one_writer_wins, {}),
        (ClaimTests.test_taken_keys_are_refused_without_the_claim, {"conditional_writer": True}),
        (ClaimTests.test_declared_checksum_is_there_and_right, {}),
        (ClaimTests.test_checksums_that_are_not_declared_are_not_given, MD5),
        (ClaimTests.test_pending_uploads_are_found_and_aborted, {"pending": "self_expiring"}),
        (ClaimTests.test_self_expiring_uploads_leave_nothing, {"pending": "listed"}),
        (ClaimTests.test_largest_object_is_the_declared_one, {}),
    ],
)
def test_a_claim_is_proven_where_it_is_made_and_refused_where_it_is_not(prove, test, claims):
    with pytest.raises(NotApplicable):
        prove(test, LocalDestination, claims, "IfAbsent")
