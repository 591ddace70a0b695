"""Runs COPY statements on a connection of psycopg and hands their rows to the native decoder."""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from psycopg import OperationalError, errors
from psycopg.pq import DiagnosticField, ExecStatus

from rivet_core.builtin.sqlalchemy.backend import silence
from rivet_postgres.aside import Aside
from rivet_postgres.libpq import find_libpq, is_plain

if TYPE_CHECKING:
    from rivet_postgres._decoder import Decoder
    from rivet_postgres.fields import Rows

_WAIT_SECONDS: Final = 0.5
# Any socket takes so many bytes at once. While it sends more libpq reads, too, so nobody else may.
_SHORT_STATEMENT: Final = 4096


class Copier:
    """Copies out of one connection, one statement after the other.

    Args:
        read_timeout: seconds of silence after which the connection is given up.
    """

    def __init__(self, connection: Any, *, read_timeout: float) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._read_timeout = read_timeout
        self._patience = int(read_timeout * 1000)
        self._silent = 0.0

    def batches(self, statement: str, decoder: Decoder) -> Iterator[Rows]:
        """Run a statement and yield the decoder's full batches; it keeps the rows that fill none.

        Raises:
            psycopg.Error: the server or the connection failed.
            SourceUnavailable: the server has said nothing for too long.
            MalformedStream, RefusedField: as the decoder does.
        """
        past_libpq = is_plain(self._pgconn) and len(statement) <= _SHORT_STATEMENT
        self._send(statement)
        yield from self._past_libpq(decoder) if past_libpq else self._through_libpq(decoder)
        decoder.end_stream()

    def _past_libpq(self, decoder: Decoder) -> Iterator[Rows]:
        """Read the socket before libpq does; what is no row is handed to libpq in the end."""
        aside = Aside(self._pgconn)
        decoder.attach_socket(self._pgconn.socket, aside=aside.add, patience=self._patience)
        yield from self._drained(decoder)
        aside.hand_over()
        self._end(failed=decoder.failed)

    def _through_libpq(self, decoder: Decoder) -> Iterator[Rows]:
        """Take the rows from libpq, which alone knows how the line is encrypted."""
        result = self._result()
        if result is None or result.status != ExecStatus.COPY_OUT:
            problem = self._error(result)
            while self._next_result(problem) is not None:
                pass
            raise problem
        libpq = find_libpq()
        decoder.attach(
            self._pgconn.pgconn_ptr,
            get_copy_data=libpq.get_copy_data,
            free=libpq.free,
            consume_input=libpq.consume_input,
            socket=libpq.socket,
            tls=bool(self._pgconn.ssl_in_use),
            patience=self._patience,
        )
        yield from self._drained(decoder)
        self._end(failed=decoder.failed)

    def _drained(self, decoder: Decoder) -> Iterator[Rows]:
        try:
            while (rows := decoder.drain()) is not None:
                yield rows
        except TimeoutError:
            raise silence(self._read_timeout) from None

    def _send(self, statement: str) -> None:
        # The extended protocol takes one statement only, whatever its text.
        self._pgconn.send_query_params(statement.encode(), None)
        while self._pgconn.flush():
            self._wait(select.POLLIN | select.POLLOUT)
            self._pgconn.consume_input()

    def _end(self, *, failed: bool) -> None:
        """Take the statement's own result and leave the connection ready for the next one."""
        problem: Exception | None = None
        done = False
        while (result := self._next_result(problem)) is not None:
            if result.status == ExecStatus.COMMAND_OK:
                done = True
            else:
                problem = problem or self._error(result)
                if result.status == ExecStatus.COPY_OUT:
                    break
        if problem is not None or failed or not done:
            raise problem or self._error(None)

    def _next_result(self, problem: Exception | None) -> Any:
        """Return the next result; where the line breaks after a problem, that tells why."""
        try:
            return self._result()
        except OperationalError:
            if problem is not None:
                raise problem from None
            raise

    def _result(self) -> Any:
        """Return the next result of the statement, waiting in a way that signals interrupt."""
        while self._pgconn.is_busy():
            self._wait(select.POLLIN)
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._pgconn.socket, events)
        self._silent = 0.0 if poll.poll(_WAIT_SECONDS * 1000) else self._silent + _WAIT_SECONDS
        if self._silent > self._read_timeout:
            raise silence(self._read_timeout)

    def _error(self, result: Any) -> Exception:
        if result is not None and result.error_field(DiagnosticField.SQLSTATE):
            return errors.error_from_result(result)
        return OperationalError(self._pgconn.get_error_message() or "the copy ended without a result")
