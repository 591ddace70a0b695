"""The key layout of a prefix: how its objects are named, and which keys are refused."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rivet_core.api.errors import InvalidKey

MANIFEST: Final = "manifest.json"
SUCCESS: Final = "_SUCCESS"
QUARANTINE: Final = "_quarantine/"

#: The longest segment in UTF-8 bytes. Local file systems end at 255; the rest is for a writer's temporary name.
MAX_SEGMENT_BYTES: Final = 200
#: The longest key in UTF-8 bytes. Object stores end at 1024, which their own prefix shares.
MAX_KEY_BYTES: Final = 900
#: The largest part number: 18 digits, so that it fits a signed 64-bit column.
MAX_PART_NUMBER: Final = 10**18 - 1

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_MANIFEST_COPY = re.compile(r"manifest-[A-Za-z0-9._-]+\.json")
# A second piece is allowed for a codec only: `part-000001.parquet.bak` is somebody's own file, never ours.
_SUFFIX = r"[a-z][a-z0-9]*(?:\.(?:bz2|gz|lz4|snappy|xz|zst))?"
_PART_NAME = re.compile(rf"part-(?P<number>[0-9]{{6,18}})(?:-(?P<roll>[0-9]{{2,9}}))?\.(?P<suffix>{_SUFFIX})")
_TAKEN_SUFFIX = re.compile(r"\.[0-9]+\Z")
_LONGEST_RUN_ID_STEM = 120
# Numbers count up from 1, so a higher one is a stranger's; counting on from it would soon run out of numbers.
_HIGHEST_COUNTED_NUMBER = 10**15


@dataclass(frozen=True)
class PartName:
    """The pieces of a part's name.

    Attributes:
        number: the reserved number, from 1.
        roll: 1 for the first file of that number, 2 and more for its successors under ``max_file_size``.
        suffix: the format's suffix without the dot.
    """

    number: int
    roll: int
    suffix: str


def check_key(key: str) -> None:
    """Refuse a key that is not a plain relative POSIX path within the length limits.

    Raises:
        InvalidKey: ``key`` is absolute, has an empty, ``.`` or ``..`` segment, a backslash, a control character
            (NUL included) or a lone surrogate, or is too long.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise _refused(key, "is no valid Unicode text") from None
    if len(encoded) > MAX_KEY_BYTES:
        raise _refused(key, f"is longer than {MAX_KEY_BYTES} bytes")
    if key.startswith("/"):
        raise _refused(key, "is absolute")
    if "\\" in key:
        raise _refused(key, "has a backslash")
    if _CONTROL.search(key):
        raise _refused(key, "has a control character")
    for segment in encoded.split(b"/"):
        if not segment:
            raise _refused(key, "has an empty segment")
        if segment in {b".", b".."}:
            raise _refused(key, f"has a {segment.decode()!r} segment")
        if len(segment) > MAX_SEGMENT_BYTES:
            raise _refused(key, f"has a segment of more than {MAX_SEGMENT_BYTES} bytes")


def _refused(key: str, why: str) -> InvalidKey:
    shown = key if len(key) <= 100 else f"{key[:100]}…"
    return InvalidKey(
        f"the key {shown!r} {why}",
        hint="keys are relative paths such as part-000001.parquet or 2026/part-000001.parquet",
    )


def part_name(number: int, suffix: str, roll: int = 1) -> str:
    """Return the key of a part, such as ``part-000001.parquet`` or, rolled over, ``part-000001-02.parquet``.

    Raises:
        ValueError: a number out of range, or a suffix that could not be parsed back.
    """
    if not 1 <= number <= MAX_PART_NUMBER:
        raise ValueError(f"part number {number} is not between 1 and {MAX_PART_NUMBER}")
    if not 1 <= roll <= 999_999_999:
        raise ValueError(f"roll {roll} is not between 1 and 999999999")
    if not re.fullmatch(_SUFFIX, suffix):
        raise ValueError(f"suffix {suffix!r} is not lower-case letters and digits with at most a codec after a dot")
    successor = f"-{roll:02d}" if roll > 1 else ""
    return f"part-{number:06d}{successor}.{suffix}"


def parse_part_name(key: str) -> PartName | None:
    """Return the pieces of a key that ``part_name`` could have made, or ``None``: such a key is not ours."""
    found = _PART_NAME.fullmatch(key)
    if found is None:
        return None
    name = PartName(int(found["number"]), int(found["roll"] or 1), found["suffix"])
    canonical = name.number >= 1 and name.roll >= 1 and part_name(name.number, name.suffix, name.roll) == key
    return name if canonical else None


def safe_run_id(run_id: str) -> str:
    """Return ``run_id`` with every character outside ``A-Z a-z 0-9 . _ -`` replaced by ``-``, for use in keys."""
    return _UNSAFE.sub("-", run_id)


def manifest_copy_key(run_id: str) -> str:
    """Return the key of the run's immutable manifest.

    Raises:
        InvalidKey: the run id is too long.
    """
    key = f"manifest-{safe_run_id(run_id)}.json"
    check_key(key)
    return key


def is_manifest_copy(key: str) -> bool:
    """Say whether ``key`` is the name of an immutable manifest."""
    return _MANIFEST_COPY.fullmatch(key) is not None


def quarantine_key(run_id: str, key: str, taken: Container[str]) -> str:
    """Return where the run ``run_id`` moves ``key`` aside: a key under ``_quarantine/`` that is not in ``taken``.

    Raises:
        InvalidKey: the resulting key is too long, or ``run_id`` is no name.
    """
    wanted = f"{QUARANTINE}{safe_run_id(run_id)}/{key}"
    free, copy = wanted, 1
    while free in taken:
        copy += 1
        free = f"{wanted}.{copy}"
    check_key(free)
    return free


def highest_part_number(keys: Iterable[str]) -> int:
    """Return the highest number of any part among ``keys``, quarantined ones included; 0 if there is none.

    Numbers that counting never reaches are passed over: one such object must not leave the next run without a number.
    """
    return max((number for number in map(_number, keys) if number <= _HIGHEST_COUNTED_NUMBER), default=0)


def _number(key: str) -> int:
    if key.startswith(QUARANTINE):
        _, _, key = key.removeprefix(QUARANTINE).partition("/")
        key = _TAKEN_SUFFIX.sub("", key)
    name = parse_part_name(key)
    return name.number if name else 0


def make_run_id(export: str, at: datetime, entropy: bytes) -> str:
    """Return a run id such as ``orders_20261122T172100.123_9f3a``.

    Args:
        export: name of the export; made safe for keys, and shortened so that every key made of the run id is valid.
        at: the run's start, timezone-aware.
        entropy: two to eight random bytes; they keep apart runs that start in one millisecond.

    Raises:
        ValueError: a naive time, or too little or too much entropy.
    """
    if at.tzinfo is None:
        raise ValueError("the start of a run needs a time zone")
    if not 2 <= len(entropy) <= 8:
        raise ValueError("a run id takes two to eight random bytes")
    moment = at.astimezone(UTC)
    stem = safe_run_id(export)[:_LONGEST_RUN_ID_STEM]
    return f"{stem}_{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}_{entropy.hex()}"


def is_control(key: str) -> bool:
    """Say whether a key belongs to the contract itself: the marker, a manifest, or anything in quarantine."""
    return key in (MANIFEST, SUCCESS) or is_manifest_copy(key) or key.startswith(QUARANTINE)
