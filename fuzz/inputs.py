"""Reads the parameters of a case from the first bytes of an input, so that the fuzzer chooses them, too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random


class Reader:
    """Takes numbers from the front of some bytes; zeros, when there are none left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """Return the next byte."""
        value = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return value

    def below(self, bound: int) -> int:
        """Return a number under ``bound``, of one byte."""
        return self.byte() % bound

    @property
    def at_end(self) -> bool:
        """Whether only zeros are left."""
        return self._at >= len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        taken = self._data[self._at : self._at + size].ljust(size, b"\0")
        self._at += size
        return taken

    def rest(self) -> bytes:
        """Return what has not been taken."""
        return self._data[self._at :]


class Writer:
    """Writes what ``Reader`` reads, for seeds."""

    def __init__(self) -> None:
        self.data = bytearray()

    def byte(self, value: int) -> None:
        """Append one byte."""
        self.data.append(value)


def random_cuts(size: int, seed: int) -> list[int]:
    """Return places to cut ``size`` bytes at, the same for the same arguments."""
    random = Random(seed)
    return sorted(random.randint(0, size) for _ in range(random.randint(1, 6)))


def every_cut(size: int, most: int) -> list[list[int]]:
    """Return cuts into two at every place, or at ``most`` of them evenly, and one into single bytes."""
    step = max(1, size // most)
    return [[place] for place in range(0, size + 1, step)] + [list(range(1, size, step))]


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return the data cut at these places, which ascend."""
    return [data[low:high] for low, high in pairwise([0, *cuts, len(data)])]
