"""How the tables of earlier releases become those of this one; each step runs once, in one transaction."""

from __future__ import annotations

from sqlalchemy import Column, Connection
from sqlalchemy.schema import CreateColumn

from rivet_core.state import tables


def add_chunks(connection: Connection) -> None:
    """Version 2: chunks, and what a resume needs to know of a run and its parts."""
    tables.chunk.create(connection)
    for column in (tables.run.c.prefix, tables.run.c.inputs, tables.run.c.resumes):
        _add(connection, column)
    for column in (tables.part.c.checksums, tables.part.c.written_by):
        _add(connection, column)


def add_cursors(connection: Connection) -> None:
    """Version 3: cursors of incremental exports, and the columns that a run has seen."""
    tables.cursor.create(connection)
    _add(connection, tables.run.c.columns)


def _add(connection: Connection, column: Column[str]) -> None:
    preparer = connection.dialect.identifier_preparer
    definition = CreateColumn(column).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {preparer.format_table(column.table)} ADD COLUMN {definition}")
