"""What the tests of both formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pytest

from rivet_core.api import Format

Encode = Callable[..., bytes]


class WriteOnlySink:
    """The least that a format may expect of a sink: no ``close``, no ``tell``, no ``flush``."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


@pytest.fixture
def sink() -> WriteOnlySink:
    return WriteOnlySink()


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Encode batches as one part; checks on the way that ``size_after`` never says too little."""

    def run(
        format_: Format, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, group_bytes: int = 1 << 20
    ) -> bytes:
        target = WriteOnlySink()
        encoder = format_.encoder(target, schema, group_bytes=group_bytes)
        promised = None
        for batch in batches:
            promised = encoder.size_after(batch)
            encoder.write(batch)
        encoder.finish()
        encoder.close()
        assert promised is None or len(target.content) <= promised
        return bytes(target.content)

    return run
