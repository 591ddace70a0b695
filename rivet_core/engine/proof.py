"""Compares a recorded part with the object at the destination: by (path, size, content), all three."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rivet_core.api.errors import NotFound
from rivet_core.contract.decide import content_matches
from rivet_core.engine.store import fingerprint_object

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination, ObjectInfo
    from rivet_core.contract.manifest import Part

Finding = Literal["same", "missing", "size differs", "content differs"]

#: The store has given the object that was written no other version since.
BY_VERSION: Final = "version"
#: The bytes were read again and have the recorded fingerprint.
BY_CONTENT: Final = "content"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing a recorded part with an object has shown.

    Attributes:
        proof: what shows that they are the same: ``version``, ``content``, or ``checksum:`` and the algorithms, such as
            ``checksum:crc32c`` or ``checksum:crc32c+md5``; ``None`` if they are not.
        size_bytes: the object's size, or ``None`` if it is missing.
    """

    finding: Finding
    proof: str | None = None
    size_bytes: int | None = None


_MISSING: Final = Comparison("missing")


def compare_part(destination: Destination, part: Part, found: ObjectInfo | None, *, reread: bool = False) -> Finding:
    """Return the finding of ``prove_part``, for those who need no proof of it."""
    return prove_part(destination, part, found, reread=reread).finding


def prove_part(destination: Destination, part: Part, found: ObjectInfo | None, *, reread: bool = False) -> Comparison:
    """Compare a recorded part with what a listing found at its path.

    Where the listing cannot tell, the object itself is asked (a listing may lack checksums that HEAD gives), and only
    where that does not help either its bytes are read.

    Args:
        reread: read the bytes even where the version or a checksum would prove them equal.
    """
    known = _by_metadata(part, found)
    if known is None and not reread:
        found = destination.head(part.path)
        known = _by_metadata(part, found)
    if found is None:
        return _MISSING
    if known is None or (reread and known.finding != "size differs"):
        return _by_content(destination, part, found)
    return known


def _by_metadata(part: Part, found: ObjectInfo | None) -> Comparison | None:
    """Compare without reading a byte; ``None`` if that does not tell."""
    if found is None:
        return _MISSING
    if found.size_bytes != part.size_bytes:
        return Comparison("size differs", size_bytes=found.size_bytes)
    recorded = part.digests()
    same = content_matches(
        recorded_version=part.version,
        recorded_checksums=recorded,
        found_version=found.version,
        found_checksums=found.checksums,
    )
    if same is None:
        return None
    if not same:
        return Comparison("content differs", size_bytes=found.size_bytes)
    if part.version and part.version == found.version:
        return Comparison("same", BY_VERSION, found.size_bytes)
    algorithms = sorted(recorded.keys() & found.checksums.keys())
    return Comparison("same", f"checksum:{'+'.join(algorithms)}", found.size_bytes)


def _by_content(destination: Destination, part: Part, found: ObjectInfo) -> Comparison:
    try:
        size, digest = fingerprint_object(destination, found)
    except NotFound:
        return _MISSING
    if (size, digest) == (part.size_bytes, part.content_fingerprint):
        return Comparison("same", BY_CONTENT, size)
    return Comparison("content differs", size_bytes=size)
