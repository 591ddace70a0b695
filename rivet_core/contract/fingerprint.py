"""The content fingerprint: XXH3-64 of the exact bytes, written ``xxh3:<16 lower-case hex>``.

The algorithm is the 64-bit variant of XXH3 with seed 0 in its canonical (big-endian) form, from
https://github.com/Cyan4973/xxHash. It detects damage and mix-ups; it is no defence against a forger.
"""

from __future__ import annotations

from typing import Final

import xxhash

#: What a fingerprint looks like, as a regular expression.
FINGERPRINT_PATTERN: Final = "xxh3:[0-9a-f]{16}"


def fingerprint(data: bytes | bytearray | memoryview) -> str:
    """Return the fingerprint of ``data``."""
    return f"xxh3:{xxhash.xxh3_64_hexdigest(data)}"


class Fingerprint:
    """The fingerprint of bytes that arrive in pieces; used from one thread."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_64()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``."""
        self._hash.update(data)

    def value(self) -> str:
        """Return the fingerprint of everything appended so far."""
        return f"xxh3:{self._hash.hexdigest()}"
