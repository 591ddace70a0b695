"""The deterministic table ``mixed``: columns of every common kind, the same rows in SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Engine = Literal["sqlite", "postgres", "mariadb"]

# Knuth's multiplier scatters neighbours, so that columns compress like real ones.
_HASH = "(i * 2654435761 % 4294967296)"


@dataclass(frozen=True)
class _Column:
    """A column: its declared type, and the value of row ``i``; where engines spell one differently, by engine."""

    name: str
    declared: str | dict[Engine, str]
    value: str | dict[Engine, str]


_COLUMNS = (
    _Column("id", "BIGINT PRIMARY KEY", "i"),
    _Column("customer", "INTEGER NOT NULL", f"{_HASH} % 200000"),
    _Column("quantity", "SMALLINT", "CASE WHEN i % 11 = 0 THEN NULL ELSE 1 + i % 9 END"),
    _Column(
        "weight",
        "DOUBLE PRECISION",
        {
            "sqlite": f"CASE WHEN i % 7 = 0 THEN NULL ELSE CAST({_HASH} AS REAL) / 1024 END",
            "postgres": f"CASE WHEN i % 7 = 0 THEN NULL ELSE CAST({_HASH} AS DOUBLE PRECISION) / 1024 END",
            "mariadb": f"CASE WHEN i % 7 = 0 THEN NULL ELSE CAST({_HASH} AS DOUBLE) / 1024 END",
        },
    ),
    _Column("price", "DECIMAL(12, 2) NOT NULL", f"{_HASH} % 1000000 / 100.0"),
    _Column("discount", "DECIMAL(6, 4)", "CASE WHEN i % 5 = 0 THEN NULL ELSE i % 1000 / 10000.0 END"),
    _Column(
        "status",
        "VARCHAR(16) NOT NULL",
        f"CASE {_HASH} % 5 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' WHEN 2 THEN 'shipped' ELSE 'delivered' END",
    ),
    _Column(
        "note",
        "TEXT",
        {
            "sqlite": f"CASE WHEN i % 3 = 0 THEN NULL ELSE 'note ' || {_HASH} || ' ménüß ' || i END",
            "postgres": f"CASE WHEN i % 3 = 0 THEN NULL ELSE 'note ' || {_HASH} || ' ménüß ' || i END",
            "mariadb": f"CASE WHEN i % 3 = 0 THEN NULL ELSE concat('note ', {_HASH}, ' ménüß ', i) END",
        },
    ),
    _Column(
        "ordered",
        "DATE NOT NULL",
        {
            "sqlite": "date('2020-01-01', (i % 1500) || ' days')",
            "postgres": "date '2020-01-01' + CAST(i % 1500 AS integer)",
            "mariadb": "date_add('2020-01-01', INTERVAL i % 1500 DAY)",
        },
    ),
    _Column(
        "shipped",
        "DATE",
        {
            "sqlite": "CASE WHEN i % 4 = 0 THEN NULL ELSE date('2020-01-05', (i % 1500) || ' days') END",
            "postgres": "CASE WHEN i % 4 = 0 THEN NULL ELSE date '2020-01-05' + CAST(i % 1500 AS integer) END",
            "mariadb": "CASE WHEN i % 4 = 0 THEN NULL ELSE date_add('2020-01-05', INTERVAL i % 1500 DAY) END",
        },
    ),
    _Column(
        "updated",
        {"sqlite": "TIMESTAMP NOT NULL", "postgres": "TIMESTAMP NOT NULL", "mariadb": "DATETIME(6) NOT NULL"},
        {
            "sqlite": f"datetime(1600000000 + {_HASH} % 86400000, 'unixepoch') || printf('.%03d', i % 1000)",
            "postgres": f"timestamp '2020-09-13 12:26:40' + {_HASH} % 86400000 * interval '1 second'"
            " + i % 1000 * interval '1 millisecond'",
            "mariadb": f"date_add(date_add('2020-09-13 12:26:40', INTERVAL {_HASH} % 86400000 SECOND),"
            " INTERVAL i % 1000 * 1000 MICROSECOND)",
        },
    ),
)


def sqlite_mixed(path: Path, rows: int) -> None:
    """Create the table in a new SQLite file unless the file is there already."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    numbers = f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT i FROM n)"
    with closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        for statement in _statements("sqlite", "CREATE TABLE", numbers):
            connection.execute(statement)
        connection.commit()
    unfinished.rename(path)


def postgres_mixed(execute: Callable[..., None], rows: int) -> None:
    """Create the table through ``execute(*statements)``."""
    numbers = f"generate_series(1::bigint, {rows}) AS n(i)"
    execute(*_statements("postgres", "CREATE UNLOGGED TABLE", numbers), "VACUUM ANALYZE mixed")


def mariadb_mixed(execute: Callable[..., None], rows: int) -> None:
    """Create the table through ``execute(*statements)``."""
    execute(*_statements("mariadb", "CREATE TABLE", f"(SELECT seq AS i FROM seq_1_to_{rows}) n"))


def _statements(engine: Engine, create: str, numbers: str) -> tuple[str, str]:
    columns = ", ".join(f"{column.name} {_spelled(column.declared, engine)}" for column in _COLUMNS)
    values = ", ".join(_spelled(column.value, engine) for column in _COLUMNS)
    return f"{create} mixed ({columns})", f"INSERT INTO mixed SELECT {values} FROM {numbers}"


def _spelled(text: str | dict[Engine, str], engine: Engine) -> str:
    return text if isinstance(text, str) else text[engine]
