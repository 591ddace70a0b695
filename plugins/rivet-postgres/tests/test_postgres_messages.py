"""Rows come out of the server's messages, and all that is not of the copy is set aside, whatever the bytes are."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import OperationalError

from rivet_postgres._decoder import Decoder
from rivet_postgres.aside import Aside
from rivet_postgres.fields import Field, Kind, MalformedStream, RefusedField

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
RECEIVE_BYTES = 1 << 18  # of the decoder's buffer
PROLOGUE = [(b"1", b""), (b"2", b""), (b"n", b"")]
EPILOGUE = [(b"C", b"COPY 1\0"), (b"Z", b"T")]
BEGUN = (b"H", b"\1\0\1\0\1")
ENDED = (b"c", b"")


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def sent(*messages: tuple[bytes, bytes]) -> bytes:
    return b"".join(message(*one) for one in messages)


def row(value: bytes) -> bytes:
    return struct.pack("!hi", 1, len(value)) + value


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[low:high] for low, high in pairwise(edges)]


@contextmanager
def receiving(pieces: Sequence[bytes]):
    """Yield a socket that gives one piece at a time, and then has been closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        with ours:
            for piece in pieces:
                ours.send(piece)
        yield theirs.fileno()


class Read:
    """What a decoder of one text column takes from a server that has sent these pieces, or sends to this socket."""

    def __init__(self, pieces: Sequence[bytes] | int, *, batch_bytes: int = 200, max_bytes: int = 0) -> None:
        self.decoder = Decoder([Field(Kind.BYTES, max_bytes=max_bytes)], batch_bytes)
        self.aside = bytearray()
        self.values: list[bytes] = []
        with nullcontext(pieces) if isinstance(pieces, int) else receiving(pieces) as fd:
            self.decoder.attach_socket(fd, aside=self.aside.extend, patience=60_000)
            while (rows := self.decoder.drain()) is not None:
                self._keep(rows)
        self.failed = self.decoder.failed
        if self.decoder.ended:
            self.decoder.end_stream()
            if (rest := self.decoder.finish()) is not None:
                self._keep(rest)

    def _keep(self, rows) -> None:
        (column,) = rows.columns
        offsets = memoryview(column.offsets).cast("i")
        data = bytes(column.data)
        self.values += [data[offsets[i] : offsets[i + 1]] for i in range(rows.count)]


ASIDE = st.tuples(st.sampled_from([b"N", b"S", b"A"]), st.binary(max_size=30))


@st.composite
def dialogs(draw):
    """The values of rows, the whole dialog, and what of it is set aside."""
    values = draw(st.lists(st.binary(max_size=80), max_size=20))
    stream = HEADER + b"".join(map(row, values)) + TRAILER
    data = [(b"d", piece) for piece in cut(stream, draw(st.lists(st.integers(0, 5000), max_size=20)))]
    data += [(b"d", b"")] * draw(st.integers(0, 2))
    dialog = []
    for one in [*PROLOGUE, BEGUN, *data, ENDED, *EPILOGUE]:
        dialog += [*draw(st.lists(ASIDE, max_size=1)), one]
    dialog += draw(st.lists(ASIDE, max_size=2))
    return values, sent(*dialog), sent(*(one for one in dialog if one[0] not in b"Hdc"))


@given(dialogs(), st.lists(st.integers(0, 5000), max_size=30))
def test_rows_and_what_is_aside_however_the_bytes_come(made, places):
    values, dialog, aside = made
    read = Read(cut(dialog, places))
    assert not read.failed
    assert read.values == values
    # What comes behind the dialog is not waited for.
    assert aside.startswith(read.aside)
    assert b"Z\0\0\0\5T" in read.aside


def test_a_dialog_byte_by_byte():
    dialog = sent(*PROLOGUE, BEGUN, (b"d", HEADER + row(b"some")), (b"N", b"abc"), (b"d", TRAILER), ENDED, *EPILOGUE)
    read = Read([dialog[i : i + 1] for i in range(len(dialog))])
    assert (read.values, read.failed) == ([b"some"], False)
    assert bytes(read.aside) == sent(*PROLOGUE, (b"N", b"abc"), *EPILOGUE)


@given(dialogs(), st.integers(0, 5000))
def test_a_dialog_that_is_cut_off_has_failed(made, place):
    _, dialog, _ = made
    whole = dialog.index(b"Z\0\0\0\5T") + 6
    assert Read([dialog[: place % whole]] if place % whole else []).failed


@given(dialogs(), st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_dialog_never_does_more_than_raise(made, damages):
    damaged = bytearray(made[1])
    for place, byte in damages:
        damaged[place % len(damaged)] = byte
    with suppress(MalformedStream, RefusedField):
        Read([bytes(damaged)], max_bytes=500)


@given(st.lists(st.tuples(st.sampled_from(list(b"12nHdcCEZNSAT")), st.binary(max_size=40)), max_size=12), st.binary())
def test_any_messages_never_do_more_than_raise(messages, rest):
    data = sent(*((bytes([kind]), body) for kind, body in messages)) + rest
    with suppress(MalformedStream, RefusedField):
        Read([data] if data else [], max_bytes=500)


@pytest.mark.parametrize(
    ("dialog", "complaint"),
    [
        (sent((b"T", b"\0\0")), "out of place"),
        (sent((b"d", HEADER)), "out of place"),
        (sent(ENDED), "out of place"),
        (sent(BEGUN, BEGUN), "out of place"),
        (sent(BEGUN, (b"C", b"COPY 1\0")), "out of place"),
        (sent(BEGUN, ENDED, (b"d", HEADER)), "out of place"),
        (sent((b"E", b"\0"), (b"d", HEADER)), "out of place"),
        (sent(BEGUN, (b"Z", b"T")), "out of place"),
        (sent((b"H", b"\0\0\1\0\0")), "not binary"),
        (b"H\0\0\0\6\1\0", "impossible length"),
        (b"H\x7f\xff\xff\xff", "impossible length"),
        (b"N\0\0\0\3", "impossible length"),
        (b"N\xff\xff\xff\xff", "impossible length"),
        (b"E\x01\0\0\1", "impossible length"),
        (sent(BEGUN) + b"d\0\0\0\3", "impossible length"),
        (sent(BEGUN) + b"d\x80\0\0\0", "impossible length"),
        (sent(BEGUN) + b"c\0\0\0\5\0", "impossible length"),
    ],
)
def test_what_is_wrong_with_a_dialog_is_said(dialog, complaint):
    with pytest.raises(MalformedStream, match=complaint):
        Read([dialog])


def test_an_error_between_the_rows_ends_the_dialog():
    told = [(b"E", b"SERROR\0C22012\0\0"), (b"Z", b"E")]
    read = Read([sent(*PROLOGUE, BEGUN, (b"d", HEADER + row(b"one")), *told)])
    assert not read.failed
    assert not read.decoder.ended
    assert bytes(read.aside) == sent(*PROLOGUE, *told)


@pytest.mark.parametrize("size", [*range(RECEIVE_BYTES - 3, RECEIVE_BYTES + 4), 10 * RECEIVE_BYTES + 7])
def test_messages_as_large_as_the_buffer_and_larger(size):
    head = len(message(b"d", row(b"")))
    value = (bytes(range(255)) * (size // 255 + 1))[: size - head]
    data = [(b"d", HEADER), *[(b"d", row(value))] * 2, (b"d", row(b"next") + TRAILER)]
    dialog = sent(*PROLOGUE, BEGUN, *data, ENDED, *EPILOGUE)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = Thread(target=ours.sendall, args=(dialog,))
        sender.start()
        read = Read(theirs.fileno())
        sender.join()
    assert read.values == [value, value, b"next"]


def test_signals_do_not_shorten_the_patience():
    ours, theirs = socket.socketpair()
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    decoder = Decoder([Field(Kind.BYTES)], 200)
    with ours, theirs:
        decoder.attach_socket(theirs.fileno(), aside=bytearray().extend, patience=1500)
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        try:
            with pytest.raises(TimeoutError):
                decoder.drain()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started > 1.4


class Dropping:
    """libpq that closes its descriptor at the first message, whereupon another thread opens a file under its number."""

    def __init__(self, number: int, path: Path) -> None:
        self._number = number
        self._path = path
        self.opened = -1

    @property
    def socket(self) -> int:
        if self.opened >= 0:
            raise OperationalError("the connection is lost")
        return self._number

    def consume_input(self) -> None:
        os.close(self._number)
        self.opened = os.open(self._path, os.O_WRONLY | os.O_CREAT)
        raise OperationalError("lost synchronization with server")


def test_a_descriptor_that_libpq_has_closed_is_not_taken_from_its_next_owner(tmp_path):
    ours, theirs = socket.socketpair()
    with ours:
        libpq = Dropping(theirs.detach(), tmp_path / "part")
        number = libpq.socket
        aside = Aside(libpq)
        aside.add(b"S")
        with pytest.raises(OperationalError):
            aside.hand_over()
        assert libpq.opened == number
        os.write(number, b"rows")
        os.close(number)
    assert (tmp_path / "part").read_bytes() == b"rows"
