"""Proof that the store holds our bytes: CRC-32C where it verifies that, else MD5 through the ETag.

AWS documents both: "Checking object integrity" (full-object CRC-32C) and the ETag of a multipart upload, the MD5 of its
parts' MD5s with their number.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Literal

from awscrt import checksums

from rivet_core.api import IntegrityError, ObjectInfo

#: How content is proven: ``size`` means not at all beyond its size.
Method = Literal["crc32c", "md5", "size"]

_MD5: Final = re.compile("[0-9a-f]{32}")
_HINT: Final = "nothing was recorded, run the export again; if the store has no such digests, set checksum: off"


@dataclass(frozen=True)
class Digest:
    """What is known of some bytes.

    Attributes:
        size: their number.
        crc32c: their CRC-32C, with the method ``crc32c``.
        md5: their MD5 or, of several parts, the MD5 of the parts' MD5s, with the method ``md5``.
        parts: number of parts; 0 for bytes that are stored by one request.
    """

    size: int
    crc32c: int | None = None
    md5: bytes | None = None
    parts: int = 0

    @property
    def checksum(self) -> dict[str, str]:
        """The checksum as requests name it, for those that carry none of the bytes, too."""
        return {} if self.crc32c is None else {"ChecksumCRC32C": _base64(self.crc32c)}

    @property
    def headers(self) -> dict[str, str]:
        """What makes the store verify the bytes of a request."""
        return self.checksum if self.md5 is None else {"ContentMD5": base64.b64encode(self.md5).decode()}

    @property
    def checksums(self) -> dict[str, str]:
        """What goes into ``ObjectInfo``."""
        return {} if self.crc32c is None else {"crc32c": f"{self.crc32c:08x}"}

    @property
    def etag(self) -> str | None:
        """The ETag that a store without KMS gives to these bytes, if it is known."""
        if self.md5 is None:
            return None
        return f"{self.md5.hex()}-{self.parts}" if self.parts else self.md5.hex()

    def check(self, answer: Mapping[str, Any], shown: str) -> bool:
        """Compare with what the store says in its answer to a write; return whether that says anything.

        Raises:
            IntegrityError: it holds other bytes.
        """
        if self.crc32c is not None:
            told, expected = answer.get("ChecksumCRC32C"), _base64(self.crc32c)
        elif self.etag is not None and answer.get("ServerSideEncryption", "AES256") == "AES256":
            told, expected = version_of(answer), self.etag
        else:
            return False
        if told != expected:
            raise IntegrityError(f"the store acknowledges other bytes of {shown} than were sent", hint=_HINT)
        return True

    def matches(self, info: ObjectInfo) -> bool:
        """Whether an object that was found is the one with these bytes."""
        if info.size_bytes != self.size:
            return False
        if "crc32c" in info.checksums and self.crc32c is not None:
            return info.checksums["crc32c"] == self.checksums["crc32c"]
        return self.etag is not None and info.version == self.etag


def digest(data: bytes, method: Method) -> Digest:
    """Digest the bytes of one request."""
    match method:
        case "crc32c":
            return Digest(len(data), crc32c=checksums.crc32c(memoryview(data)))
        case "md5":
            return Digest(len(data), md5=hashlib.md5(data, usedforsecurity=False).digest())
        case "size":
            return Digest(len(data))


def told_by(answer: Mapping[str, Any], size: int, method: Method) -> Digest:
    """Return the digest that the store tells of a part that it has copied itself."""
    encoded, etag = answer.get("ChecksumCRC32C"), version_of(answer)
    if method == "crc32c" and encoded:
        return Digest(size, crc32c=int.from_bytes(base64.b64decode(encoded), "big"))
    return Digest(size, md5=bytes.fromhex(etag)) if method == "md5" and _MD5.fullmatch(etag) else Digest(size)


def combine(parts: Sequence[Digest]) -> Digest:
    """Return the digest of a multipart upload of these parts, in order."""
    md5s = [part.md5 for part in parts if part.md5 is not None]
    return Digest(
        size=sum(part.size for part in parts),
        crc32c=reduce(_combine_crc32c, parts).crc32c,
        md5=hashlib.md5(b"".join(md5s), usedforsecurity=False).digest() if len(md5s) == len(parts) else None,
        parts=len(parts),
    )


def crc32c_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksum of a whole object that an answer tells, by algorithm."""
    encoded = answer.get("ChecksumCRC32C")
    # "…-3" is one of three parts' checksums (COMPOSITE), not of the content.
    if not encoded or "-" in encoded or answer.get("ChecksumType") == "COMPOSITE":
        return {}
    return {"crc32c": base64.b64decode(encoded).hex()}


def version_of(answer: Mapping[str, Any]) -> str:
    """Return an ETag without its quotes."""
    return str(answer.get("ETag", "")).strip('"')


def _base64(crc32c: int) -> str:
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


def _combine_crc32c(left: Digest, right: Digest) -> Digest:
    size = left.size + right.size
    if left.crc32c is None or right.crc32c is None:
        return Digest(size)
    return Digest(size, crc32c=checksums.combine_crc32c(left.crc32c, right.crc32c, right.size))
