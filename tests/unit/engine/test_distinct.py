"""Distinct values, counted in bounded memory: equal to a set of Python's, whatever was written to disk."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rivet_core.api import StorageFull
from rivet_core.engine.gates.distinct import KeySet, SpillFile, is_comparable, keys_of

SMALL = 4096


@pytest.fixture
def spill() -> Iterator[SpillFile]:
    file = SpillFile()
    yield file
    file.close()


def distinct(spill: SpillFile, array: pa.Array, *, limit: int = SMALL, batch: int = 500) -> int:
    keys = KeySet(spill, limit)
    for start in range(0, len(array), batch):
        keys.add(keys_of(array.slice(start, batch)))
    assert keys.added == len(array) - array.null_count
    return keys.count_distinct()


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, 2, 2, None, -1, 2**63 - 1, -(2**63)], pa.int64()),
        pa.array([0, 2**64 - 1, 2**64 - 1], pa.uint64()),
        pa.array([-1, 255 - 256, 7, None], pa.int8()),
        pa.array([True, False, True, None]),
        pa.array([date(2026, 1, 1), date(1900, 1, 1), None, date(1900, 1, 1)]),
        pa.array([timedelta(seconds=1), timedelta(seconds=1), timedelta(0)], pa.duration("us")),
        pa.array([datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 1)] * 2, pa.timestamp("us", "UTC")),
        pa.array([Decimal("1.10"), Decimal("-1.10"), Decimal("1.10"), None], pa.decimal128(38, 2)),
        pa.array([Decimal("1.10"), Decimal("1.10"), None], pa.decimal256(60, 2)),
        pa.array(["", "a", "a", None, "ä" * 1000]),
        pa.array([b"", b"\0", b"\0\0", b"\0"], pa.large_binary()),
        pa.array([UUID(int=1).bytes, UUID(int=1).bytes, UUID(int=2).bytes], pa.uuid()),
        pa.array(["x", "y", "x", None]).dictionary_encode(),
        pa.array([None, None]),
    ],
    ids=lambda array: str(array.type),
)
def test_every_type_is_counted_as_python_does(spill: SpillFile, array: pa.Array):
    expected = {value for value in array.to_pylist() if value is not None}
    assert distinct(spill, array) == len(expected)
    assert distinct(spill, array.slice(1)) == len({value for value in array.to_pylist()[1:] if value is not None})


def test_zeros_of_both_signs_are_equal_and_so_are_all_nan(spill: SpillFile):
    assert distinct(spill, pa.array([0.0, -0.0, float("nan"), -float("nan"), 1.5, None])) == 3


def test_lists_and_structs_cannot_be_compared():
    assert not is_comparable(pa.list_(pa.int64()))
    assert not is_comparable(pa.struct([("a", pa.int64())]))
    assert not is_comparable(pa.month_day_nano_interval())
    assert is_comparable(pa.json_())


@pytest.mark.parametrize("kind", ["ordered", "multiples", "random", "text", "decimal"])
def test_what_does_not_fit_is_counted_from_the_file(spill: SpillFile, kind: str):
    generator = random.Random(kind)
    count = 120_000  # partitions of partitions: 64 of them are larger than the limit each
    numbers = {
        "ordered": list(range(count)),
        "multiples": [number * 1024 for number in range(count)],
        "random": [generator.randrange(-(2**62), 2**62) for _ in range(count)],
    }.get(kind, list(range(count)))
    repeated = numbers + generator.sample(numbers, 321)
    generator.shuffle(repeated)
    array: pa.Array = pa.array(repeated, pa.int64())
    if kind == "text":
        array = array.cast(pa.string())
    if kind == "decimal":
        array = array.cast(pa.decimal128(20, 0))
    assert distinct(spill, array, batch=10_000) == len(set(numbers))
    assert spill.size_bytes > array.nbytes  # written more than once


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.one_of(
        st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=300),
        st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=300),
        st.lists(st.one_of(st.none(), st.floats(width=32, allow_nan=False)), min_size=1, max_size=300),
        st.lists(st.one_of(st.none(), st.binary(min_size=16, max_size=16)), min_size=1, max_size=300),
    ),
    limit=st.sampled_from([8, 64, 1000, 100_000]),
    batch=st.integers(1, 100),
)
def test_any_values_in_any_batches(spill: SpillFile, values: list[Any], limit: int, batch: int):
    array = pa.array(values)
    assert distinct(spill, array, limit=limit, batch=batch) == len({value for value in values if value is not None})


def test_few_values_stay_in_memory_however_many_rows_there_are(spill: SpillFile):
    array = pa.array([f"status {number % 7}" for number in range(50_000)])
    assert distinct(spill, array) == 7
    assert spill.size_bytes == 0


def test_one_value_that_fills_a_partition_ends(spill: SpillFile):
    array = pa.array([*range(3000), *[5] * 50_000])
    assert distinct(spill, array) == 3000


def test_sets_of_several_attempts_are_one(spill: SpillFile):
    total = KeySet(spill, SMALL)
    for start in (0, 4000, 8000):
        part = KeySet(spill, SMALL)
        part.add(keys_of(pa.array(range(start, start + 5000))))
        total.merge(part)
    assert total.added == 15_000
    assert total.count_distinct() == 13_000


def test_the_file_has_no_name(spill: SpillFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    distinct(spill, pa.array(range(5000)))
    assert spill.size_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_one_clear_error(spill: SpillFile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(StorageFull, match="unique columns cannot write to /nonexistent"):
        distinct(spill, pa.array(range(5000)))
