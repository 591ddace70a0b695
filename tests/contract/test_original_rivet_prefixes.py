"""Prefixes that the original Rivet (``rivet-cli`` 0.32.2) wrote from a PostgreSQL table of 25 rows, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rivet_core.contract.control import read_control_objects
from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.keys import MANIFEST, SUCCESS, is_manifest_copy
from rivet_core.contract.manifest import decode, encode
from rivet_core.contract.verdict import Verdict, judge

PREFIXES = sorted((Path(__file__).parent / "data" / "original_rivet").iterdir())


@pytest.fixture(params=PREFIXES, ids=lambda path: path.name)
def prefix(request: pytest.FixtureRequest) -> dict[str, bytes]:
    directory: Path = request.param
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_its_prefixes_are_verified(prefix: dict[str, bytes]) -> None:
    manifests = {key: data for key, data in prefix.items() if key == MANIFEST or is_manifest_copy(key)}
    control = read_control_objects(prefix[SUCCESS], manifests)
    assert control.problems == ()
    assert control.certified is not None
    assert control.certified.row_count == 25
    for part in control.certified.parts:
        content = prefix[part.path]
        assert (fingerprint(content), len(content)) == (part.content_fingerprint, part.size_bytes)
        assert part.digests() == {"md5": hashlib.md5(content).hexdigest()}
    assert judge(control.facts(prefix, parts_failed=False)) is Verdict.VERIFIED


def test_its_prefixes_without_immutable_copies_are_verified_too(prefix: dict[str, bytes]) -> None:
    without_copies = {key: data for key, data in prefix.items() if not is_manifest_copy(key)}
    control = read_control_objects(prefix[SUCCESS], {MANIFEST: prefix[MANIFEST]})
    assert judge(control.facts(without_copies, parts_failed=False)) is Verdict.VERIFIED


def test_its_manifests_survive_our_writer(prefix: dict[str, bytes]) -> None:
    manifest = decode(prefix[MANIFEST])
    assert not manifest.is_ours
    assert decode(encode(manifest)) == manifest


def test_the_cursor_of_its_incremental_runs_is_read() -> None:
    directory = next(path for path in PREFIXES if path.name == "customers_incremental")
    extraction = decode((directory / MANIFEST).read_bytes()).source.extraction
    assert (extraction.strategy, extraction.cursor_column, extraction.cursor_high) == ("incremental", "id", "25")


def test_its_data_without_its_manifest_is_a_legacy_run(prefix: dict[str, bytes]) -> None:
    data_only = [key for key in prefix if key not in {MANIFEST, SUCCESS} and not is_manifest_copy(key)]
    control = read_control_objects(None, {})
    assert judge(control.facts(data_only, parts_failed=False)) is Verdict.LEGACY_RUN
