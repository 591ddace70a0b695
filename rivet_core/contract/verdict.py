"""The verdict on a prefix: what ``rivet validate`` concludes from what it found there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Marker(Enum):
    """State of ``_SUCCESS``; ``INVALID`` is any content that is not one fingerprint."""

    ABSENT = "absent"
    INVALID = "invalid"
    PRESENT = "present"


class Certified(Enum):
    """State of the manifest that the marker fingerprints.

    ``INVALID`` has the fingerprint and is no readable manifest of a successful run.
    """

    ABSENT = "absent"
    INVALID = "invalid"
    VALID = "valid"


class PublishedManifest(Enum):
    """State of ``manifest.json``.

    ``CERTIFIED``: it has the certified bytes.
    ``PENDING``: it has the bytes of the immutable manifest of another run, one that did not end before the certified
    run began. A writer that died before its commit point leaves this, whether or not it would have won.
    ``OTHER``: it is readable and neither of these.
    """

    ABSENT = "absent"
    INVALID = "invalid"
    CERTIFIED = "certified"
    PENDING = "pending"
    OTHER = "other"


class Verdict(Enum):
    """What a prefix is worth. ``meaning`` is one line for the report, ``exit_code`` what ``validate`` ends with."""

    VERIFIED = "verified"
    PENDING_PUBLISH = "pending_publish"
    LEGACY_RUN = "legacy_run"
    UNFINISHED = "unfinished"
    ABSENT = "absent"
    UNCERTIFIED = "uncertified"
    STALE_MARKER = "stale_marker"
    TAMPERED = "tampered"
    PARTS_FAILED = "parts_failed"

    @property
    def meaning(self) -> str:
        """One line that says what the verdict means."""
        return _MEANING[self]

    @property
    def exit_code(self) -> int:
        """0 if the data at the prefix may be used, 3 otherwise."""
        return 0 if self in _USABLE else 3


_USABLE = frozenset({Verdict.VERIFIED, Verdict.PENDING_PUBLISH, Verdict.LEGACY_RUN})
_MEANING = {
    Verdict.VERIFIED: "_SUCCESS certifies the manifest and everything that it lists is there",
    Verdict.PENDING_PUBLISH: "_SUCCESS certifies an intact dataset; a later one was prepared and never committed",
    Verdict.LEGACY_RUN: "there are data objects but no manifest; nothing is certified and nothing contradicts it",
    Verdict.UNFINISHED: "there are parts, or an immutable manifest, of a run that never published; do not load them",
    Verdict.ABSENT: "there is nothing at the prefix",
    Verdict.UNCERTIFIED: "manifest.json is there without _SUCCESS; the run never finished publishing",
    Verdict.STALE_MARKER: "no manifest at the prefix has the fingerprint that _SUCCESS certifies",
    Verdict.TAMPERED: "the control objects were changed after they were published",
    Verdict.PARTS_FAILED: "a certified part is missing, or its size or content differs",
}


@dataclass(frozen=True)
class PrefixFacts:
    """What was found at a prefix.

    Attributes:
        marker: state of ``_SUCCESS``.
        published: state of ``manifest.json``.
        certified: state of the manifest that the marker fingerprints.
        copy_differs: the immutable manifest of the certified run has other bytes than the certified ones.
        has_copies: there are immutable manifests.
        has_parts: there are objects directly at the prefix that are named like our parts.
        has_data: there are other objects, quarantine aside.
        parts_failed: a part of the certified manifest is missing, or its size or content differs.
    """

    marker: Marker
    published: PublishedManifest
    certified: Certified
    copy_differs: bool = False
    has_copies: bool = False
    has_parts: bool = False
    has_data: bool = False
    parts_failed: bool = False


def judge(facts: PrefixFacts) -> Verdict:
    """Return the verdict. Contradicting control objects outrank failed parts: without them no part can be judged."""
    has_manifests = facts.published is not PublishedManifest.ABSENT or facts.has_copies
    match facts.marker:
        case Marker.PRESENT:
            return _judge_certified(facts)
        # Other programs leave an empty _SUCCESS beside their data; it contradicts nothing while nothing there is ours.
        case Marker.INVALID if has_manifests or facts.has_parts or not facts.has_data:
            return Verdict.TAMPERED
        case _ if facts.published is not PublishedManifest.ABSENT:
            return Verdict.UNCERTIFIED
        case _ if facts.has_copies or facts.has_parts:
            return Verdict.UNFINISHED
        case _:
            return Verdict.LEGACY_RUN if facts.has_data else Verdict.ABSENT


def _judge_certified(facts: PrefixFacts) -> Verdict:
    if facts.certified is Certified.ABSENT:
        return Verdict.STALE_MARKER
    known = facts.published in {PublishedManifest.CERTIFIED, PublishedManifest.PENDING}
    if facts.certified is Certified.INVALID or facts.copy_differs or not known:
        return Verdict.TAMPERED
    if facts.parts_failed:
        return Verdict.PARTS_FAILED
    return Verdict.VERIFIED if facts.published is PublishedManifest.CERTIFIED else Verdict.PENDING_PUBLISH
