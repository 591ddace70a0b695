"""A private MySQL server for one test session, run from the folder that ``scripts/install-mysql`` fills."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from servers.certificate import new_certificate
from servers.database import new_password
from servers.mariadb import Mariadb
from servers.process import HOST, find_installed, private_directory, run_to_end, running

# As with MariaDB, the time zone is not UTC, and zero dates can be stored.
SETTINGS = {
    "bind-address": HOST,
    "character-set-server": "utf8mb4",
    "default-time-zone": "+05:45",
    "innodb-buffer-pool-size": "32M",
    "innodb-fast-shutdown": "2",
    "innodb-flush-log-at-trx-commit": "0",
    "log-error-verbosity": "1",
    "max-allowed-packet": "64M",
    "mysqlx": "OFF",
    "performance-schema": "OFF",
    "secure-file-priv": "NULL",
    "skip-name-resolve": "ON",
    "sql-mode": "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
}
# Both for the data directory's beginning and later on.
_STORAGE = ("--skip-log-bin", "--innodb-doublewrite=OFF", "--innodb-redo-log-capacity=16M")


@dataclass(frozen=True)
class Mysql(Mariadb):
    """A database of a private MySQL server; PyMySQL connects as to MariaDB's."""

    @property
    def ca_file(self) -> Path:
        """What signs the certificate that the server shows."""
        return self.directory / "certificate.pem"


def _program() -> list[str]:
    """Return the command of the server, which runs with the libraries beside it.

    Raises:
        ServerMissing: it is not installed.
    """
    loader = find_installed("MySQL's server", "mysql", "usr/lib/*-linux-*/ld-linux-*.so.*")
    program = find_installed("MySQL's server", "mysql", "usr/sbin/mysqld")
    base = program.parents[1]
    return [
        str(loader),
        "--library-path",
        str(loader.parent),
        str(program),
        "--no-defaults",
        f"--basedir={base}",
        f"--lc-messages-dir={base}/share/mysql",
        f"--character-sets-dir={base}/share/mysql/charsets",
        f"--plugin-dir={base}/lib/mysql/plugin",
        *(["--user=root"] if os.geteuid() == 0 else []),  # without it the server refuses to run as root
    ]


@contextmanager
def mysql_server() -> Iterator[Mysql]:
    """Run a new server until the block ends; it takes connections with TLS and without.

    Raises:
        ServerMissing: MySQL's server is not installed.
    """
    program = _program()
    with private_directory("mysql") as directory:
        server = Mysql(host=HOST, port=0, user="rivet", password=new_password(), database="test", directory=directory)
        certificate = new_certificate(directory)
        places = [f"--datadir={directory / 'data'}", *_STORAGE]
        run_to_end([*program, *places, "--log-error-verbosity=1", "--initialize-insecure"])
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with running(
            lambda port: [
                *program,
                *places,
                f"--port={port}",
                f"--socket={server.socket}",
                f"--ssl-cert={certificate.certificate}",
                f"--ssl-key={certificate.key}",
                f"--pid-file={directory / 'pid'}",
                f"--init-file={_init_file(directory, server)}",
                *options,
            ],
            lambda port: server.through(port).answers(),
            directory / "log",
            stop_signal=signal.SIGTERM,
        ) as port:
            yield replace(server, port=port)


def _init_file(directory: Path, server: Mysql) -> Path:
    """Write the statements that the server begins with."""
    path = directory / "init.sql"
    path.touch(mode=0o600)
    path.write_text(
        f"CREATE DATABASE {server.database};\n"
        f"CREATE USER {server.user}@'%' IDENTIFIED BY '{server.password}';\n"
        f"GRANT ALL ON *.* TO {server.user}@'%' WITH GRANT OPTION;\n"
        "DROP USER root@localhost;\n"
    )
    return path
