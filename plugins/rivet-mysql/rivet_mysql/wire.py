"""Takes over PyMySQL's connection behind the column definitions of a result, and reads its socket in large pieces."""

from __future__ import annotations

import io
from typing import Any, Final

from pymysql import err
from pymysql.constants import CLIENT, CR

from rivet_mysql.prepared import BinaryResult

_BUFFER_BYTES: Final = 1 << 20
# With less room than this behind what waits, that is moved to the front first.
_MIN_READ_BYTES: Final = 1 << 16


class Wire:
    """The bytes of one result.

    Args:
        cursor: has executed a query, unbuffered, and read no row.
    """

    def __init__(self, cursor: Any) -> None:
        self._connection = cursor.connection
        self._result = cursor._result
        self._buffer = bytearray(_BUFFER_BYTES)
        self._start = 0
        self._end = 0
        self._took_over = False

    @property
    def sequence(self) -> int:
        """The number that the next packet must have."""
        return int(self._connection._next_seq_id)

    @property
    def result(self) -> Any:
        """PyMySQL's, with the description of the columns."""
        return self._result

    @property
    def is_binary(self) -> bool:
        """Whether the rows are of the binary protocol."""
        return isinstance(self._result, BinaryResult)

    @property
    def deprecate_eof(self) -> bool:
        """Whether the result ends with an OK packet."""
        return bool(self._connection.client_flag & getattr(CLIENT, "DEPRECATE_EOF", 1 << 24))

    @property
    def waiting(self) -> memoryview:
        """What has arrived and is not consumed."""
        return memoryview(self._buffer)[self._start : self._end]

    def consume(self, size: int, sequence: int) -> None:
        """Forget the first bytes of what waits, which are whole packets.

        Args:
            size: in bytes.
            sequence: the number that the packet behind them must have.
        """
        self._start += size
        self._connection._next_seq_id = sequence

    def read(self, wanted: int) -> None:
        """Wait for more bytes.

        Args:
            wanted: how many shall have room, with those that wait.

        Raises:
            pymysql.err.OperationalError: the connection was lost.
            TimeoutError: nothing has come for as long as PyMySQL waits.
        """
        self._make_room(wanted)
        try:
            got = self._read_into(memoryview(self._buffer)[self._end :])
        except TimeoutError:
            self.cut()
            raise
        except OSError:
            got = 0
        if not got:
            self.cut()
            raise err.OperationalError(CR.CR_SERVER_LOST, "Lost connection to MySQL server during query")
        self._end += got

    def _read_into(self, free: memoryview) -> int:
        stream = self._connection._rfile
        if self._took_over:
            return int(stream.raw.readinto(free))
        # PyMySQL's buffer may hold the first rows. ``readinto1`` would empty it and then wait for more all the same.
        self._took_over = True
        first = stream.read1(len(free))
        free[: len(first)] = first
        return len(first)

    def _make_room(self, wanted: int) -> None:
        waiting = self._end - self._start
        size = max(_BUFFER_BYTES, wanted + _MIN_READ_BYTES)
        if size > len(self._buffer) or (len(self._buffer) > _BUFFER_BYTES >= size and not waiting):
            grown = bytearray(size)
            grown[:waiting] = self.waiting
            self._buffer = grown
        elif len(self._buffer) - self._end < max(_MIN_READ_BYTES, wanted - waiting):
            memoryview(self._buffer)[:waiting] = self.waiting  # which may overlap
        elif waiting:
            return
        self._start, self._end = 0, waiting

    def end(self) -> None:
        """Tell PyMySQL that its result is read to the end; the connection may run the next statement."""
        self._result.unbuffered_active = False
        self._result.connection = None
        if isinstance(self._result, BinaryResult):
            self._result.statement.close()

    def cut(self) -> None:
        """Close the connection at once."""
        self._connection._force_close()
        self.end()

    def give_back(self) -> None:
        """Let PyMySQL read on where this has stopped, in front of a packet."""
        connection = self._connection
        if connection._rfile is not None and self._start < self._end:
            connection._rfile = io.BufferedReader(_Resumed(bytes(self.waiting), connection._rfile))
            self._start = self._end


class _Resumed(io.RawIOBase):
    """Some bytes, and then the rest of a stream, which buffers nothing itself."""

    def __init__(self, first: bytes, then: Any) -> None:
        self._first = memoryview(first)
        self._then = then

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._first:
            return int(self._then.raw.readinto(buffer))
        size = min(len(buffer), len(self._first))
        buffer[:size] = self._first[:size]
        self._first = self._first[size:]
        return size

    def close(self) -> None:
        self._then.close()
        super().close()
