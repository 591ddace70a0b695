"""The deterministic table ``orders`` that the benchmarks export, the same rows in SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

# name, type in SQLite, type in PostgreSQL, value of row `i`. Both engines compute every value alike: integers only, and
# text from integers. 2654435761 is Knuth's multiplier: it scatters neighbours, so that columns compress like real ones.
_HASH = "(i * 2654435761 % 4294967296)"
_WORD = (
    "substr('alphabetagammadeltaepsilonzetaetathetaiotakappalambdaménüß', "
    f"CAST(1 + {_HASH} % 40 AS INTEGER), CAST(4 + i % 14 AS INTEGER))"
)
_COLUMNS = (
    ("id", "BIGINT PRIMARY KEY", "bigint PRIMARY KEY", "i"),
    ("customer_id", "INTEGER NOT NULL", "integer NOT NULL", f"{_HASH} % 200000"),
    (
        "status",
        "VARCHAR(16) NOT NULL",
        "varchar(16) NOT NULL",
        f"CASE {_HASH} % 5 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' WHEN 2 THEN 'shipped' ELSE 'delivered' END",
    ),
    ("amount_cents", "BIGINT NOT NULL", "bigint NOT NULL", f"{_HASH} % 1000000"),
    ("quantity", "SMALLINT NOT NULL", "smallint NOT NULL", "1 + i % 9"),
    (
        "weight",
        "DOUBLE",
        "double precision",
        f"CASE WHEN i % 7 = 0 THEN NULL ELSE CAST({_HASH} AS DOUBLE PRECISION) / 1024 END",
    ),
    ("note", "TEXT", "text", f"CASE WHEN i % 3 = 0 THEN NULL ELSE {_WORD} || ' ' || i || ' ' || {_WORD} END"),
    ("reference", "TEXT NOT NULL", "text NOT NULL", f"'ref-' || {_HASH} || '-' || i"),
)
_VALUES = ", ".join(value for *_, value in _COLUMNS)


def sqlite_orders(path: Path, rows: int) -> None:
    """Create the table in a new SQLite file unless the file is there already."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute(f"CREATE TABLE orders ({', '.join(f'{name} {kind}' for name, kind, _, _ in _COLUMNS)})")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            f"INSERT INTO orders SELECT {_VALUES} FROM n",
            [rows],
        )
        connection.commit()
    unfinished.rename(path)


def postgres_orders(execute: Callable[..., None], rows: int) -> None:
    """Create the table through ``execute(*statements)``."""
    execute(
        f"CREATE UNLOGGED TABLE orders ({', '.join(f'{name} {kind}' for name, _, kind, _ in _COLUMNS)})",
        f"INSERT INTO orders SELECT {_VALUES} FROM generate_series(1::bigint, {rows}) AS n(i)",
        "VACUUM ANALYZE orders",
    )
