"""What a resume does with one part: the table of rule M8 as a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Decision(Enum):
    """What happens to a part.

    ``SKIP``: it is complete and stays.
    ``REWRITE``: it is gone; its rows are exported again.
    ``REPLACE``: it is damaged; its rows are exported again under a new number and the old object goes to quarantine
    after the commit.
    ``QUARANTINE``: nobody lists it; it goes to quarantine after the commit.
    ``WRITE``: it was never finished; its rows are exported.
    """

    SKIP = "skip"
    REWRITE = "rewrite"
    REPLACE = "replace"
    QUARANTINE = "quarantine"
    WRITE = "write"


def decide(*, listed: bool, present: bool, same_size: bool | None = None, same_content: bool | None = None) -> Decision:
    """Decide about one part.

    Args:
        listed: in a completed chunk attempt of this run, its pending manifest or the certified manifest.
        present: there is an object at its key.
        same_size: the object has the recorded size; needed if it is listed and present.
        same_content: the object has the recorded content (see ``content_matches``); needed if the size is the same too.

    Raises:
        ValueError: a needed comparison was not made.
    """
    if not listed:
        return Decision.QUARANTINE if present else Decision.WRITE
    if not present:
        return Decision.REWRITE
    if same_size is None or (same_size and same_content is None):
        raise ValueError("a part that is listed and present needs its size and content compared")
    return Decision.SKIP if same_size and same_content else Decision.REPLACE


def content_matches(
    *,
    recorded_version: str | None,
    recorded_checksums: Mapping[str, str],
    found_version: str | None,
    found_checksums: Mapping[str, str],
) -> bool | None:
    """Say from metadata whether an object of the recorded size has the recorded content.

    An equal version token proves equal content; a different one proves nothing, then the checksums that both sides
    know decide: all must be equal.

    Returns:
        ``None`` if the metadata cannot tell: the bytes must be read and their fingerprint compared.
    """
    if recorded_version and recorded_version == found_version:
        return True
    common = recorded_checksums.keys() & found_checksums.keys()
    if not common:
        return None
    return all(recorded_checksums[name] == found_checksums[name] for name in common)
