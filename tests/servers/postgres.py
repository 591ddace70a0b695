"""A private PostgreSQL cluster for one test session."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg

from servers.database import DatabaseServer, new_password
from servers.process import HOST, ServerMissing, find_program, private_directory, run_to_end, running, unprivileged_user

INSTALL = "PostgreSQL's server is not installed: apt-get install postgresql"

# Durability across a crash of the machine is not what these tests are about. The server's time zone is not UTC, so
# that code that leans on the server's setting fails here and not at a user's.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "unix_socket_directories": "",
    "listen_addresses": HOST,
    "timezone": "Asia/Kathmandu",
    "shared_buffers": "32MB",
    "max_connections": "60",
}


class Postgres(DatabaseServer):
    """A database in a private PostgreSQL cluster."""

    driver = "postgresql+psycopg"
    unreachable = psycopg.OperationalError

    def connect(self) -> psycopg.Connection[Any]:
        """Open a psycopg connection with autocommit."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.database,
            autocommit=True,
            connect_timeout=5,
        )


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a new cluster until the block ends.

    Raises:
        ServerMissing: PostgreSQL's server programs are not installed.
    """
    initdb = find_program("initdb", "/usr/lib/postgresql/*/bin/initdb")
    program = find_program("postgres", "/usr/lib/postgresql/*/bin/postgres")
    if initdb is None or program is None:
        raise ServerMissing(INSTALL)
    owner = unprivileged_user("postgres")  # the server refuses to run as root
    with private_directory("postgres", owner) as directory:
        server = Postgres(host=HOST, port=0, user="postgres", password=new_password(), database="postgres")
        password_file = directory / "password"
        password_file.write_text(server.password)
        if owner is not None:
            shutil.chown(password_file, owner)
        data = directory / "data"
        run_to_end(
            [
                str(initdb),
                f"--pgdata={data}",
                f"--username={server.user}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ],
            user=owner,
        )
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with running(
            lambda port: [str(program), "-D", str(data), "-p", str(port), *settings],
            lambda port: server.through(port).answers(),
            directory / "log",
            stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back
            user=owner,
        ) as port:
            yield replace(server, port=port)
