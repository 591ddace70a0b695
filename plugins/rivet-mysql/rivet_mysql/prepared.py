"""Runs a query as a prepared statement, whose rows are of the binary protocol; where that cannot be, as a text."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pymysql import err
from pymysql.connections import MySQLResult
from pymysql.constants import COMMAND, CR, ER

from rivet_core.builtin.sqlalchemy.reading import logger

#: Whether all rows of a described result can be read from their binary form.
Suits = Callable[[MySQLResult], bool]

_NO_CURSOR: Final = 0
_PREPARED: Final = struct.Struct("<BIHH")  # OK, the statement's number, how many columns, how many parameters
# The server, or a proxy in front of it, does not prepare this statement, or not any more; it may run it all the same.
_REFUSALS: Final = {
    ER.UNKNOWN_COM_ERROR,
    ER.UNKNOWN_ERROR,  # by which proxies say what they cannot
    ER.NOT_SUPPORTED_YET,
    ER.UNKNOWN_STMT_HANDLER,
    ER.UNSUPPORTED_PS,
    ER.MAX_PREPARED_STMT_COUNT_REACHED,
    1615,  # needs to be prepared again
}


def run(cursor: Any, query: str, suits: Suits) -> bool:
    """Prepare and execute a query; return whether it runs. If not, it may run as a text.

    Args:
        cursor: PyMySQL's, unbuffered.
        query: without parameters.
        suits: is asked before the query runs.

    Raises:
        pymysql.err.MySQLError: the query fails, as it would as a text.
    """
    connection = cursor.connection
    cursor._clear_result()
    try:
        result = _execute(connection, query, suits)
    except err.MySQLError as error:
        number = error.args[0]
        if number not in _REFUSALS:
            raise
        logger.debug("the server refuses to prepare the query (error %d), which is read as text", number)
        return False
    except UnicodeEncodeError:
        # Before 1.2 PyMySQL writes bytes into the text as surrogates, which only its own ``query`` encodes.
        logger.debug("the query holds bytes as the driver writes them, and is read as text")
        return False
    if result is None:
        logger.debug("the query, or a column of it, needs the text protocol")
        return False
    if result.unbuffered_active and not suits(result):
        raise err.OperationalError(ER.TABLE_DEF_CHANGED, "the columns have changed since the query was prepared")
    cursor._do_get_result()
    return True


def _execute(connection: Any, query: str, suits: Suits) -> BinaryResult | None:
    statement, described = _prepare(connection, query)
    result = None
    try:
        if described is not None and suits(described):
            result = statement.execute()
    finally:
        if result is None:
            statement.close()
    return result


class Statement:
    """A prepared statement.

    Args:
        connection: PyMySQL's.
        number: by which the server knows it.
    """

    def __init__(self, connection: Any, number: int) -> None:
        self._connection = connection
        self._number = number

    def execute(self) -> BinaryResult:
        """Run it and read the description of its rows."""
        connection = self._connection
        connection._execute_command(COMMAND.COM_STMT_EXECUTE, struct.pack("<IBI", self._number, _NO_CURSOR, 1))
        result = BinaryResult(connection, self)
        result.init_unbuffered_query()
        connection._result = result
        return result

    def close(self) -> None:
        """Make the server forget it; no rows are left to read. A lost connection has done so already."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            with suppress(err.Error):
                connection._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", self._number))


class BinaryResult(MySQLResult):
    """A result whose rows are of the binary protocol, which PyMySQL can pass over but not read.

    Args:
        connection: PyMySQL's.
        statement: what it is the result of; closed with it.
    """

    def __init__(self, connection: Any, statement: Statement) -> None:
        super().__init__(connection)
        self.statement = statement

    def _finish_unbuffered_query(self) -> None:
        untyped: Any = super()
        try:
            untyped._finish_unbuffered_query()
        finally:
            self.statement.close()


def _prepare(connection: Any, query: str) -> tuple[Statement, MySQLResult | None]:
    """Return the statement and, as a result without rows, what its rows will be; ``None`` where that is not told."""
    connection._execute_command(COMMAND.COM_STMT_PREPARE, query)
    answer = connection._read_packet().get_all_data()
    if len(answer) < _PREPARED.size or answer[0] != 0:
        raise err.OperationalError(CR.CR_MALFORMED_PACKET, "Malformed packet")
    _, number, columns, parameters = _PREPARED.unpack_from(answer)
    statement = Statement(connection, number)
    described: Any = None
    for count in (parameters, columns):
        if count:
            described = MySQLResult(connection)
            described.field_count = count
            described._get_descriptions()
            described.connection = None
    # A question mark that is no text makes a parameter; as a text the query has a syntax error there.
    return statement, described if columns and not parameters else None
