"""Rivet's own export up to a stage: ``rivet_stages.py start|read|encode|hash CONFIG``, each with the ones before it.

``start`` opens everything and reads nothing, ``read`` drains and decodes, ``encode`` writes Parquet to nowhere,
``hash`` fingerprints its bytes. What ``rivet run`` does beyond that is to write them, to sync and to certify.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from rivet_core.config import load
from rivet_core.contract.fingerprint import Fingerprint
from rivet_core.engine import plan
from rivet_core.engine.writing.memory import MemoryPlan
from rivet_core.engine.writing.upload import Sink, buffered
from rivet_core.plugins import load_registry

if TYPE_CHECKING:
    from rivet_core.api.format import Format
    from rivet_core.api.source import BatchStream

STAGES = ("start", "read", "encode", "hash")


def main(stage: str, config_path: str) -> None:
    """Run all stages up to ``stage``."""
    reached = STAGES.index(stage)
    registry = load_registry()
    config = load(Path(config_path), registry)
    (export,) = config.exports
    memory = MemoryPlan.divide(config.memory_budget, None)
    with closing(plan.open_source(config, export, registry)) as source:
        query, _ = plan.describe_query(source, export, {})
        if reached == 0:
            return
        with source.read(query, batch_bytes=memory.batch_bytes) as batches:
            if reached == 1:
                for _ in batches:
                    pass
                return
            digest = Fingerprint()
            accept = digest.update if stage == "hash" else _drop
            _encode(batches, plan.open_format(export, registry), memory, accept)


def _encode(batches: BatchStream, format_: Format, memory: MemoryPlan, accept: Callable[[bytes], object]) -> None:
    buffer = buffered(Sink(accept))
    encoder = format_.encoder(cast("BinaryIO", buffer), batches.schema, group_bytes=memory.group_bytes)
    with closing(encoder):
        for batch in batches:
            encoder.write(batch)
        encoder.finish()
    buffer.flush()


def _drop(piece: bytes) -> None:
    """Take a piece to nowhere."""


main(*sys.argv[1:])
