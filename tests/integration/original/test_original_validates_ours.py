"""The original ``rivet validate`` passes on what we publish, at every depth, and fails where it must."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from integration.corruption.published import Published, publish, write_source
from integration.original.conftest import LivePrefixes
from integration.original.program import OriginalRivet
from rivet_core.cli.main import main

DEPTHS = ("light", "sample", "full")
#: It says so of every CSV prefix, its own too.
NO_CSV_VALUES = {"kind": "value_check_not_available", "format": "csv", "code": "RIVET_VERIFY_VALUE_CHECK_NOT_AVAILABLE"}


@pytest.fixture(autouse=True)
def _default_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIVET_STATE_URL", raising=False)


def check(original: OriginalRivet, published: Published, *, suffix: str = "parquet") -> dict[str, Any]:
    """Let the original validate a prefix at every depth; it finds all parts and nothing to say. Return the last."""
    for depth in DEPTHS:
        report = original.validate(published.prefix, suffix=suffix, depth=depth)
        assert report["passed"]
        assert report["manifest_found"]
        assert report["success_marker_consistent"]
        assert report["manifest_self_consistent"]
        assert report["parts_failed"] == 0
        assert [failure for failure in report["failures"] if failure != NO_CSV_VALUES] == []
    assert report["parts_verified"] == len(published.parts)
    return report


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "lz4", "none"])
def test_parquet_parts_of_every_compression(original: OriginalRivet, memory_disk: Path, compression: str) -> None:
    published = publish(memory_disk / "shop", "parquet")
    config = Path(published.config)
    config.write_text(config.read_text().replace("compression: none", f"compression: {compression}"))
    assert published.run() == 0
    assert published.manifest["compression"] == compression
    check(original, published)


def test_csv_parts(original: OriginalRivet, memory_disk: Path) -> None:
    check(original, publish(memory_disk / "shop", "csv"), suffix="csv")


def test_superseded_parts_in_quarantine_are_no_surplus(original: OriginalRivet, memory_disk: Path) -> None:
    published = publish(memory_disk / "shop", "parquet")
    for generation in ("second", "third"):
        write_source(published.directory / "shop.db", generation)
        assert published.run() == 0
        check(original, published)
    assert len(list((published.prefix / "_quarantine").iterdir())) == 2


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("empty", ["file", "skip"])
def test_an_empty_result(original: OriginalRivet, memory_disk: Path, suffix: str, empty: str) -> None:
    write_source(memory_disk / "shop.db", "first")
    (memory_disk / "rivet.yaml").write_text(
        textwrap.dedent(f"""\
            source: {{type: sqlite, database: shop.db}}
            exports:
              - name: orders
                query: SELECT * FROM orders WHERE id < 0
                columns: {{id: int64, note: string}}
                format: {suffix}
                empty: {empty}
                destination: {{type: local, path: out}}
            """)
    )
    published = Published(memory_disk)
    assert published.run() == 0
    assert len(published.parts) == (1 if empty == "file" else 0)
    check(original, published, suffix=suffix)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_every_kind_of_column(
    original: OriginalRivet, live_prefixes: LivePrefixes, memory_disk: Path, suffix: str
) -> None:
    (memory_disk / "rivet.yaml").write_text(
        textwrap.dedent(f"""\
            source: {{type: postgres, url: '{live_prefixes.database.url}', tls: {{mode: disable}}}}
            exports:
              - {{name: ours, table: public.customers, format: {suffix}, destination: {{type: local, path: out}}}}
            """)
    )
    assert main(["run", "-c", str(memory_disk / "rivet.yaml")]) == 0
    check(original, Published(memory_disk), suffix=suffix)


def test_it_does_look_at_our_parts(original: OriginalRivet, memory_disk: Path) -> None:
    published = publish(memory_disk / "shop", "parquet")
    part = published.parts[1]
    os.truncate(part, part.stat().st_size - 1)
    report = original.validate(published.prefix)
    assert not report["passed"]
    assert report["parts_failed"] == 1
    assert part.name in str(report["failures"])
