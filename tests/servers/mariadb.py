"""A private MariaDB server for one test session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pymysql

from servers.database import DatabaseServer, new_password
from servers.process import HOST, ServerMissing, find_program, private_directory, run_to_end, running

INSTALL = "MariaDB's server is not installed: apt-get install mariadb-server"

# The time zone is not UTC, so that code that leans on the server's setting fails here and not at a user's.
SETTINGS = {
    "bind-address": HOST,
    "character-set-server": "utf8mb4",
    "default-time-zone": "+05:45",
    "innodb-buffer-pool-size": "32M",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-log-file-size": "16M",
    "max-allowed-packet": "64M",
    "performance-schema": "OFF",
    "skip-name-resolve": "ON",
}


@dataclass(frozen=True)
class Mariadb(DatabaseServer):
    """A database of a private MariaDB server.

    Attributes:
        directory: where the server keeps its files.
    """

    directory: Path = Path()

    driver = "mysql+pymysql"
    unreachable = pymysql.err.OperationalError

    @property
    def socket(self) -> Path:
        """The server's Unix socket."""
        return self.directory / "socket"

    def connect(self) -> pymysql.connections.Connection[Any]:
        """Open a PyMySQL connection with autocommit."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=self.database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=5,
        )


@contextmanager
def mariadb_server() -> Iterator[Mariadb]:
    """Run a new server until the block ends.

    Raises:
        ServerMissing: MariaDB's server programs are not installed.
    """
    install = find_program("mariadb-install-db", "/usr/bin/mariadb-install-db")
    program = find_program("mariadbd", "/usr/sbin/mariadbd", "/usr/libexec/mariadbd")
    if install is None or program is None:
        raise ServerMissing(INSTALL)
    with private_directory("mariadb") as directory:
        server = Mariadb(host=HOST, port=0, user="rivet", password=new_password(), database="test", directory=directory)
        data = directory / "data"
        # A server that starts deletes what others have left in a directory that they share, while they run or not.
        temporary = directory / "tmp"
        temporary.mkdir()
        user = ["--user=root"] if os.geteuid() == 0 else []  # without it the server refuses to run as root
        run_to_end(
            [
                str(install),
                "--no-defaults",
                f"--datadir={data}",
                f"--tmpdir={temporary}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *user,
            ]
        )
        init_file = directory / "init.sql"
        init_file.touch(mode=0o600)
        init_file.write_text(
            f"CREATE DATABASE {server.database};\n"
            f"CREATE USER {server.user}@'%' IDENTIFIED BY '{server.password}';\n"
            f"GRANT ALL ON *.* TO {server.user}@'%' WITH GRANT OPTION;\n"
            "DROP USER root@localhost;\n"
        )
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with running(
            lambda port: [
                str(program),
                "--no-defaults",
                f"--datadir={data}",
                f"--tmpdir={temporary}",
                f"--port={port}",
                f"--socket={server.socket}",
                f"--pid-file={directory / 'pid'}",
                f"--init-file={init_file}",
                *options,
                *user,
            ],
            lambda port: server.through(port).answers(),
            directory / "log",
            stop_signal=signal.SIGTERM,
        ) as port:
            yield replace(server, port=port)
