from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from rivet_core.contract.fingerprint import fingerprint
from rivet_core.contract.manifest import (
    Column,
    Extraction,
    KeyRange,
    Manifest,
    ManifestDestination,
    ManifestSource,
    Part,
    Writer,
)


def _part(number: int, **changes: Any) -> Part:
    content = f"content of part {number}".encode()
    fields: dict[str, Any] = {
        "part_id": number,
        "path": f"part-{number:06d}.parquet",
        "rows": 10,
        "size_bytes": len(content),
        "content_fingerprint": fingerprint(content),
        "status": "committed",
        "run_id": "orders_20261122T172100.123_9f3a",
        "chunk": number,
        "checksums": {"crc32c": "0a0b0c0d"},
        "version": "v1",
        "range": KeyRange(columns=("id",), low=(str(number * 10),), high=(str(number * 10 + 9),)),
    }
    return Part(**{**fields, **changes})


@pytest.fixture
def make_part() -> Callable[..., Part]:
    return _part


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    def make(**changes: Any) -> Manifest:
        parts = changes.pop("parts", (_part(1), _part(2)))
        fields: dict[str, Any] = {
            "manifest_version": 1,
            "run_id": "orders_20261122T172100.123_9f3a",
            "export_name": "orders",
            "writer": Writer(name="rivet-core", version="0.1.0"),
            "started_at": datetime(2026, 11, 22, 17, 21, 0, 123_000, tzinfo=UTC),
            "finished_at": datetime(2026, 11, 22, 17, 22, 10, tzinfo=UTC),
            "status": "success",
            "source": ManifestSource(
                engine="postgres",
                schema_name="public",
                table="orders",
                extraction=Extraction(
                    strategy="chunked", cursor_column="id", cursor_type="int64", cursor_low="10", cursor_high="29"
                ),
                consistency="snapshot",
            ),
            "destination": ManifestDestination(kind="s3", uri="s3://bucket/exports/orders/"),
            "format": "parquet",
            "compression": "zstd",
            "schema_fingerprint": "xxh3:0123456789abcdef",
            "columns": (Column(name="id", type="int64", nullable=False, source_type="bigint"),),
            "row_count": sum(part.rows for part in parts),
            "part_count": len(parts),
            "parts": parts,
        }
        return Manifest(**{**fields, **changes})

    return make
