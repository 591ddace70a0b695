"""Short forms of what the tests of destinations do again and again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from rivet_core.api import Destination, ObjectInfo

T = TypeVar("T")


def content(size: int, seed: int = 0) -> bytes:
    """Return ``size`` bytes without any pattern, so that no lost, repeated or exchanged piece goes unseen."""
    return random.Random(seed).randbytes(size)  # noqa: S311  data, not a secret


def write(store: Destination, key: str, pieces: Iterable[bytes], *, if_absent: bool = True) -> ObjectInfo:
    """Write an object through a writer, piece by piece."""
    with store.open_writer(key, if_absent=if_absent) as writer:
        for piece in pieces:
            writer.write(piece)
        return writer.commit()


def read(
    store: Destination, key: str, *, offset: int = 0, length: int | None = None, version: str | None = None
) -> bytes:
    """Read an object, or a range of it, to the end."""
    with store.open_reader(key, offset=offset, length=length, version=version) as reader:
        return b"".join(iter(lambda: reader.read(1 << 20), b""))


def keys(store: Destination, prefix: str = "") -> list[str]:
    """Return the keys that ``list`` yields, sorted."""
    return sorted(info.key for info in store.list(prefix))


def digest(data: bytes | None) -> str:
    """Describe an object's bytes in a few words: two of them differ if the bytes do, and a failure stays readable.

    >>> digest(None), digest(b"abc")
    ('absent', '3 bytes, sha256 ba7816bf8f01')
    """
    import hashlib

    return "absent" if data is None else f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:12]}"


def at_once(count: int, action: Callable[[int], T]) -> list[T | Exception]:
    """Call ``action`` from ``count`` threads that start together; return each one's result or exception."""
    barrier = Barrier(count)

    def run(number: int) -> T | Exception:
        barrier.wait()
        try:
            return action(number)
        except Exception as error:  # noqa: BLE001  the caller looks at it
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
