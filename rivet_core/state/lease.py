"""The lease that keeps two processes on one export apart, fenced by a token that only grows."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from sqlalchemy import Connection, Row, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from rivet_core.api import LeaseHeld, SafetyError, StateError
from rivet_core.state.database import Database
from rivet_core.state.tables import database_clock
from rivet_core.state.tables import lease as table

#: An owner on another host that was silent for this long by the database's clock has lost its lease.
LEASE_SECONDS = 60.0
#: How often an owner renews its lease.
RENEW_SECONDS = 10.0
#: How often a waiting process looks again.
POLL_SECONDS = 1.0
# The kernel rounds the boot time to whole seconds, now up, now down.
_START_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True)
class LeaseInfo:
    """Who holds a lease.

    Attributes:
        export: name of the export.
        token: the fencing token.
        pid: the owner's process id on its host.
        host: the owner's host name.
        since: when it was acquired, UTC, by the database's clock.
        silent_seconds: time since the owner's last sign of life, by the database's clock.
    """

    export: str
    token: int
    pid: int
    host: str
    since: datetime
    silent_seconds: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class LeaseHolder:
    """Who holds a lease, and what tells whether that process lives.

    Attributes:
        owner: the process.
        alive: whether it lives, as far as this host can tell; ``None`` if it cannot.
        expired: it was silent for so long that the lease is free to take.
    """

    owner: LeaseInfo
    alive: bool | None
    expired: bool

    @property
    def is_gone(self) -> bool:
        """Whether the lease would be taken over at once."""
        return self.alive is False or (self.alive is None and self.expired)


class Lease:
    """The right to write the state of one export, renewed by a daemon thread until it is released. Safe for threads.

    Attributes:
        export: name of the export.
        token: the fencing token; a later owner has a greater one.
    """

    def __init__(self, database: Database, export: str, token: int) -> None:
        self.export = export
        self.token = token
        self._database = database
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{export}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that the lease is still held: one read.

        Raises:
            LeaseHeld: another process has taken it over.
            SafetyError: it was released.
            StateError: the database cannot be asked.
        """
        with self._database.read() as connection:
            self._verify(connection.execute(_select(self.export)).one_or_none())

    def verify(self, connection: Connection) -> None:
        """Make sure of it inside a writing transaction; nobody takes the lease over until that ends.

        Raises:
            LeaseHeld: another process has taken it over.
            SafetyError: it was released.
        """
        self._verify(connection.execute(_select(self.export).with_for_update()).one_or_none())

    def release(self) -> None:
        """Give the lease back; the second time does nothing."""
        if self._released.is_set():
            return
        self._released.set()
        self._thread.join()
        # A lease that cannot be given back now is taken over from a dead process anyway.
        with suppress(StateError), self._database.write() as connection:
            connection.execute(self._update().values(pid=None))

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _update(self) -> Any:
        return update(table).where(table.c.export == self.export, table.c.token == self.token, table.c.pid.is_not(None))

    def _renew(self) -> None:
        while not self._released.wait(RENEW_SECONDS):
            # Out of reach now, it may be back before the next owner comes; the token tells.
            with suppress(StateError), self._database.write() as connection:
                if connection.execute(self._update().values(heartbeat=database_clock())).rowcount == 0:
                    return

    def _verify(self, row: Row[Any] | None) -> None:
        if self._released.is_set() or row is None or row.pid is None:
            raise SafetyError(f"this process no longer holds the lease on export {self.export!r}")
        if row.token != self.token:
            raise LeaseHeld(
                f"the lease on export {self.export!r} was lost to {_info(row)}",
                hint="this run was paused or cut off from the state database for too long; run it again",
            )


def acquire(
    database: Database, export: str, *, wait_seconds: float, on_wait: Callable[[LeaseInfo], None] | None
) -> Lease:
    """Acquire the lease of an export.

    A free lease and one whose owner is dead on this host are taken at once. An owner on another host loses it
    ``LEASE_SECONDS`` after its last renewal, by the database's clock, and is waited for.

    Args:
        export: name of the export.
        wait_seconds: how long to wait for an owner on another host.
        on_wait: called once with the owner when the waiting begins.

    Raises:
        LeaseHeld: a living process on this host holds it, or one elsewhere renewed it or has time left.
    """
    deadline = time.monotonic() + wait_seconds + POLL_SECONDS  # one look more when the wait ends with the lease
    first: tuple[int, float] | None = None
    while True:
        with _locked_row(database, export) as (connection, row):
            holder = _holder(row)
            if holder is None or holder.is_gone:
                _take(connection, row)
                taken = row.token + 1
                break
        owner, sign_of_life = holder.owner, (row.token, row.heartbeat)
        renewed = first is not None and sign_of_life != first
        if holder.alive or renewed or time.monotonic() >= deadline:
            raise LeaseHeld(
                f"export {export!r} is being run by {owner}", hint="wait until it has finished, or end that process"
            )
        if first is None:
            first = sign_of_life
            if on_wait is not None:
                on_wait(owner)
        time.sleep(min(POLL_SECONDS, max(LEASE_SECONDS - owner.silent_seconds, 0.01)))
    return Lease(database, export, taken)


def find_holder(database: Database, export: str) -> LeaseHolder | None:
    """Return who holds the lease of an export, dead or alive; ``None`` if it is free."""
    with database.read() as connection:
        row = connection.execute(_select(export)).one_or_none()
    return None if row is None else _holder(row)


def _select(export: str) -> Select[Any]:
    return select(table, database_clock().label("now")).where(table.c.export == export)


@contextmanager
def _locked_row(database: Database, export: str) -> Iterator[tuple[Connection, Row[Any]]]:
    """Lock the export's row until the block ends; create it if this is the first time."""
    query = _select(export).with_for_update()
    while True:
        with database.write() as connection:
            row = connection.execute(query).one_or_none()
            if row is not None:
                yield connection, row
                return
        # Another process may be creating it at this moment: then its row is the one. In a transaction of its own, for
        # MySQL lets all who came too late share a lock on that row, and none of them could then lock it alone.
        with database.write() as connection, suppress(IntegrityError), connection.begin_nested():
            connection.execute(insert(table).values(export=export, token=0))


def _take(connection: Connection, row: Row[Any]) -> None:
    connection.execute(
        update(table)
        .where(table.c.export == row.export)
        .values(
            token=row.token + 1,
            pid=os.getpid(),
            pid_started=_started(psutil.Process()),
            host=socket.gethostname(),
            host_identity=_host_identity(),
            acquired_at=database_clock(),
            heartbeat=database_clock(),
        )
    )


def _info(row: Row[Any]) -> LeaseInfo:
    return LeaseInfo(
        export=row.export,
        token=row.token,
        pid=row.pid,
        host=row.host,
        since=datetime.fromtimestamp(row.acquired_at, UTC),
        silent_seconds=row.now - row.heartbeat,
    )


def _holder(row: Row[Any]) -> LeaseHolder | None:
    if row.pid is None:
        return None
    return LeaseHolder(_info(row), _owner_alive(row), row.now - row.heartbeat >= LEASE_SECONDS)


def _owner_alive(row: Row[Any]) -> bool | None:
    """Tell whether the owner lives, as far as this host can tell; ``None`` if it cannot."""
    if row.host_identity != _host_identity():
        return None
    try:
        process = psutil.Process(row.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(abs(_started(process) - row.pid_started) <= _START_TOLERANCE_SECONDS)
    except psutil.NoSuchProcess:
        # Where /proc hides other users' processes, a signal still finds them.
        return None if psutil.pid_exists(row.pid) else False
    except psutil.AccessDenied:
        return None


def _started(process: psutil.Process) -> float:
    """Return the start of a process in seconds after the boot: setting the clock does not change it."""
    return process.create_time() - psutil.boot_time()


@cache
def _host_identity() -> str:
    """Name the space in which a pid means one process: the host, its boot, and on Linux the pid namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    return "/".join(
        (
            socket.gethostname(),
            boot.read_text().strip() if boot.exists() else str(int(psutil.boot_time())),
            str(namespace.readlink()) if namespace.exists() else "",
        )
    )
