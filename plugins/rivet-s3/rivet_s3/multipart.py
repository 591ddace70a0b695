"""A multipart upload's beginning and its two ends, for writers and for large copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import DestinationError
from rivet_s3.digests import Digest, combine

if TYPE_CHECKING:
    from rivet_core.api import ObjectInfo
    from rivet_s3.objects import Objects

#: The checksum of the content itself, not one of the parts' checksums, which depends on where they were cut.
_FULL_OBJECT: Final = {"ChecksumType": "FULL_OBJECT"}


@dataclass(frozen=True)
class Part:
    """A part that the store has acknowledged."""

    etag: str
    digest: Digest


def begin_multipart(objects: Objects, key: str, options: Mapping[str, Any]) -> str:
    """Begin an upload and return its id.

    A repeated request whose first answer was lost leaves an upload without parts; ``pending_uploads`` lists it.
    """
    checksum: dict[str, Any] = (
        {"ChecksumAlgorithm": "CRC32C", **_FULL_OBJECT} if objects.features.method == "crc32c" else {}
    )
    answer = objects.bucket.request(
        "create_multipart_upload", f"write {objects.shown(key)}", Key=objects.name(key), **checksum, **options
    )
    return str(answer["UploadId"])


def complete_multipart(
    objects: Objects, key: str, upload_id: str, parts: Sequence[Part], condition: Mapping[str, str]
) -> ObjectInfo:
    """Make the object of its parts, and prove it by their digests.

    Raises:
        PreconditionFailed: the condition does not hold.
        IntegrityError: the store has put together other bytes.
    """
    whole = combine([part.digest for part in parts])
    answer = objects.bucket.settle(
        "complete_multipart_upload",
        f"write {objects.shown(key)}",
        lambda: objects.find(key, whole),
        Key=objects.name(key),
        UploadId=upload_id,
        MultipartUpload={
            "Parts": [
                {"PartNumber": number, "ETag": part.etag, **part.digest.checksum}
                for number, part in enumerate(parts, start=1)
            ]
        },
        **(_FULL_OBJECT | whole.checksum if whole.checksum else {}),
        **condition,
    )
    return objects.verified(key, whole, answer)


def abort_multipart(objects: Objects, key: str, upload_id: str) -> None:
    """Have the store forget the parts of an upload; one that cannot be aborted now is listed as pending."""
    with suppress(DestinationError):
        objects.bucket.request(
            "abort_multipart_upload",
            f"abort the upload of {objects.shown(key)}",
            Key=objects.name(key),
            UploadId=upload_id,
        )
