from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivet_core.api.errors import InvalidKey
from rivet_core.contract.keys import (
    MAX_PART_NUMBER,
    PartName,
    check_key,
    highest_part_number,
    is_manifest_copy,
    make_run_id,
    manifest_copy_key,
    parse_part_name,
    part_name,
    quarantine_key,
    safe_run_id,
)


@pytest.mark.parametrize(
    "key",
    [
        "part-000001.parquet",
        "2026/11/part-000001.parquet",
        "_quarantine/run/part-000001.parquet",
        "..hidden/...",
        "größe €/日本語 🙂.csv",
        "x" * 200,
        "/".join(["x" * 200] * 4 + ["x" * 96]),
    ],
)
def test_plain_relative_paths_pass(key: str) -> None:
    check_key(key)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty segment"),
        ("/etc/passwd", "absolute"),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        (".", "'.' segment"),
        ("a/./b", "'.' segment"),
        ("..", "'..' segment"),
        ("a/../../b", "'..' segment"),
        ("a\\b", "backslash"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\x85", "control character"),
        ("a\ud800", "Unicode"),
        ("x" * 201, "segment of more than 200 bytes"),
        ("é" * 101, "segment of more than 200 bytes"),
        ("/".join(["x" * 180] * 5), "longer than 900 bytes"),
    ],
)
def test_every_other_key_is_refused_with_its_reason(key: str, why: str) -> None:
    with pytest.raises(InvalidKey, match=why):
        check_key(key)


def test_a_refusal_is_short_and_printable_however_hostile_the_key() -> None:
    with pytest.raises(InvalidKey) as caught:
        check_key("\x1b[2J" + "x" * 100_000)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("number", "roll", "suffix", "key"),
    [
        (1, 1, "parquet", "part-000001.parquet"),
        (41, 2, "csv", "part-000041-02.csv"),
        (999_999, 99, "parquet", "part-999999-99.parquet"),
        (1_000_000, 100, "parquet", "part-1000000-100.parquet"),
        (7, 1, "jsonl.gz", "part-000007.jsonl.gz"),
    ],
)
def test_part_names_are_written_and_read(number: int, roll: int, suffix: str, key: str) -> None:
    assert part_name(number, suffix, roll) == key
    assert parse_part_name(key) == PartName(number, roll, suffix)


@settings(deadline=None)  # shared machines pause
@given(
    st.integers(1, MAX_PART_NUMBER),
    st.integers(1, 999_999_999),
    st.from_regex(r"[a-z][a-z0-9]{0,9}(\.(gz|zst))?", fullmatch=True),
)
def test_every_part_name_is_a_valid_key_that_reads_back(number: int, roll: int, suffix: str) -> None:
    key = part_name(number, suffix, roll)
    check_key(key)
    assert parse_part_name(key) == PartName(number, roll, suffix)


@pytest.mark.parametrize(
    "key",
    [
        "part-000000.parquet",
        "part-00001.parquet",
        "part-0000001.parquet",
        "part-000001-01.parquet",
        "part-000001-2.parquet",
        "part-000001-002.parquet",
        "part-000001",
        "part-000001.",
        "part-000001.PARQUET",
        "part-000001.parquet.bak",
        "part-000001.parquet\n",
        "part-٠٠٠٠٠١.parquet",
        "part-1234567890123456789.parquet",
        "sub/part-000001.parquet",
        "_quarantine/run/part-000001.parquet",
        "xpart-000001.parquet",
        "part-00000-9c4f-c000.snappy.parquet",
    ],
)
def test_names_that_we_would_not_write_are_not_ours(key: str) -> None:
    assert parse_part_name(key) is None


@pytest.mark.parametrize(
    ("number", "roll", "suffix"),
    [(0, 1, "csv"), (10**18, 1, "csv"), (1, 0, "csv"), (1, 1, ""), (1, 1, "a/b"), (1, 1, "parquet.bak"), (1, 1, "2")],
)
def test_a_part_name_that_could_not_be_read_back_is_not_written(number: int, roll: int, suffix: str) -> None:
    with pytest.raises(ValueError, match=r"part number|roll|suffix"):
        part_name(number, suffix, roll)


def test_run_ids_become_safe_for_keys() -> None:
    assert safe_run_id("orders_20261122T172100.123_9f3a") == "orders_20261122T172100.123_9f3a"
    assert safe_run_id("größe/a b:c") == "gr--e-a-b-c"
    assert manifest_copy_key("a/b") == "manifest-a-b.json"
    with pytest.raises(InvalidKey):
        manifest_copy_key("x" * 300)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("manifest-orders_1.json", True),
        ("manifest.json", False),
        ("manifest-.json", False),
        ("manifest-a b.json", False),
        ("manifest-a.json\n", False),
        ("sub/manifest-a.json", False),
    ],
)
def test_immutable_manifests_are_told_by_their_names(key: str, expected: bool) -> None:
    assert is_manifest_copy(key) is expected


def test_quarantine_never_reuses_a_taken_name() -> None:
    taken: set[str] = set()
    for _ in range(3):
        taken.add(quarantine_key("run 1", "part-000001.parquet", taken))
    assert taken == {
        "_quarantine/run-1/part-000001.parquet",
        "_quarantine/run-1/part-000001.parquet.2",
        "_quarantine/run-1/part-000001.parquet.3",
    }


def test_quarantine_cannot_be_left() -> None:
    with pytest.raises(InvalidKey):
        quarantine_key("..", "part-000001.parquet", ())


def test_numbers_start_above_every_part_ever_seen_quarantine_included() -> None:
    assert highest_part_number([]) == 0
    assert highest_part_number(["_SUCCESS", "manifest.json", "README", "sub/part-000900.parquet"]) == 0
    assert highest_part_number(["part-000003.parquet", "part-000005-04.csv"]) == 5
    assert highest_part_number(["part-000003.parquet", "_quarantine/run/part-000007.parquet"]) == 7
    assert highest_part_number(["_quarantine/run/part-000008-02.parquet.3", "part-000003.parquet"]) == 8


def test_a_stranger_cannot_use_up_the_numbers() -> None:
    assert highest_part_number(["part-000003.parquet", f"part-{MAX_PART_NUMBER}.parquet"]) == 3


def test_run_id_holds_export_utc_time_and_entropy() -> None:
    at = datetime(2026, 11, 22, 19, 21, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    assert make_run_id("orders", at, b"\x9f\x3a") == "orders_20261122T172100.123_9f3a"


def test_every_key_made_of_a_run_id_is_valid_whatever_the_export_is_called() -> None:
    run_id = make_run_id("größe 🙂/" * 100, datetime(2026, 1, 1, tzinfo=UTC), bytes(8))
    assert is_manifest_copy(manifest_copy_key(run_id))
    check_key(quarantine_key(run_id, part_name(1, "parquet"), ()))


def test_a_run_id_needs_a_time_zone_and_entropy() -> None:
    with pytest.raises(ValueError, match="time zone"):
        make_run_id("orders", datetime(2026, 1, 1), b"ab")
    with pytest.raises(ValueError, match="random bytes"):
        make_run_id("orders", datetime(2026, 1, 1, tzinfo=UTC), b"")
