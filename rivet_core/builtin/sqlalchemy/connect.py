"""From the configuration to a SQLAlchemy engine: URL, driver, TLS, time-outs. Nothing connects here."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from rivet_core.api import ConfigError, DriverMissing, register_secret
from rivet_core.builtin.sqlalchemy.config import parse_url

if TYPE_CHECKING:
    import sqlite3

    from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig, TlsMode

#: Seconds until an attempt to connect is given up, unless the URL says otherwise.
CONNECT_TIMEOUT: Final = 15

#: Seconds until a silent line is probed, and between two probes.
KEEPALIVE_IDLE: Final = 60
KEEPALIVE_INTERVAL: Final = 15

# What users call a dialect, and the one driver that this source reads it with.
_DIALECTS: Final = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}
_DRIVERS: Final = {"postgresql": "psycopg", "mysql": "pymysql", "sqlite": "pysqlite"}
_EXTRAS: Final = {"postgresql": "postgres", "mysql": "mysql"}
_DISABLE_HINT: Final = "set tls: {mode: require}, or tls: {mode: disable} if the network is trusted"


@dataclass(frozen=True)
class Address:
    """Where the database is and how to connect to it.

    Attributes:
        url: complete, with the driver; its ``repr`` hides the password.
        connect_args: further arguments of the driver's ``connect``.
        tls_required: a connection without TLS must not be used.
    """

    url: URL
    connect_args: dict[str, Any] = field(default_factory=dict, repr=False)
    tls_required: bool = False


def resolve_address(config: SqlalchemyConfig, base_dir: Path) -> Address:
    """Read the URL or its parts from where the configuration says.

    Raises:
        ConfigError: a variable or file is missing, the URL is of another database than the type, or a remote
            database would be used without TLS.
    """
    url = _read_url(config, base_dir)
    dialect, _, driver = url.drivername.partition("+")
    known = _DIALECTS.get(dialect)
    if config.dialect is not None and known != config.dialect:
        raise ConfigError(
            f"the URL is of {dialect}, but the source's type stands for {config.dialect}",
            hint="change type: or the URL",
        )
    if known is None:
        return _other_address(url, config)
    if driver and driver != _DRIVERS[known]:
        raise ConfigError(
            f"Rivet reads {known} with the driver {_DRIVERS[known]}, not with {driver}",
            hint=f"write the URL as {known}://…",
        )
    url = url.set(drivername=f"{known}+{_DRIVERS[known]}")
    if known == "sqlite":
        return _sqlite_address(url, base_dir)
    return _postgres_address(url, config, base_dir) if known == "postgresql" else _mysql_address(url, config, base_dir)


def open_engine(address: Address) -> sqlalchemy.Engine:
    """Create the engine.

    Raises:
        DriverMissing: the dialect or its driver is not installed.
    """
    dialect = address.url.get_backend_name()
    creator: dict[str, Any] = {}
    if dialect == "sqlite":
        creator["creator"] = partial(_open_sqlite, str(address.url.database))
    try:
        # A pooled connection idles while a chunk is read, perhaps longer than the server lets it.
        return sqlalchemy.create_engine(
            address.url, connect_args=address.connect_args, hide_parameters=True, pool_pre_ping=True, **creator
        )
    except NoSuchModuleError:
        raise DriverMissing(
            f"no SQLAlchemy dialect named {address.url.drivername} is installed",
            hint="install the package that provides it, or correct the URL",
        ) from None
    except ImportError as error:
        extra = _EXTRAS.get(dialect)
        missing = isinstance(error, ModuleNotFoundError)
        raise DriverMissing(
            f"the driver of {dialect} is not installed ({error.name})"
            if missing
            else f"the driver of {dialect} cannot be loaded, for it misses a library of its own",
            hint=f"pip install 'rivet-core[{extra}]'" if extra else f"pip install {error.name or dialect}",
        ) from None
    except ArgumentError:
        raise ConfigError("SQLAlchemy refuses the database URL", hint="check its parameters") from None


def keep_alive(line: Any) -> None:
    """Let the operating system find out that the other side of a TCP connection is gone, within minutes."""
    if line is None or line.family == getattr(socket, "AF_UNIX", None):
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", KEEPALIVE_IDLE), ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL)):
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _read_url(config: SqlalchemyConfig, base_dir: Path) -> URL:
    if config.url is not None:
        return parse_url(config.url)
    if config.url_env is not None:
        return _parse(_environment(config.url_env, "url_env"), f"the environment variable {config.url_env}")
    if config.url_file is not None:
        path = base_dir / config.url_file
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"cannot read url_file {path}: {reason}", hint="check the path and its mode") from None
        return _parse(text.strip(), f"the file {path}")
    password = None
    if config.password_env is not None:
        password = _environment(config.password_env, "password_env")
        register_secret(password)
    return URL.create(
        str(config.dialect),
        username=config.user,
        password=password,
        host=config.host,
        port=config.port,
        database=config.database,
    )


def _parse(text: str, where: str) -> URL:
    try:
        return parse_url(text)
    except ValueError as error:
        raise ConfigError(f"{where} {error}") from None


def _environment(name: str, field_name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(
            f"{field_name} names the environment variable {name}, which is not set",
            hint=f"export {name}=… before the command",
        )
    return value


def _sqlite_address(url: URL, base_dir: Path) -> Address:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError("the SQLite URL names no database file", hint="write sqlite:///relative.db")
    if url.query or url.host:
        raise ConfigError(
            "a SQLite URL takes a path and nothing else",
            hint="write sqlite:///relative.db, or sqlite:////absolute.db with four slashes",
        )
    path = (base_dir / Path(url.database).expanduser()).absolute()
    if not path.is_file():
        raise ConfigError(
            f"there is no database file {path}", hint="relative paths start at the directory of the configuration file"
        )
    return Address(url.set(database=str(path)))


def _open_sqlite(path: str) -> sqlite3.Connection:
    """Open an existing file, never creating or changing one."""
    import sqlite3

    return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, check_same_thread=False)


def _postgres_address(url: URL, config: SqlalchemyConfig, base_dir: Path) -> Address:
    query = url.query
    hosts = [*_split(url.host), *_split(query.get("host")), *_split(query.get("hostaddr"))]
    service = "service" in query or "PGSERVICE" in os.environ
    if not hosts and not service:
        hosts = [*_split(os.environ.get("PGHOST")), *_split(os.environ.get("PGHOSTADDR"))]
    remote = service or _any_remote(hosts)
    in_url = next(iter(_split(query.get("sslmode"))), None)
    mode: str | None = _tls_mode(config, remote=remote)
    if in_url is not None:
        if config.tls.mode is not None and config.tls.mode != in_url:
            raise ConfigError(
                f"the URL says sslmode={in_url} and tls.mode says {config.tls.mode}", hint="keep one of them"
            )
        if remote and config.tls.mode is None and in_url not in {"require", "verify-ca", "verify-full"}:
            raise ConfigError(
                f"the URL says sslmode={in_url}, but a remote database needs TLS",
                hint=_DISABLE_HINT + " and take sslmode out of the URL",
            )
        mode = in_url
    arguments: dict[str, Any] = {"fallback_application_name": "rivet", "client_encoding": "UTF8"}
    if "connect_timeout" not in query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT
    keepalive = {"keepalives_idle": KEEPALIVE_IDLE, "keepalives_interval": KEEPALIVE_INTERVAL}
    arguments |= {name: value for name, value in keepalive.items() if name not in query}
    if mode is not None:
        arguments["sslmode"] = mode
    if config.tls.ca_file is not None:
        arguments["sslrootcert"] = str(_ca_file(config.tls.ca_file, base_dir))
    return Address(url, arguments, tls_required=mode in {"require", "verify-ca", "verify-full"})


def _mysql_address(url: URL, config: SqlalchemyConfig, base_dir: Path) -> Address:
    if any(name.startswith("ssl") for name in url.query):
        raise ConfigError("TLS parameters in a MySQL URL are not read", hint="use tls: {mode: …, ca_file: …}")
    if url.host and url.host.startswith("/"):
        url = url.set(host=None).update_query_dict({"unix_socket": url.host})
    remote = "read_default_file" in url.query or ("unix_socket" not in url.query and _any_remote(_split(url.host)))
    mode = _tls_mode(config, remote=remote)
    arguments: dict[str, Any] = {"charset": "utf8mb4", "program_name": "rivet"}
    if url.password is not None:
        arguments["password"] = str(url.password).encode()  # PyMySQL makes Latin-1 of text, other clients UTF-8
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT
    if mode == "disable":
        arguments["ssl_disabled"] = True
    elif mode is not None:
        arguments["ssl"] = _tls_context(mode, config.tls.ca_file, base_dir)
    return Address(url, arguments, tls_required=mode not in {None, "disable"})


def _other_address(url: URL, config: SqlalchemyConfig) -> Address:
    if _any_remote(_split(url.host)) and config.tls.mode != "disable":
        raise ConfigError(
            f"Rivet cannot tell whether {url.get_backend_name()} connections to a remote host are encrypted",
            hint="encrypt by the URL's own parameters and set tls: {mode: disable} to leave it to them",
        )
    return Address(url)


def _split(value: str | Iterable[str] | None) -> list[str]:
    """Return the items of a parameter that may be repeated or separated by commas."""
    values = [value] if isinstance(value, str) else list(value or ())
    return [item for text in values for item in text.split(",") if item]


def _any_remote(hosts: Iterable[str]) -> bool:
    return any(not _is_local(host) for host in hosts)


def _is_local(host: str) -> bool:
    if host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _tls_mode(config: SqlalchemyConfig, *, remote: bool) -> TlsMode | None:
    if config.tls.mode is not None:
        return config.tls.mode
    if config.tls.ca_file is not None:
        return "verify-full"
    return "require" if remote else None


def _ca_file(name: str, base_dir: Path) -> Path:
    path = base_dir / Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no tls.ca_file {path}", hint="relative paths start at the configuration file")
    return path


def _tls_context(mode: TlsMode, ca_file: str | None, base_dir: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(_ca_file(ca_file, base_dir)) if ca_file else None)
    except ssl.SSLError:
        raise ConfigError(f"tls.ca_file {ca_file} holds no PEM certificates") from None
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context
