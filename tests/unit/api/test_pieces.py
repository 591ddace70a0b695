"""Uploads in pieces: cut right, in order, never more in flight than allowed, and ended by the first failure."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_core.api.pieces import PieceUpload


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


class Store:
    """Keeps the pieces that it is sent; answers when the test lets it."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.answer = threading.Event()
        self.answer.set()
        self.waiting = 0
        self.most_waiting = 0
        self._lock = threading.Lock()

    def send(self, number: int, data: bytes) -> int:
        with self._lock:
            self.waiting += len(data)
            self.most_waiting = max(self.most_waiting, self.waiting)
        assert self.answer.wait(10)
        with self._lock:
            self.waiting -= len(data)
            self.pieces[number] = data
        return number


@given(
    writes=st.lists(st.integers(0, 40).map(lambda size: bytes(range(size)))),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    in_flight=st.integers(1, 100),
)
def test_the_pieces_are_the_bytes_in_order(writes: list[bytes], sizes: list[int], in_flight: int):
    def size_of(number: int) -> int:
        return sizes[min(number, len(sizes)) - 1]

    store = Store()
    with ThreadPoolExecutor(3) as threads:
        upload = PieceUpload(store.send, threads, piece_bytes=size_of, in_flight_bytes=in_flight)
        for data in writes:
            assert upload.write(data) == len(data)
        started, rest = upload.started, upload.rest
        receipts = upload.finish()
    whole = b"".join(writes)
    assert started == (len(whole) > size_of(1))
    if not started:
        assert rest == whole
    assert receipts == list(range(1, len(receipts) + 1))
    assert b"".join(store.pieces[number] for number in receipts) == whole
    assert all(len(store.pieces[number]) == size_of(number) for number in receipts[:-1])
    assert store.most_waiting <= max(in_flight, *(len(piece) for piece in store.pieces.values()), 0)


def test_a_piece_that_was_written_may_change_afterwards(pool: ThreadPoolExecutor):
    store = Store()
    upload = PieceUpload(store.send, pool, piece_bytes=lambda _: 3, in_flight_bytes=6)
    data = bytearray(b"abcd")
    upload.write(data)
    data[:] = b"xxxx"
    upload.finish()
    assert store.pieces == {1: b"abc", 2: b"d"}


def test_the_writer_waits_while_too_much_is_in_flight(pool: ThreadPoolExecutor):
    store = Store()
    store.answer.clear()
    upload = PieceUpload(store.send, pool, piece_bytes=lambda _: 10, in_flight_bytes=20)
    upload.write(bytes(30))  # two pieces on their way, one being filled
    writer = threading.Thread(target=upload.write, args=(b"x",))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive()
    store.answer.set()
    writer.join(10)
    assert not writer.is_alive()
    upload.finish()
    assert store.most_waiting == 20


def test_a_piece_that_was_acknowledged_is_let_go(pool: ThreadPoolExecutor):
    piece_bytes = 1_000_000
    upload = PieceUpload(lambda number, data: None, pool, piece_bytes=lambda _: piece_bytes, in_flight_bytes=1)
    tracemalloc.start()
    try:
        for _ in range(50):
            upload.write(bytes(piece_bytes))
        upload.finish()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * piece_bytes


@pytest.mark.parametrize("step", [lambda upload: upload.write(bytes(10)), lambda upload: upload.finish()])
def test_a_failed_piece_ends_the_upload(pool: ThreadPoolExecutor, step: Callable[[PieceUpload[None]], object]):
    def send(number: int, data: bytes) -> None:
        raise ConnectionError(f"piece {number}")

    upload = PieceUpload(send, pool, piece_bytes=lambda _: 4, in_flight_bytes=4)
    upload.write(bytes(5))
    assert upload.stopped.wait(10)
    with pytest.raises(ConnectionError, match="piece 1"):
        step(upload)


def test_cancel_waits_for_what_is_under_way_and_sends_nothing_more():
    store = Store()
    store.answer.clear()
    with ThreadPoolExecutor(1) as one:
        upload = PieceUpload(store.send, one, piece_bytes=lambda _: 4, in_flight_bytes=100)
        upload.write(bytes(20))
        canceller = threading.Thread(target=upload.cancel)
        canceller.start()
        assert upload.stopped.wait(10)
        canceller.join(0.1)
        assert canceller.is_alive()
        store.answer.set()
        canceller.join(10)
        assert not canceller.is_alive()
    assert store.pieces.keys() == {1}
