from __future__ import annotations

from itertools import product

import pytest

from rivet_core.contract.decide import Decision, content_matches, decide


@pytest.mark.parametrize(
    ("listed", "present", "same_size", "same_content", "decision"),
    [
        (True, True, True, True, Decision.SKIP),
        (True, True, True, False, Decision.REPLACE),
        (True, True, False, None, Decision.REPLACE),
        (True, False, None, None, Decision.REWRITE),
        (False, True, None, None, Decision.QUARANTINE),
        (False, False, None, None, Decision.WRITE),
    ],
)
def test_each_row_of_the_table(
    listed: bool, present: bool, same_size: bool | None, same_content: bool | None, decision: Decision
) -> None:
    assert decide(listed=listed, present=present, same_size=same_size, same_content=same_content) is decision


def test_nothing_is_skipped_or_decided_without_both_comparisons() -> None:
    for listed, present, size, content in product(
        (True, False), (True, False), (True, False, None), (True, False, None)
    ):
        incomplete = listed and present and (size is None or (size and content is None))
        if incomplete:
            with pytest.raises(ValueError, match="compared"):
                decide(listed=listed, present=present, same_size=size, same_content=content)
            continue
        decision = decide(listed=listed, present=present, same_size=size, same_content=content)
        assert (decision is Decision.SKIP) == bool(listed and present and size and content)
        assert (decision in {Decision.REWRITE, Decision.REPLACE, Decision.WRITE}) == (
            (listed and decision is not Decision.SKIP) or (not listed and not present)
        )
        assert (decision is Decision.QUARANTINE) == (present and not listed)


@pytest.mark.parametrize(
    ("recorded", "found", "matches"),
    [
        (("v1", {"crc32c": "aa"}), ("v1", {"crc32c": "bb"}), True),
        (("v1", {"crc32c": "aa"}), ("v2", {"crc32c": "aa"}), True),
        (("v1", {"crc32c": "aa"}), ("v2", {"crc32c": "bb"}), False),
        (("v1", {"crc32c": "aa", "md5": "cc"}), ("v2", {"crc32c": "aa", "md5": "dd"}), False),
        (("v1", {"crc32c": "aa"}), ("v2", {"md5": "aa"}), None),
        (("v1", {}), ("v2", {}), None),
        ((None, {}), (None, {}), None),
        (("", {}), ("", {}), None),
    ],
)
def test_an_equal_version_proves_content_and_a_different_one_nothing(
    recorded: tuple[str | None, dict[str, str]], found: tuple[str | None, dict[str, str]], matches: bool | None
) -> None:
    result = content_matches(
        recorded_version=recorded[0],
        recorded_checksums=recorded[1],
        found_version=found[0],
        found_checksums=found[1],
    )
    assert result is matches
