"""Compares a recorded part with the object at the destination: by (path, size, content), all three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rivet_core.api.errors import NotFound
from rivet_core.contract.decide import content_matches
from rivet_core.engine.store import fingerprint_object

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination, ObjectInfo
    from rivet_core.contract.manifest import Part

Finding = Literal["same", "missing", "size differs", "content differs"]


def compare_part(destination: Destination, part: Part, found: ObjectInfo | None, *, reread: bool = False) -> Finding:
    """Compare a recorded part with what a listing or HEAD found at its path.

    Args:
        reread: read the bytes even where the version or a checksum would prove them equal.
    """
    if found is None:
        return "missing"
    if found.size_bytes != part.size_bytes:
        return "size differs"
    known = None
    if not reread:
        known = content_matches(
            recorded_version=part.version,
            recorded_checksums=part.digests(),
            found_version=found.version,
            found_checksums=found.checksums,
        )
    if known is None:
        try:
            size, digest = fingerprint_object(destination, found)
        except NotFound:
            return "missing"
        known = (size, digest) == (part.size_bytes, part.content_fingerprint)
    return "same" if known else "content differs"
