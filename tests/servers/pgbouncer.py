"""A private PgBouncer in transaction mode in front of a private PostgreSQL cluster."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from servers.postgres import Postgres
from servers.process import HOST, ServerMissing, find_program, private_directory, running, unprivileged_user

INSTALL = "PgBouncer is not installed: apt-get install pgbouncer"
SERVER_CONNECTIONS = 5

_CONFIG = """\
[databases]
* = host={host} port={server_port}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 100
admin_users = {user}
"""


@dataclass(frozen=True)
class Pool(Postgres):
    """A database as the pooler shows it."""

    behind: Postgres = field(kw_only=True)

    def every_connection(self, *statements: str) -> list[list[tuple[Any, ...]]]:
        """Run statements on each of the pool's connections to the server; return the rows of the last one of them.

        All clients hold a transaction at the same time, so each has a connection that is no other's.
        """
        with ExitStack() as stack:
            clients = [stack.enter_context(self.connect()) for _ in range(SERVER_CONNECTIONS)]
            pids = set()
            for client in clients:
                client.prepare_threshold = None
                client.execute("BEGIN")
                pids.update(client.execute("SELECT pg_backend_pid()").fetchone())
            assert len(pids) == SERVER_CONNECTIONS
            found = []
            for client in clients:
                for statement in statements[:-1]:
                    client.execute(statement)
                found.append(client.execute(statements[-1]).fetchall())
                client.execute("COMMIT")
            return found


@contextmanager
def pgbouncer(database: Postgres) -> Iterator[Pool]:
    """Run a pooler in front of a database until the block ends.

    Raises:
        ServerMissing: PgBouncer is not installed.
    """
    program = find_program("pgbouncer", "/usr/sbin/pgbouncer")
    if program is None:
        raise ServerMissing(INSTALL)
    owner = unprivileged_user("postgres")  # it refuses to run as root
    with private_directory("pgbouncer", owner) as directory:
        users = directory / "users"
        users.write_text(f'"{database.user}" "{database.password}"\n')
        config = directory / "pgbouncer.ini"

        def command(port: int) -> list[str]:
            config.write_text(
                _CONFIG.format(
                    host=HOST,
                    server_port=database.port,
                    port=port,
                    users=users,
                    size=SERVER_CONNECTIONS,
                    user=database.user,
                )
            )
            for path in (users, config):
                path.chmod(0o600)
                if owner is not None:
                    shutil.chown(path, owner)
            return [str(program), "-q", str(config)]

        with running(
            command,
            lambda port: database.through(port).answers(),
            directory / "log",
            stop_signal=signal.SIGTERM,  # "immediate" in the versions that tests run with
            user=owner,
        ) as port:
            yield Pool(HOST, port, database.user, database.database, database.password, behind=database)
