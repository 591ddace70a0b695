"""What stands for a PostgreSQL server at the other end of a socket: it sends messages, cut anywhere, and hangs up."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return one message of the protocol."""
    return kind + struct.pack("!I", len(body) + 4) + body


#: Before the rows of a statement, and behind them.
BEGUN: Final = b"".join((message(b"1"), message(b"2"), message(b"n"), message(b"H", b"\1\0\0")))
ENDED: Final = b"".join((message(b"c"), message(b"C", b"COPY\0"), message(b"Z", b"T")))
NOTICE: Final = message(b"N", b"SNOTICE\0\0")


def dialog(parts: Sequence[bytes], *, complete: bool = True) -> bytes:
    """Return what a server sends that copies these parts, each in a message; there is a notice in the middle."""
    data = [message(b"d", part) for part in parts]
    data.insert(len(data) // 2, NOTICE)
    return BEGUN + b"".join(data) + ENDED * complete


@contextmanager
def sending(pieces: Sequence[bytes], *, together: bool) -> Iterator[int]:
    """Yield the socket that receives the pieces, one at a time or ``together``, and then that there is no more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM if together else socket.SOCK_SEQPACKET)
    with theirs:
        with ours:
            for piece in filter(None, pieces):
                ours.send(piece)
        yield theirs.fileno()
