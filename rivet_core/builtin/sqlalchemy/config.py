"""The fields of ``source:`` for the SQLAlchemy source."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from rivet_core.api import register_secret

#: Seconds; some statements look for their first row for long.
READ_TIMEOUT: Final = 3600.0

TlsMode = Literal["disable", "require", "verify-ca", "verify-full"]

_RAW_PASSWORD = re.compile(r"://[^:/@]*:(.+)@")
_SECRET_PARAMETER = re.compile(r"pass|secret|token", re.IGNORECASE)


def parse_url(text: str) -> URL:
    """Return the parsed URL; every password in it, encoded or not, is known to the redactor from then on.

    Raises:
        ValueError: the text is no database URL; the message holds none of it.
    """
    raw = _RAW_PASSWORD.search(text)
    if raw:
        register_secret(raw.group(1))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("is no database URL; write it as dialect://user:password@host:port/database") from None
    if url.password:
        register_secret(str(url.password))
    for name, value in url.query.items():
        if _SECRET_PARAMETER.search(name):
            for secret in (value,) if isinstance(value, str) else value:
                register_secret(secret)
    return url


class TlsConfig(BaseModel):
    """Encryption of the connection to the database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: TlsMode | None = Field(
        None,
        description="`disable` does not ask for TLS, `require` encrypts without checking the certificate, `verify-ca` "
        "checks who signed it, `verify-full` also the host name. Default: `verify-full` with a `ca_file`, `require` "
        "for a remote database, whatever the driver does for one on this machine.",
    )
    ca_file: str | None = Field(
        None,
        description="PEM file of the certificate authorities to trust, relative to the configuration file. "
        "Default for MySQL: the system's; for PostgreSQL: what libpq finds.",
    )

    @model_validator(mode="after")
    def _check(self) -> TlsConfig:
        if self.ca_file is not None and self.mode in {"disable", "require"}:
            raise ValueError(f"ca_file has no effect with mode: {self.mode}; use verify-full or leave one of them out")
        return self


class SqlalchemyConfig(BaseModel):
    """A database: a URL, or its parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    dialect: str | None = Field(
        None, description="SQLAlchemy's name of the database; follows from `type`, or from the URL."
    )
    url: str | None = Field(
        None,
        repr=False,
        description="SQLAlchemy URL, such as `postgresql://user@host/database` or `sqlite:///shop.db` (a path relative "
        "to the configuration file). Keep passwords out of it: use `url_env`, or `${VAR}` inside the URL.",
    )
    url_env: str | None = Field(None, description="Name of the environment variable that holds the URL.")
    url_file: str | None = Field(
        None, description="File that holds the URL and nothing else, relative to the configuration file."
    )
    host: str | None = Field(None, description="Host name, IP address or directory of the Unix socket.")
    port: int | None = Field(None, ge=1, le=65535, description="TCP port. Default: the database's own.")
    user: str | None = Field(None, description="User name.")
    password_env: str | None = Field(None, description="Name of the environment variable that holds the password.")
    database: str | None = Field(None, description="Name of the database; for SQLite the path of the file.")
    read_timeout: float = Field(
        READ_TIMEOUT,
        gt=0,
        description="Seconds without a word from the database server until a connection is given up for lost. A "
        "statement that looks for its first row longer than that needs more. SQLite and unknown databases ignore it.",
    )
    tls: TlsConfig = Field(default_factory=TlsConfig, description="Encryption of the connection.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None:
            parse_url(value)
        return value

    @model_validator(mode="after")
    def _check_one_address(self) -> SqlalchemyConfig:
        urls = [name for name in ("url", "url_env", "url_file") if getattr(self, name) is not None]
        parts = [
            name for name in ("host", "port", "user", "password_env", "database") if getattr(self, name) is not None
        ]
        if len(urls) > 1 or (urls and parts):
            raise ValueError(f"{' and '.join([*urls, *parts])} exclude each other; the URL holds everything")
        if not urls and not parts:
            raise ValueError("where is the database? set url_env, url_file, url, or host and database")
        if not urls and self.dialect is None:
            raise ValueError("type: sqlalchemy needs a URL (url, url_env or url_file)")
        if not urls and self.database is None:
            raise ValueError("database is missing")
        if self.dialect == "sqlite" and parts and parts != ["database"]:
            raise ValueError(f"SQLite has no {', '.join(parts)}; set database to the path of the file")
        return self
