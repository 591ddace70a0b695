"""What the engine writes down about runs, parts and events, and reads back; every write is fenced by the lease."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from rivet_core.api import Event, Secret, StateError, redact, redact_values
from rivet_core.state import lease as leases
from rivet_core.state import tables
from rivet_core.state.database import Database, open_database, open_existing
from rivet_core.state.lease import Lease, LeaseHolder, LeaseInfo

#: How a run ended.
Outcome = Literal["succeeded", "failed", "interrupted", "superseded"]
#: ``abandoned``: it died, and a later run of the export found it unfinished.
RunStatus = Literal["running", "publishing", "abandoned"] | Outcome


@dataclass(frozen=True)
class RunStart:
    """What is known when a run starts.

    Attributes:
        run_id: unique name of the run.
        export: name of the export.
        mode: ``full``, ``chunked``, ``incremental`` or ``time_window``.
        prefix_uri: where the run writes, ending in ``/``.
        started_at: timezone-aware.
        success_version: version of the ``_SUCCESS`` at the prefix, ``None`` if there is none.
        prefix: what the destination's template stands for in this run; a resume writes there, too.
        resumes: the run that this one resumes.
    """

    run_id: str
    export: str
    mode: str
    prefix_uri: str
    started_at: datetime
    success_version: str | None = None
    prefix: str | None = None
    resumes: str | None = None


@dataclass(frozen=True)
class RunRow:
    """A run as the state knows it; the fields of ``RunStart`` and what came later.

    Attributes:
        finished_at: ``None`` while it runs, and for ever if it died.
        manifest_fingerprint: fingerprint of the manifest that it was about to certify.
        rows: rows delivered.
        size_bytes: bytes delivered.
        parts: parts delivered.
        inputs: what decides which rows there are and how they are written, as JSON; a resume needs the same.
        columns: the columns of its rows, as JSON.
    """

    run_id: str
    export: str
    mode: str
    prefix_uri: str
    started_at: datetime
    success_version: str | None
    status: RunStatus
    finished_at: datetime | None
    manifest_fingerprint: str | None
    error_code: str | None
    error_message: str | None
    rows: int
    size_bytes: int
    parts: int
    prefix: str | None
    inputs: str | None
    resumes: str | None
    columns: str | None


@dataclass(frozen=True)
class ChunkRow:
    """A chunk of a run.

    Attributes:
        number: counts from 1.
        bounds: its bounds, as JSON.
        attempt: the attempt whose parts are all committed; ``None`` while there is none.
    """

    number: int
    bounds: str
    attempt: int | None = None


@dataclass(frozen=True)
class PartRow:
    """A committed part.

    Attributes:
        key: its key under the prefix.
        number: the number in its name; parts that rolled over share it.
        rows: its rows.
        size_bytes: its size.
        content_fingerprint: ``xxh3:…`` of its bytes.
        version: the store's token of the object.
        attempt: the attempt on its chunk, from 1.
        chunk: the chunk, from 1.
        checksums: the store's, as lower-case hex by algorithm.
        written_by: the earlier run that has written it; ``None`` for the run of the row.
    """

    key: str
    number: int
    rows: int
    size_bytes: int
    content_fingerprint: str
    version: str
    attempt: int = 1
    chunk: int = 1
    checksums: Mapping[str, str] = field(default_factory=dict)
    written_by: str | None = None

    def values(self) -> dict[str, object]:
        """Return the columns of the table."""
        return {**vars(self), "checksums": json.dumps(dict(self.checksums))}


@dataclass(frozen=True)
class CursorRow:
    """How far an incremental export has got.

    Attributes:
        column: the cursor column.
        value: the largest cursor that was delivered, as ``contract.key_text`` writes it.
        run_id: the run that delivered it.
    """

    column: str
    value: str
    run_id: str


class StateStore:
    """The state database. A context manager; safe for threads.

    Every write takes the lease of its export and verifies it in the same transaction: if it was lost, ``SafetyError``
    is raised and nothing is written. Every method raises ``StateError`` when the database fails.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> StateStore:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def location(self) -> str:
        """Where the database is: its URL without password and options, a file by its path."""
        return self._database.location

    def close(self) -> None:
        """Close the connections; leases are released before."""
        self._database.close()

    def acquire(
        self,
        export: str,
        *,
        wait_seconds: float = leases.LEASE_SECONDS,
        on_wait: Callable[[LeaseInfo], None] | None = None,
    ) -> Lease:
        """Acquire the lease of an export.

        Args:
            export: name of the export.
            wait_seconds: how long to wait for an owner on another host.
            on_wait: called once with the owner when the waiting begins.

        Raises:
            LeaseHeld: a living process on this host holds it, or one elsewhere renewed it or has time left.
        """
        return leases.acquire(self._database, export, wait_seconds=wait_seconds, on_wait=on_wait)

    def lease_holder(self, export: str) -> LeaseHolder | None:
        """Return who holds the lease of an export, dead or alive; ``None`` if it is free."""
        return leases.find_holder(self._database, export)

    def start_run(self, lease: Lease, start: RunStart) -> None:
        """Record a run as ``running``; older unfinished runs of the export become ``abandoned``."""
        with self._fenced(lease) as connection:
            connection.execute(
                update(tables.run)
                .where(tables.run.c.export == lease.export, tables.run.c.status.in_(("running", "publishing")))
                .values(status="abandoned")
            )
            connection.execute(insert(tables.run).values(status="running", **vars(start)))

    def reserve_part(self, lease: Lease, run_id: str, key: str, number: int) -> None:
        """Record that the run is about to write the part ``key``; its number is never given again."""
        with self._fenced(lease) as connection:
            self._run_of(connection, lease, run_id)
            connection.execute(insert(tables.part).values(run_id=run_id, key=key, number=number))

    def commit_part(self, lease: Lease, run_id: str, part: PartRow) -> None:
        """Record a part whose object is committed, and that was reserved before."""
        with self._fenced(lease) as connection:
            self._run_of(connection, lease, run_id)
            changed = connection.execute(
                update(tables.part)
                .where(tables.part.c.run_id == run_id, tables.part.c.key == part.key)
                .values(committed=1, **part.values())
            )
            if changed.rowcount == 0:
                raise StateError(f"the part {part.key} of run {run_id} was never reserved")

    def plan_chunks(
        self,
        lease: Lease,
        run_id: str,
        chunks: Sequence[ChunkRow],
        parts: Sequence[PartRow] = (),
        *,
        inputs: str | None = None,
        columns: str | None = None,
    ) -> None:
        """Record all chunks of a run before the first is read; what an earlier start of it has recorded does not count.

        Args:
            chunks: with an attempt where a run that this one resumes has finished them.
            parts: the committed parts of those.
            inputs: what decides which rows there are and how they are written, as JSON; a resume needs the same.
            columns: the columns of the rows, as JSON.
        """
        with self._fenced(lease) as connection:
            sequence = self._run_of(connection, lease, run_id).sequence
            facts = {"inputs": inputs, "columns": columns}
            connection.execute(update(tables.run).where(tables.run.c.sequence == sequence).values(**facts))
            _forget_chunks(connection, run_id)
            if chunks:
                connection.execute(insert(tables.chunk), [{"run_id": run_id, **vars(chunk)} for chunk in chunks])
            if parts:
                rows = [{"run_id": run_id, "committed": 1, **part.values()} for part in parts]
                connection.execute(insert(tables.part), rows)

    def finish_chunk(self, lease: Lease, run_id: str, number: int, attempt: int) -> None:
        """Record that every part of an attempt at a chunk is committed."""
        with self._fenced(lease) as connection:
            self._run_of(connection, lease, run_id)
            connection.execute(
                update(tables.chunk)
                .where(tables.chunk.c.run_id == run_id, tables.chunk.c.number == number)
                .values(attempt=attempt)
            )

    def publishing(self, lease: Lease, run_id: str, manifest_fingerprint: str) -> None:
        """Record, before the commit point, which manifest the run is about to certify."""
        self._update_run(lease, run_id, {"status": "publishing", "manifest_fingerprint": manifest_fingerprint})

    def finish_run(
        self,
        lease: Lease,
        run_id: str,
        status: Outcome,
        *,
        finished_at: datetime,
        error_code: str | None = None,
        error_message: str | None = None,
        rows: int = 0,
        size_bytes: int = 0,
        parts: int = 0,
        cursor: CursorRow | None = None,
    ) -> None:
        """Record how a run ended; the message is redacted.

        Args:
            finished_at: timezone-aware.
            error_code: ``RivetError.code`` of what ended it.
            error_message: ``RivetError.message`` of it.
            rows: rows delivered.
            size_bytes: bytes delivered.
            parts: parts delivered.
            cursor: how far the export has got with it, recorded in the same transaction.
        """
        self._update_run(
            lease,
            run_id,
            {
                "status": status,
                "finished_at": finished_at,
                "error_code": error_code,
                "error_message": None if error_message is None else _storable(redact(error_message)),
                "rows": rows,
                "size_bytes": size_bytes,
                "parts": parts,
            },
            cursor,
        )

    def cursor(self, export: str) -> CursorRow | None:
        """Return how far an incremental export has got, ``None`` before its first run."""
        columns = tables.cursor.c
        query = select(columns.column, columns.value, columns.run_id).where(columns.export == export)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else CursorRow(*row)

    def reset_cursor(self, lease: Lease) -> None:
        """Forget how far the export has got: its next run starts from the beginning."""
        with self._fenced(lease) as connection:
            connection.execute(delete(tables.cursor).where(tables.cursor.c.export == lease.export))

    def record_event(self, lease: Lease, event: Event) -> None:
        """Append an event; its fields are redacted."""
        fields = json.dumps(redact_values(event.fields), default=str)
        with self._fenced(lease) as connection:
            connection.execute(
                insert(tables.event).values(
                    run_id=event.run_id, export=event.export, kind=event.kind, at=event.at, fields=fields
                )
            )

    def highest_part(self, prefix_uri: str) -> int:
        """Return the highest part number that any run reserved at the prefix, 0 if there is none."""
        query = (
            select(func.max(tables.part.c.number))
            .join(tables.run, tables.part.c.run_id == tables.run.c.run_id)
            .where(tables.run.c.prefix_uri == prefix_uri)
        )
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def newest_run(self, export: str) -> RunRow | None:
        """Return the run of the export that started last."""
        return next(iter(self.runs(export, limit=1)), None)

    def newest_columns(self, export: str) -> str | None:
        """Return the columns of the export's newest successful run that has recorded them, as it did."""
        columns = tables.run.c
        query = (
            select(columns.columns)
            .where(columns.export == export, columns.status == "succeeded", columns.columns.is_not(None))
            .order_by(columns.sequence.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            return connection.scalar(query)

    def find_run(self, export: str, run_id: str) -> RunRow | None:
        """Return the run of the export that has this id."""
        query = select(tables.run).where(tables.run.c.export == export, tables.run.c.run_id == run_id)
        return next(iter(self._runs(query)), None)

    def runs(self, export: str | None = None, limit: int = 50) -> list[RunRow]:
        """Return the newest runs, the newest first, of one export or of all."""
        query = select(tables.run).limit(limit)
        return self._runs(query if export is None else query.where(tables.run.c.export == export))

    def runs_like(self, start: str, export: str | None = None, limit: int = 50) -> list[RunRow]:
        """Return the newest runs whose id starts so, the newest first, of one export or of all."""
        query = select(tables.run).where(tables.run.c.run_id.startswith(start, autoescape=True)).limit(limit)
        found = self._runs(query if export is None else query.where(tables.run.c.export == export))
        return [run for run in found if run.run_id.startswith(start)]  # SQLite's LIKE knows no case

    def runs_of_plan(self, export: str, plan_id: str) -> list[RunRow]:
        """Return the runs of an export that have applied a plan: their ids end with the plan's."""
        query = select(tables.run).where(
            tables.run.c.export == export, tables.run.c.run_id.endswith(f"_{plan_id}", autoescape=True)
        )
        return self._runs(query)

    def chunk_counts(self, run_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return by run how many of its chunks are finished, and how many it has; nothing for runs without any."""
        columns = tables.chunk.c
        query = (
            select(columns.run_id, func.count(columns.attempt), func.count())
            .where(columns.run_id.in_(run_ids))
            .group_by(columns.run_id)
        )
        with self._database.read() as connection:
            return {run_id: (done, total) for run_id, done, total in connection.execute(query)}

    def parts(self, run_id: str) -> list[PartRow]:
        """Return the committed parts of a run by number, and those of one number as they were written."""
        columns = tables.part.c
        query = (
            select(*(columns[name] for name in PartRow.__dataclass_fields__))
            .where(columns.run_id == run_id, columns.committed == 1)
            # part-000001-02 rolled over from part-000001, which sorts after it
            .order_by(columns.number, func.length(columns.key), columns.key)
        )
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [PartRow(**{**row, "checksums": json.loads(row["checksums"] or "{}")}) for row in rows]

    def chunks(self, run_id: str) -> list[ChunkRow]:
        """Return the chunks of a run by number."""
        columns = tables.chunk.c
        query = (
            select(*(columns[name] for name in ChunkRow.__dataclass_fields__))
            .where(columns.run_id == run_id)
            .order_by(columns.number)
        )
        with self._database.read() as connection:
            return [ChunkRow(**row._mapping) for row in connection.execute(query)]

    def events(self, run_id: str) -> list[Event]:
        """Return the events of a run in the order in which they were recorded."""
        query = select(tables.event).where(tables.event.c.run_id == run_id).order_by(tables.event.c.sequence)
        with self._database.read() as connection:
            return [
                Event(kind=row.kind, run_id=row.run_id, export=row.export, at=row.at, fields=json.loads(row.fields))
                for row in connection.execute(query)
            ]

    @contextmanager
    def _fenced(self, lease: Lease) -> Iterator[Connection]:
        with self._database.write() as connection:
            lease.verify(connection)
            yield connection

    def _run_of(self, connection: Connection, lease: Lease, run_id: str) -> Row[Any]:
        """Find a run of the lease's export: a lease gives no right on another export's runs."""
        query = select(tables.run.c.sequence).where(tables.run.c.run_id == run_id, tables.run.c.export == lease.export)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise StateError(f"the state knows no run {run_id} of export {lease.export!r}")
        return row

    def _update_run(
        self, lease: Lease, run_id: str, values: Mapping[str, object], cursor: CursorRow | None = None
    ) -> None:
        with self._fenced(lease) as connection:
            sequence = self._run_of(connection, lease, run_id).sequence
            connection.execute(update(tables.run).where(tables.run.c.sequence == sequence).values(**values))
            if cursor is not None:
                connection.execute(delete(tables.cursor).where(tables.cursor.c.export == lease.export))
                row = {"export": lease.export, "advanced_at": datetime.now(UTC), **vars(cursor)}
                connection.execute(insert(tables.cursor).values(row))

    def _runs(self, query: Select[Any]) -> list[RunRow]:
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(tables.run.c.sequence.desc())).mappings()
            return [RunRow(**{name: row[name] for name in RunRow.__dataclass_fields__}) for row in rows]


def _forget_chunks(connection: Connection, run_id: str) -> None:
    """Forget the chunks of a run; of its own parts the names stay reserved, for their objects may be there."""
    part = tables.part.c
    connection.execute(delete(tables.chunk).where(tables.chunk.c.run_id == run_id))
    connection.execute(delete(tables.part).where(part.run_id == run_id, part.written_by.is_not(None)))
    connection.execute(update(tables.part).where(part.run_id == run_id).values(committed=0))


def open_state(url: Secret | str, base_dir: Path) -> StateStore:
    """Open the state database, created or migrated where needed.

    Args:
        url: SQLAlchemy URL of a SQLite file, PostgreSQL, MySQL or MariaDB.
        base_dir: where a relative SQLite file starts.

    Raises:
        StateError: driver missing, unreachable, read-only, corrupt, not a database, or of a newer release.
    """
    return StateStore(open_database(url, base_dir))


@contextmanager
def read_state(url: Secret | str, base_dir: Path) -> Iterator[StateStore | None]:
    """Open the state database as it is, to read what runs have left; ``None`` if no run has used it yet.

    Raises:
        StateError: as for ``open_state``, and where its tables are those of an older release.
    """
    database = open_existing(url, base_dir)
    try:
        yield None if database is None else StateStore(database)
    finally:
        if database is not None:
            database.close()


def _storable(text: str) -> str:
    """Escape what PostgreSQL or UTF-8 cannot hold: NUL and lone surrogates, as file names and drivers produce them."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
