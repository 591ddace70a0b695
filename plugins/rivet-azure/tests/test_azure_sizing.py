"""How an upload is cut, within the limits of the service and the memory that it may take."""

from __future__ import annotations

import doctest
import importlib

import pytest

from rivet_azure.sizing import Sizing

LARGEST_BLOCK = 4000 << 20
BLOCKS = 50_000


@pytest.mark.parametrize("module", ["sizing", "container"])
def test_the_examples_in_the_code_run(module: str) -> None:
    failed, attempted = doctest.testmod(importlib.import_module(f"rivet_azure.{module}"))
    assert attempted
    assert not failed


@pytest.mark.parametrize("upload_bytes", [12_000_000, 16_000_000, 48_000_000, 100_000_000, 1_000_000_000])
@pytest.mark.parametrize("concurrency", [1, 4, 64])
def test_the_default_fits_its_share_of_memory(upload_bytes: int, concurrency: int) -> None:
    sizing = Sizing.of(upload_bytes, concurrency, None)
    assert sizing.buffer_bytes <= max(upload_bytes, 3 * (4 << 20))
    assert sizing.in_flight_bytes <= concurrency * sizing.block_bytes


@pytest.mark.parametrize("part_bytes", [1 << 20, 16 << 20, LARGEST_BLOCK])
def test_a_configured_size_is_kept_and_lowers_what_is_in_flight(part_bytes: int) -> None:
    sizing = Sizing.of(48_000_000, 4, part_bytes)
    assert sizing.block(1) == part_bytes
    assert sizing.in_flight_bytes == part_bytes * max(1, min(4, 48_000_000 // part_bytes - 2))


def test_no_block_is_larger_than_the_service_takes_and_all_of_them_hold_a_table() -> None:
    for sizing in (Sizing.of(48_000_000, 4, None), Sizing.of(48_000_000, 4, LARGEST_BLOCK)):
        sizes = [sizing.block(number) for number in range(1, BLOCKS + 1)]
        assert max(sizes) <= LARGEST_BLOCK
        assert sizes == sorted(sizes)
        assert sum(sizes) > 1 << 40
