"""What each transaction on PostgreSQL sets for itself.

Nothing outlives the transaction: behind a pooler the server's connection goes to another client next. For the same
reason nothing is taken as given that the last client may have left there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

_CANCEL_SECONDS: Final = 5.0
_SETTINGS: Final = (
    # The text forms that the decoders read.
    "TIME ZONE 'UTC'",
    "client_encoding = 'UTF8'",
    "datestyle = 'ISO, YMD'",
    "intervalstyle = 'postgres'",
    "extra_float_digits = 3",
    "bytea_output = 'hex'",
    # What the server, the database or the role says: rows, names and text may depend on it, or whether a statement ends
    # well.
    *(
        f"{name} TO DEFAULT"
        for name in (
            "role",
            "search_path",
            "quote_all_identifiers",
            "row_security",
            "lc_monetary",
            "lc_numeric",
            "lc_time",
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
        )
    ),
)


def settle(connection: Any, *further: str) -> None:
    """Set the transaction's forms of text and its time zone, and what else is given; begins the transaction if needed.

    Args:
        connection: of psycopg.
        further: settings, as ``name = value``.
    """
    # Without parameters psycopg sends all of them at once.
    connection.execute("; ".join(f"SET LOCAL {setting}" for setting in (*_SETTINGS, *further)))


def drop(connection: Any) -> None:
    """Close a connection of psycopg; its transaction is rolled back first.

    What still runs is cancelled, for the server would go on until it next writes. A pooler throws a server's connection
    away when a client leaves it within a transaction.
    """
    with suppress(Exception):
        match connection.info.transaction_status.name:
            case "ACTIVE":
                connection.cancel_safe(timeout=_CANCEL_SECONDS)
            case "INTRANS" | "INERROR":
                connection.rollback()
    connection.close()


def end(connection: Any) -> None:
    """End the transaction of a reader that has read what it wants; drop the connection where that is not possible."""
    with suppress(Exception):
        if connection.info.transaction_status.name == "INTRANS":
            connection.rollback()
    if connection.info.transaction_status.name != "IDLE":
        drop(connection)


def clear_up(connection: Any) -> bool:
    """Whether a connection that a reader has left can be another one's; its next transaction is an ordinary one."""
    if connection.closed or connection.info.transaction_status.name != "IDLE":
        return False
    connection.isolation_level = None
    return True
