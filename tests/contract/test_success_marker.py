from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivet_core.api.errors import TrustError
from rivet_core.contract.fingerprint import Fingerprint, fingerprint
from rivet_core.contract.success import parse_success, resolve_certified, success_marker


def test_fingerprints_are_xxh3_64_in_canonical_form() -> None:
    # The first is XXH3's published value for no input; the original Rivet's prefixes prove another implementation.
    assert fingerprint(b"") == "xxh3:2d06800538d394c2"
    assert fingerprint(b"rivet\n") == "xxh3:419397643da49eaa"
    assert fingerprint(bytes(range(256)) * 4) == "xxh3:a870f92984398d22"


@settings(deadline=None)  # shared machines pause
@given(st.lists(st.binary(max_size=2000), max_size=8))
def test_pieces_have_the_fingerprint_of_the_whole(pieces: list[bytes]) -> None:
    streaming = Fingerprint()
    for piece in pieces:
        streaming.update(memoryview(piece))
    assert streaming.value() == fingerprint(b"".join(pieces))


def test_the_marker_is_one_line_that_reads_back() -> None:
    assert success_marker(b"") == b"xxh3:2d06800538d394c2\n"
    assert parse_success(success_marker(b"{}")) == fingerprint(b"{}")
    assert parse_success(b"xxh3:2d06800538d394c2") == "xxh3:2d06800538d394c2"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"xxh3:2D06800538D394C2\n",
        b"xxh3:2d06800538d394c\n",
        b"xxh3:2d06800538d394c2a\n",
        b"xxh3:2d06800538d394c2\n\n",
        b"xxh3:2d06800538d394c2\r\n",
        b" xxh3:2d06800538d394c2\n",
        b"md5:2d06800538d394c2\n",
        b"xxh3:2d06800538d394c2\nxxh3:2d06800538d394c2\n",
        b"\xff\xfe",
    ],
)
def test_anything_else_is_no_marker(data: bytes) -> None:
    with pytest.raises(TrustError, match="_SUCCESS"):
        parse_success(data)


def test_the_marker_resolves_to_manifest_json_before_its_copies() -> None:
    marker = fingerprint(b"new")
    assert resolve_certified(marker, {"manifest-b.json": b"new", "manifest.json": b"new"}) == "manifest.json"
    assert resolve_certified(marker, {"manifest.json": b"later", "manifest-b.json": b"new"}) == "manifest-b.json"
    assert resolve_certified(marker, {"manifest.json": b"later", "manifest-b.json": b"old"}) is None
    assert resolve_certified(marker, {}) is None
