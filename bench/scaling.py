"""The case ``scaling``: how time and memory of a native PostgreSQL export grow with rows, with columns, with values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.case import Case, Goal, Series, Setting
from bench.growth import short
from bench.measure import Contender
from bench.rivet import rivet_run
from servers.postgres import Postgres, postgres_server
from servers.process import ServerMissing

_MOST_ROWS = 60_000_000
_MEMORY_MIB = 300e6 / 2**20
# Time may grow by so much more than the export does.
_SLACK = 1.1

# Types and values of columns, over and over; as many bytes of each in every row.
_COLUMNS = (
    ("bigint", "i * 7919"),
    ("integer", "i % 200000"),
    ("numeric(12,2)", "(i * 2654435761 % 100000000) / 100.0"),
    ("timestamptz", "timestamptz '2026-01-01 00:00:00Z' + i * interval '1 second'"),
    ("text", "'note-' || i % 1000003"),
)
# 128 characters that do not compress.
_NOISE = "encode(sha512((i || '-' || j)::text::bytea), 'hex')"


@dataclass(frozen=True)
class _Table:
    """A table to export.

    Attributes:
        name: also the contender's.
        rows: how many it has.
        size: what grows in its series.
        columns: each column's definition and the expression of its value in row ``i``.
    """

    name: str
    rows: int
    size: int
    columns: tuple[tuple[str, str], ...]


@contextmanager
def scaling(setting: Setting) -> Iterator[Case]:
    """Export tables of more and more rows, columns and bytes; ``--rows`` is how many rows the longest one has."""
    most = setting.rows_or(_MOST_ROWS)
    tables: dict[str, list[_Table]] = {
        "rows": [_rows(max(most // part, 1)) for part in (60, 12, 4, 1)],
        "columns": [_wide(max(most // 100, 1), count) for count in (5, 20, 75, 300)],
        "bytes of a value": [_large(max(most // 60_000, 1), size) for size in (10, 1000, 100_000, 1_000_000)],
    }
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres_server())
        except ServerMissing as missing:
            yield Case((), skipped=(f"postgres: {missing}",))
            return
        everything = [_EMPTY, *(table for group in tables.values() for table in group)]
        wanted = [table for table in everything if not setting.only or table.name in setting.only]
        yield Case(
            tuple(_export(setting, server, table) for table in wanted),
            goals=tuple(goal for group in tables.values() for goal in _goals(group)),
            notes={table.name: _note(table) for group in tables.values() for table in group},
            series=tuple(
                Series(what, tuple((table.size, table.name) for table in group), _EMPTY.name)
                for what, group in tables.items()
            ),
        )


def _rows(rows: int) -> _Table:
    return _Table(f"{short(rows).strip()} rows", rows, rows, _columns(5))


def _wide(rows: int, count: int) -> _Table:
    return _Table(f"{count} columns", rows, count, _columns(count))


def _large(rows: int, size: int) -> _Table:
    text = f"(SELECT substr(string_agg({_NOISE}, ''), 1, {size}) FROM generate_series(0, {(size - 1) // 128}) AS m(j))"
    return _Table(f"{short(size)}B values", rows, size, (("id bigint", "i"), ("v text", text)))


def _columns(count: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"c{place} {_COLUMNS[place % 5][0]}", _COLUMNS[place % 5][1]) for place in range(count))


_EMPTY = _Table("no rows", 0, 0, _columns(5))


def _note(table: _Table) -> str:
    return f"{table.rows:,} rows of {len(table.columns)} columns"


def _goals(tables: list[_Table]) -> Iterator[Goal]:
    """Time grows at most as the export does, from the second largest to the largest; memory does not."""
    *_, second, largest = tables
    yield Goal(largest.name, "wall_seconds", _SLACK * largest.size / second.size, second.name)
    yield Goal(largest.name, "peak_rss_mib", _MEMORY_MIB)


def _export(setting: Setting, server: Postgres, table: _Table) -> Contender:
    """Make the table and return its export."""
    name = "t_" + "".join(character if character.isalnum() else "_" for character in table.name.lower())
    definitions = ", ".join(definition for definition, _ in table.columns)
    values = ", ".join(value for _, value in table.columns)
    # Otherwise the server's own compression would be most of what is measured.
    storage = [f"ALTER TABLE {name} ALTER v SET STORAGE EXTERNAL"] if "v text" in definitions else []
    server.execute(
        f"CREATE UNLOGGED TABLE {name} ({definitions})",
        *storage,
        f"INSERT INTO {name} SELECT {values} FROM generate_series(1::bigint, {table.rows}) AS n(i)",
        f"VACUUM ANALYZE {name}",
    )
    return rivet_run(setting.work / name, "postgres", server.url, table.rows, name=table.name, table=name)
