"""What a database server of the tests gives to a test."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import sqlalchemy


def new_password() -> str:
    """Return a password that must be escaped in a URL, as real ones must."""
    return f"p@:/%#{secrets.token_hex(8)}"


@dataclass(frozen=True)
class DatabaseServer(ABC):
    """One database of a running server, and how to reach it as its superuser."""

    host: str
    port: int
    user: str
    database: str
    password: str = field(repr=False)

    driver: ClassVar[str]  # SQLAlchemy's name of dialect and driver
    unreachable: ClassVar[type[Exception]]  # what the driver raises when nothing answers

    @property
    def url(self) -> str:
        """The SQLAlchemy URL, password included."""
        return sqlalchemy.URL.create(
            self.driver, self.user, self.password, self.host, self.port, self.database
        ).render_as_string(hide_password=False)

    @abstractmethod
    def connect(self) -> Any:
        """Open a connection of the driver (DB-API 2.0) that commits every statement; a context manager."""

    def execute(self, *statements: str) -> None:
        """Run statements on a connection of their own."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def create_database(self, name: str | None = None) -> Self:
        """Create a database for one test alone and return it."""
        name = name or f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return replace(self, database=name)

    def through(self, port: int) -> Self:
        """Return the same database as a proxy on another loopback port shows it."""
        return replace(self, port=port)

    def answers(self) -> bool:
        """Whether a query succeeds now."""
        try:
            self.execute("SELECT 1")
        except self.unreachable:
            return False
        return True
