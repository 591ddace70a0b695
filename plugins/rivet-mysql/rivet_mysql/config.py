"""The fields of ``source:`` with ``type: mysql`` or ``mariadb``: the SQLAlchemy source's without its dialect."""

from __future__ import annotations

from typing import ClassVar

from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig


class MysqlConfig(SqlalchemyConfig):
    """A MySQL or MariaDB database: a URL, or its parts."""

    dialect: ClassVar[str] = "mysql"  # type: ignore[misc]  # a constant here, not a field
