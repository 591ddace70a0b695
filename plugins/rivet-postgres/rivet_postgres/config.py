"""The fields of ``source:`` with ``type: postgres``: those of the SQLAlchemy source, without its dialect."""

from __future__ import annotations

from typing import ClassVar

from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig


class PostgresConfig(SqlalchemyConfig):
    """A PostgreSQL database: a URL, or its parts."""

    dialect: ClassVar[str] = "postgresql"  # type: ignore[misc]  # a constant here, not a field
