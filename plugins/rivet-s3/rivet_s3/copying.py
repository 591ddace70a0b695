"""Copies objects inside the store: any size, pinned to the source's version, proven by its checksum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final

from rivet_core.api import IntegrityError, NotFound, ObjectInfo, PreconditionFailed
from rivet_s3.digests import told_by
from rivet_s3.multipart import Part, abort_multipart, begin_multipart, complete_multipart
from rivet_s3.writer import IF_ABSENT

if TYPE_CHECKING:
    from rivet_s3.objects import Objects

#: Above it CopyObject is refused, and parts are copied.
LARGEST_SINGLE_COPY: Final = 5 << 30
#: Size of a copied part; ten thousand of them make the largest object.
COPIED_PART_BYTES: Final = 1 << 30


def copy_object(
    objects: Objects,
    source: ObjectInfo,
    target: str,
    *,
    options: Mapping[str, Any],
    creation: Mapping[str, Any],
    pool: ThreadPoolExecutor,
) -> ObjectInfo:
    """Copy ``source`` to ``target``; see ``Destination.copy``.

    Args:
        options: what the configuration asks for every object, for ``CopyObject``.
        creation: the same for ``CreateMultipartUpload``.
        pool: threads that copy parts.

    Raises:
        NotFound: the source is gone or has another version.
        PreconditionFailed: there is an object at the target.
        IntegrityError: the copy differs.
    """
    current = objects.head(source.key)
    if current is None or current.version != source.version:
        raise NotFound(f"{objects.shown(source.key)} is gone or was changed")
    objects.refuse_taken(target)
    try:
        if current.size_bytes > LARGEST_SINGLE_COPY:
            return _checked(objects, current, _copy_parts(objects, current, target, creation, pool))
        return _checked(objects, current, _copy_whole(objects, current, target, options))
    except PreconditionFailed:
        # Of the source or of the target? S3 answers the same.
        again = objects.head(source.key)
        if again is None or again.version != source.version:
            raise NotFound(f"{objects.shown(source.key)} is gone or was changed") from None
        raise


def _copy_whole(objects: Objects, source: ObjectInfo, target: str, options: Mapping[str, Any]) -> ObjectInfo:
    features = objects.features
    answer = objects.bucket.settle(
        "copy_object",
        _action(objects, source, target),
        lambda: _found(objects, source, target),
        Key=objects.name(target),
        **_source(objects, source),
        **(IF_ABSENT if features.conditions else {}),
        **({"ChecksumAlgorithm": "CRC32C"} if features.method == "crc32c" else {}),
        **options,
    )
    if isinstance(answer, ObjectInfo):
        return answer
    copied = objects.head(target)
    if copied is None:
        raise IntegrityError(f"the copy at {objects.shown(target)} is gone", hint="another process deletes objects")
    return copied


def _copy_parts(
    objects: Objects, source: ObjectInfo, target: str, creation: Mapping[str, Any], pool: ThreadPoolExecutor
) -> ObjectInfo:
    upload_id = begin_multipart(objects, target, creation)

    def copy_part(number: int, start: int, end: int) -> Part:
        answer = objects.bucket.request(
            "upload_part_copy",
            _action(objects, source, target),
            Key=objects.name(target),
            UploadId=upload_id,
            PartNumber=number,
            CopySourceRange=f"bytes={start}-{end - 1}",
            **_source(objects, source),
        )["CopyPartResult"]
        return Part(answer["ETag"], told_by(answer, end - start, objects.features.method))

    copies = [pool.submit(copy_part, *numbered) for numbered in _ranges(source.size_bytes)]
    try:
        parts = [copy.result() for copy in copies]
        condition = IF_ABSENT if objects.features.conditions else {}
        return complete_multipart(objects, target, upload_id, parts, condition)
    except BaseException:
        for copy in copies:
            copy.cancel()
        wait(copies)
        abort_multipart(objects, target, upload_id)
        raise


def _ranges(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each copied part."""
    for number, start in enumerate(range(0, size, COPIED_PART_BYTES), start=1):
        yield number, start, min(start + COPIED_PART_BYTES, size)


def _source(objects: Objects, source: ObjectInfo) -> dict[str, Any]:
    """Return what names the source, in this version only."""
    return {
        "CopySource": {"Bucket": objects.bucket.name, "Key": objects.name(source.key)},
        "CopySourceIfMatch": f'"{source.version}"',
    }


def _action(objects: Objects, source: ObjectInfo, target: str) -> str:
    return f"copy {objects.shown(source.key)} to {objects.shown(target)}"


def _found(objects: Objects, source: ObjectInfo, target: str) -> ObjectInfo | None:
    """Return the object at ``target`` if it surely is the copy whose answer was lost."""
    found = objects.head(target)
    if found is None or found.size_bytes != source.size_bytes:
        return None
    same = found.version == source.version
    if "crc32c" in found.checksums and "crc32c" in source.checksums:
        same = found.checksums["crc32c"] == source.checksums["crc32c"]
    return found if same else None


def _checked(objects: Objects, source: ObjectInfo, copied: ObjectInfo) -> ObjectInfo:
    """Return the copy if it has the source's size and, where both are known, its checksum."""
    expected, told_ = source.checksums.get("crc32c"), copied.checksums.get("crc32c")
    if copied.size_bytes != source.size_bytes or (expected and told_ and expected != told_):
        raise IntegrityError(
            f"the copy at {objects.shown(copied.key)} differs from {objects.shown(source.key)}",
            hint="the original was left in place; delete the copy and run the command again",
        )
    return copied
