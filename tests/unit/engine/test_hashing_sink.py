"""The thread behind an upload: order, bounds, errors, and an end that comes whatever happens."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import xxhash

from rivet_core.api import ObjectInfo, ObjectWriter, StorageFull
from rivet_core.engine.writing.upload import BUFFER_BYTES, QUEUE_PIECES, HashingSink, buffered


class Collector(ObjectWriter):
    """Keeps what it gets; waits for ``gate`` first, and fails where it is told to."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self.gate = threading.Event()
        self.gate.set()
        self._fail_at = fail_at

    def write(self, data: bytes | bytearray | memoryview) -> int:
        self.gate.wait()
        if len(self.pieces) == self._fail_at:
            raise StorageFull("no space left")
        self.pieces.append(bytes(data))
        return len(data)

    def commit(self) -> ObjectInfo:
        raise AssertionError("a sink commits nothing")

    def abort(self) -> None:
        raise AssertionError("a sink aborts nothing")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "rivet-upload"] == []


def test_pieces_arrive_in_order_and_are_hashed():
    writer = Collector()
    sink = HashingSink(writer)
    pieces = [bytes([number]) * number for number in range(1, 200)]
    for piece in pieces:
        assert sink.write(piece) == len(piece)
    assert sink.finish() == f"xxh3:{xxhash.xxh3_64_hexdigest(b''.join(pieces))}"
    assert writer.pieces == pieces
    assert sink.size_bytes == sum(range(1, 200))


def test_a_piece_is_copied_because_the_encoder_reuses_its_buffer():
    writer = Collector()
    sink = HashingSink(writer)
    buffer = bytearray(b"first")
    writer.gate.clear()
    sink.write(buffer)
    buffer[:] = b"other"
    writer.gate.set()
    sink.finish()
    assert writer.pieces == [b"first"]


def test_a_slow_store_holds_the_encoder_back():
    writer = Collector()
    writer.gate.clear()
    sink = HashingSink(writer)
    accepted: list[int] = []

    def encode() -> None:
        for number in range(3 * QUEUE_PIECES):
            sink.write(b"x")
            accepted.append(number)

    encoder = threading.Thread(target=encode)
    encoder.start()
    encoder.join(0.2)
    assert len(accepted) == QUEUE_PIECES
    writer.gate.set()
    encoder.join()
    sink.finish()
    assert len(writer.pieces) == 3 * QUEUE_PIECES


def test_an_upload_error_reaches_the_encoder_in_the_middle():
    sink = HashingSink(Collector(fail_at=2))
    with pytest.raises(StorageFull):  # noqa: PT012  which of the writes raises is a matter of timing
        for _ in range(10 * QUEUE_PIECES):
            sink.write(b"x")
    sink.cancel()


def test_an_upload_error_of_the_last_piece_is_raised_by_finish():
    sink = HashingSink(Collector(fail_at=0))
    sink.write(b"x")
    with pytest.raises(StorageFull):
        sink.finish()
    sink.cancel()


def test_an_upload_error_passes_through_the_buffer_as_it_is():
    sink = HashingSink(Collector(fail_at=0))
    buffer = buffered(sink)
    with pytest.raises(StorageFull, match="no space left"):  # noqa: PT012  which write raises is a matter of timing
        for _ in range(100):
            buffer.write(b"x" * BUFFER_BYTES)
    sink.cancel()
    del buffer  # flushes into the cancelled sink, quietly


def test_cancel_drops_what_is_queued_and_may_come_twice():
    writer = Collector()
    writer.gate.clear()
    sink = HashingSink(writer)
    for _ in range(QUEUE_PIECES):
        sink.write(b"x")
    threading.Timer(0.1, writer.gate.set).start()
    sink.cancel()
    sink.cancel()
    assert len(writer.pieces) <= 1
    assert sink.write(b"late") == 4
    assert len(writer.pieces) <= 1


def test_an_interrupt_at_any_moment_leaves_a_sink_that_can_be_cancelled():
    """A lock that an interrupt leaves behind in the queue would make this hang for ever."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    chance = random.Random(1)
    interrupted = 0
    deadline = time.monotonic() + 1.5
    try:
        while time.monotonic() < deadline:
            sink = HashingSink(Collector())
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 3e-4))
                for _ in range(10_000):
                    sink.write(b"x")
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            cancel = threading.Thread(target=sink.cancel, daemon=True)
            cancel.start()
            cancel.join(10)
            assert not cancel.is_alive()
    finally:
        with suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 100
