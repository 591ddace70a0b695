"""A seekable file over ranges."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_core.api.reader import RANGE_BYTES, RangeReader

CONTENT = bytes(range(256)) * 4


def reader(asked: list[tuple[int, int]]) -> RangeReader:
    def fetch(position: int, size: int) -> bytes:
        asked.append((position, size))
        return CONTENT[position : position + min(size, 100)]  # less than was asked for, as some services answer

    return RangeReader(fetch, len(CONTENT))


@given(st.lists(st.tuples(st.integers(-50, 1100), st.integers(0, 2), st.integers(-1, 400)), max_size=8))
def test_it_reads_as_a_file_in_memory_does(steps: list[tuple[int, int, int]]):
    ours, other = io.BufferedReader(reader([]), 64), io.BytesIO(CONTENT)
    for offset, whence, size in steps:
        start = (0, other.tell(), len(CONTENT))[whence]
        if start + offset < 0:
            with pytest.raises(ValueError, match="before the beginning"):
                ours.seek(offset, whence)
        else:
            assert ours.seek(offset, whence) == other.seek(offset, whence)
        assert ours.read(size) == other.read(size)
        assert ours.tell() == other.tell()


def test_nothing_is_asked_for_that_is_not_there():
    asked: list[tuple[int, int]] = []
    with reader(asked) as raw:
        raw.seek(0, io.SEEK_END)
        assert raw.read(10) == b""
        raw.seek(len(CONTENT) - 3)
        assert raw.read(10) == CONTENT[-3:]
    assert asked == [(len(CONTENT) - 3, 3)]
    assert reader([]).readall() == CONTENT


def test_a_large_read_is_several_requests():
    asked: list[int] = []

    def fetch(position: int, size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    with RangeReader(fetch, 2 * RANGE_BYTES + 1) as raw:
        assert len(raw.readall()) == 2 * RANGE_BYTES + 1
    assert max(asked) <= RANGE_BYTES
