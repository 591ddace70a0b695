"""Netting: what is left over of two sides is what a multiset says, in memory or beyond it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from rivet_core.engine.comparing.netting import Netting

ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=120)


def record(row: tuple[int, int]) -> bytes:
    return b"".join(xxh3_128_digest(str(part).encode()) for part in (row[0], row))


@settings(deadline=None, max_examples=60)
@given(first=ROWS, second=ROWS, most=st.sampled_from([1, 7, 10_000]), piece=st.integers(1, 50))
def test_the_differences_are_those_of_two_multisets(
    first: list[tuple[int, int]], second: list[tuple[int, int]], most: int, piece: int
):
    with Netting(most) as netting:
        for start in range(0, max(len(first), len(second)), piece):
            netting.add(map(record, first[start : start + piece]), 1)
            netting.add(map(record, second[start : start + piece]), -1)
        found = netting.differences()
    left, right = Counter(first) - Counter(second), Counter(second) - Counter(first)
    expected = Counter()
    for key in {row[0] for row in (*left, *right)}:
        ours = sum(count for row, count in left.items() if row[0] == key)
        theirs = sum(count for row, count in right.items() if row[0] == key)
        expected += Counter(
            changed=min(ours, theirs), missing=ours - min(ours, theirs), extra=theirs - min(ours, theirs)
        )
    assert Counter(missing=found.missing, extra=found.extra, changed=found.changed) == expected
    assert bool(found) == bool(expected)
    for kind, keys in found.examples.items():
        assert len(keys) <= 10
        assert bool(keys) == bool(expected[kind])


def test_files_without_names_hold_what_does_not_fit(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Netting(10) as netting:
        netting.add((record((number, 0)) for number in range(1000)), 1)
        assert len(netting._open) == 0
        netting.add((record((number, 0)) for number in range(999, 0, -1)), -1)
        assert list(tmp_path.iterdir()) == []
        found = netting.differences()
    assert (found.missing, found.extra, found.changed) == (1, 0, 0)
