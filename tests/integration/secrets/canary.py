"""Secrets that can be recognised wherever they surface, whole or in part, in whatever encoding."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Characters that URLs, YAML and careless parsers stumble over; no quotes, for SQL would need its own.
AWKWARD = "@:/%#?&=+ é"


@dataclass(frozen=True)
class Canary:
    """A secret: two unmistakable words around awkward characters, so that a part of it is recognised, too."""

    words: tuple[str, str] = field(
        default_factory=lambda: (f"Canary{secrets.token_hex(6)}", f"Yranac{secrets.token_hex(6)}")
    )

    @property
    def value(self) -> str:
        """The secret itself."""
        return AWKWARD.join(self.words)

    def traces(self, data: str | bytes) -> list[str]:
        """Return what of the secret is in ``data``; percent-encoding leaves the words as they are."""
        searched = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        folded = searched.lower()
        return [
            *(word for word in self.words if word.lower().encode() in folded or word.encode().hex().encode() in folded),
            *(f"base64 of {word}" for word in self.words if any(piece in searched for piece in _base64_pieces(word))),
        ]


def _base64_pieces(word: str) -> Iterator[bytes]:
    """Yield what base64 makes of a word at each of its three alignments, without what its neighbours decide."""
    for offset in range(3):
        padded = b"\0" * offset + word.encode()
        whole = len(padded) // 3 * 3
        yield base64.b64encode(padded[:whole])[4 * (offset > 0) :]
