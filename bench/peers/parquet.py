"""What scripts of readers that give Arrow write with: pyarrow's defaults, zstd 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
from database import TARGET, halves


def write(name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write one file."""
    with pq.ParquetWriter(TARGET / f"{name}.parquet", schema, compression="zstd", compression_level=1) as writer:
        for batch in batches:
            writer.write_batch(batch)


def both(export: Callable[[str, int, int], None]) -> None:
    """Run ``export(name, first key, last key)`` for both halves of the table at the same time."""
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(export, f"part-{first}", first, last) for first, last in halves()]
        for one in running:
            one.result()
