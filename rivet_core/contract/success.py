"""The ``_SUCCESS`` marker: which manifest the prefix certifies."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rivet_core.api.errors import TrustError
from rivet_core.contract.fingerprint import FINGERPRINT_PATTERN, fingerprint
from rivet_core.contract.keys import MANIFEST, SUCCESS

_MARKER = re.compile(rf"({FINGERPRINT_PATTERN})\n?".encode())


def success_marker(manifest_bytes: bytes) -> bytes:
    """Return the content of ``_SUCCESS`` that certifies a manifest of exactly these bytes."""
    return f"{fingerprint(manifest_bytes)}\n".encode()


def parse_success(data: bytes) -> str:
    r"""Return the fingerprint that a marker holds; its final newline may be missing.

    Raises:
        TrustError: ``data`` is not exactly ``xxh3:<16 lower-case hex>\n``.
    """
    found = _MARKER.fullmatch(data)
    if found is None:
        raise TrustError(
            f"{SUCCESS} is not one line of the form xxh3:<16 lower-case hex digits>",
            hint="another program wrote or changed it; the prefix is not certified",
        )
    return found[1].decode()


def resolve_certified(marker: str, candidates: Mapping[str, bytes]) -> str | None:
    """Return the key of the manifest that ``marker`` certifies, or ``None``.

    ``manifest.json`` is preferred, then the immutable copies in the order of their keys.

    Args:
        marker: a fingerprint, as ``parse_success`` returns it.
        candidates: content of the manifests by key. It may load lazily: nothing is read after the first match, and a
            key whose content is gone by then (``get`` gives ``None``) is passed over.
    """
    for key in sorted(candidates, key=lambda key: (key != MANIFEST, key)):
        content = candidates.get(key)
        if content is not None and fingerprint(content) == marker:
            return key
    return None
