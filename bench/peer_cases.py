"""The peers' cases: one table out of one database, by Rivet and by everything else that can."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.case import Case, Goal, Setting
from bench.environments import (
    PEERS,
    ROOT,
    PeerMissing,
    client_program,
    environment_of,
    original_program,
    said_by,
)
from bench.loading import load, reference
from bench.measure import CommandFailed, Contender, parquet_files
from bench.rivet import rivet_run
from bench.statements import StatementWatch, version_of
from bench.tables import LINEITEM, WIDE, Engine, Table
from bench.verdict import Verdict
from servers.database import DatabaseServer
from servers.mariadb import mariadb_server
from servers.postgres import postgres_server
from servers.process import ServerMissing

#: A peer that takes longer has failed.
LIMIT_SECONDS = 900

RIVET, TUNED, CHUNKED = "rivet", "rivet tuned", "rivet chunked"
FLOOR = "floor"
_MEMORY_MIB = 300e6 / 2**20


@dataclass(frozen=True)
class Source:
    """A loaded table."""

    table: Table
    engine: Engine
    rows: int
    reference: Path
    server: DatabaseServer
    work: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a peer's script reads."""
        return {
            "BENCH_ENGINE": self.engine,
            "BENCH_HOST": self.server.host,
            "BENCH_PORT": str(self.server.port),
            "BENCH_USER": self.server.user,
            "BENCH_PASSWORD": self.server.password,
            "BENCH_DATABASE": self.server.database,
            "BENCH_TABLE": self.table.name,
            "BENCH_ROWS": str(self.rows),
        }

    def watch(self) -> StatementWatch:
        """Return a new watch over the server's statements."""
        return StatementWatch(self.server)


@dataclass(frozen=True)
class Peer:
    """A way to export the table that is not Rivet's.

    Attributes:
        note: its configuration, for the report.
        command: makes the command line for a source and a directory to write to.
        version: what is installed of it.
        writes: whether it leaves Parquet files.
    """

    note: str
    command: Callable[[Source, Path], list[str]]
    version: Callable[[], str]
    writes: bool = True


def _scripted(note: str, peer: str, script: str, *arguments: str) -> Peer:
    """Return the peer that a script of ``bench/peers`` drives in an environment of its own."""
    return Peer(
        note,
        lambda source, target: environment_of(peer).script(script, str(target), *arguments),
        lambda: environment_of(peer).described,
    )


def _original(mode: str) -> Peer:
    """Return the tool that this one must stay compatible with."""

    def command(source: Source, target: Path) -> list[str]:
        return [sys.executable, str(PEERS / "original_export.py"), str(target), str(original_program()), mode]

    def version() -> str:
        return said_by([str(original_program()), "--version"])

    return Peer(_ORIGINAL_NOTES[mode], command, version)


_ORIGINAL_NOTES = {
    "full": "one statement, profile fast, zstd 1",
    "chunked": "two chunks at a time, profile fast, zstd 1",
}


def _psql_floor(source: Source, target: Path) -> list[str]:
    with source.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s) / current_setting('block_size')::int / 2", (source.table.name,))
        (middle,) = cursor.fetchone()
    copies = [
        f"COPY (SELECT * FROM {source.table.name} WHERE ctid {side} '({middle},0)') TO STDOUT (FORMAT binary)"
        for side in ("<", ">=")
    ]
    client = 'PGPASSWORD="$BENCH_PASSWORD" "$0" -X -h "$BENCH_HOST" -p "$BENCH_PORT" -U "$BENCH_USER" '
    return _two_of(f'{client} -d "$BENCH_DATABASE" -c', "psql", copies)


def _mysql_floor(source: Source, target: Path) -> list[str]:
    middle = source.rows // 2
    ranges = [f"SELECT * FROM {source.table.name} WHERE id {side} {middle}" for side in ("<=", ">")]
    client = 'MYSQL_PWD="$BENCH_PASSWORD" "$0" --no-defaults -h "$BENCH_HOST" -P "$BENCH_PORT" -u "$BENCH_USER" '
    return _two_of(f'{client} --quick --batch "$BENCH_DATABASE" -e', "mysql", ranges)


def _two_of(client: str, name: str, statements: list[str]) -> list[str]:
    """Return what runs both statements at the same time, their rows to nowhere."""
    both = f'{client} "$1" >/dev/null & {client} "$2" >/dev/null; second=$?; wait $! && exit $second'
    return ["sh", "-c", both, client_program(name), *statements]


def _client_version(name: str) -> str:
    return said_by([client_program(name), "--version"])


_SCRIPTED = {
    "connectorx": _scripted("`arrow_stream`, 2 partitions, pyarrow, zstd 1", "connectorx", "connectorx_export.py"),
    "arrow-odbc": _scripted("2 ranges, fetched ahead, pyarrow, zstd 1", "arrow-odbc", "arrow_odbc_export.py"),
    "polars": _scripted("ConnectorX, 2 partitions, all in memory, zstd 1", "polars", "polars_export.py"),
    "dlt connectorx": _scripted(
        "ConnectorX backend, filesystem, zstd at its level", "dlt", "dlt_export.py", "connectorx"
    ),
    "dlt pyarrow": _scripted("pyarrow backend, filesystem, zstd at its level", "dlt", "dlt_export.py", "pyarrow"),
    "ingestr": _scripted("one stream, its own codec", "ingestr", "ingestr_export.py"),
    "sling": _scripted("one stream, files of 50,000 rows, zstd at its level", "sling", "sling_export.py"),
    "original full": _original("full"),
    "original chunked": _original("chunked"),
}

PEERS_OF: dict[Engine, dict[str, Peer]] = {
    "postgres": {
        FLOOR: Peer(
            "two `COPY … (FORMAT binary)` ranges to /dev/null", _psql_floor, partial(_client_version, "psql"), False
        ),
        "duckdb": _scripted("scanner, 2 threads, `COPY TO`, zstd 1", "duckdb", "duckdb_export.py"),
        "adbc": _scripted("2 ranges, numerics cast, pyarrow, zstd 1", "adbc", "adbc_export.py"),
        **_SCRIPTED,
    },
    "mysql": {
        FLOOR: Peer(
            "two `--quick --batch` ranges to /dev/null", _mysql_floor, partial(_client_version, "mysql"), False
        ),
        "duckdb": _scripted("scanner, 2 threads, `COPY TO`, zstd 1", "duckdb", "duckdb_export.py"),
        **_SCRIPTED,
    },
}

_RIVET: dict[str, tuple[str, Mapping[str, object], Mapping[str, object]]] = {
    RIVET: ("full, no setting", {}, {}),
    TUNED: ("full, `integers: delta`", {}, {"format": {"type": "parquet", "integers": "delta"}}),
    CHUNKED: ("60 chunks, two at a time", {}, {"mode": "chunked", "chunk_count": 60, "parallel": 2}),
}

_MEMORY = tuple(Goal(name, "peak_rss_mib", _MEMORY_MIB) for name in _RIVET)
_EASE = tuple(Goal(RIVET, "wall_seconds", 1.2, name) for name in (TUNED, CHUNKED))
_STATEMENTS = tuple(Goal(name, "longest_statement_seconds", 1) for name in _RIVET)

_ORIGINAL = (
    *(Goal(RIVET, "wall_seconds", 1 / 3, name) for name in ("original full", "original chunked")),
    Goal(RIVET, "output_mib", 1.0, "original full"),
    Goal(CHUNKED, "output_mib", 1.0, "original chunked"),
)
_GOALS: dict[tuple[Engine, str], tuple[Goal, ...]] = {
    ("postgres", LINEITEM.name): (
        Goal(RIVET, "wall_seconds", 0.95, "duckdb"),
        Goal(RIVET, "wall_seconds", 1.25, FLOOR),
        *_ORIGINAL,
        *_STATEMENTS,
    ),
    ("postgres", WIDE.name): (Goal(RIVET, "wall_seconds", 1.0, "duckdb"), *_ORIGINAL, *_STATEMENTS),
    ("mysql", LINEITEM.name): (Goal(RIVET, "wall_seconds", 0.85, "arrow-odbc"),),
    ("mysql", WIDE.name): (Goal(RIVET, "wall_seconds", 1.0, "connectorx"),),
}


# Both servers are in UTC, so that a peer that drops the zone still tells the right instants; MariaDB holds the table in
# memory of its own, as PostgreSQL does in the system's.
_SETTINGS: dict[Engine, tuple[str, ...]] = {
    "postgres": ("ALTER ROLE ALL SET timezone = 'UTC'",),
    "mysql": ("SET GLOBAL time_zone = '+00:00'", f"SET GLOBAL innodb_buffer_pool_size = {2 << 30}"),
}
_SERVERS: dict[Engine, Callable[[], AbstractContextManager[DatabaseServer]]] = {
    "postgres": postgres_server,
    "mysql": mariadb_server,
}


@contextmanager
def loaded(engine: Engine, table: Table, setting: Setting) -> Iterator[Source]:
    """Run a server that has the table.

    Raises:
        PeerMissing: what generates the table cannot be installed.
        ServerMissing: the server is not installed.
    """
    rows = setting.rows_or(table.rows)
    exact = reference(table, rows, setting.cache)
    with _SERVERS[engine]() as server:
        server.execute(*_SETTINGS[engine])
        print(f"  loading {rows} rows of {table.name} ...", flush=True)
        load(table, engine, rows, setting.cache, server)
        yield Source(table, engine, rows, exact, server, setting.work)


@contextmanager
def _case(engine: Engine, table: Table, setting: Setting) -> Iterator[Case]:
    try:
        with loaded(engine, table, setting) as source:
            yield _contest(source, setting.only)
    except (PeerMissing, ServerMissing) as missing:
        yield Case((), skipped=(str(missing),))


PEER_CASES: dict[str, Callable[[Setting], AbstractContextManager[Case]]] = {
    "peers-postgres": partial(_case, "postgres", LINEITEM),
    "peers-postgres-wide": partial(_case, "postgres", WIDE),
    "peers-mariadb": partial(_case, "mysql", LINEITEM),
    "peers-mariadb-wide": partial(_case, "mysql", WIDE),
}


def _contest(source: Source, only: frozenset[str]) -> Case:
    verdicts: dict[str, Verdict] = {}
    contenders: list[Contender] = []
    skipped: list[str] = []
    notes: dict[str, str] = {}
    for name, (note, options, export) in _RIVET.items():
        if not only or name in only:
            contenders.append(_rivet(source, name, options, export, verdicts))
            notes[name] = note
    for name, peer in PEERS_OF[source.engine].items():
        if only and name not in only:
            continue
        try:
            contenders.append(peer_contender(source, name, peer, verdicts))
            notes[name] = f"{peer.note} ({peer.version()})"
        except PeerMissing as missing:
            skipped.append(f"{name}: {missing}")
    goals = (*_GOALS[source.engine, source.table.name], *_EASE, *_MEMORY)
    return Case(
        tuple(contenders),
        goals,
        tuple(skipped),
        source.rows,
        server=version_of(source.server),
        reference=RIVET,
        notes=notes,
        verdicts=verdicts,
    )


def _rivet(
    source: Source,
    name: str,
    options: Mapping[str, object],
    export: Mapping[str, object],
    verdicts: dict[str, Verdict],
) -> Contender:
    directory = source.work / name.replace(" ", "-")
    run = rivet_run(
        directory,
        source.engine,
        source.server.url,
        source.rows,
        name=name,
        table=source.table.name,
        options=options,
        export=export,
        watch=source.watch,
    )

    def check() -> None:
        run.check()
        verdict = _verify(source, name, directory, verdicts)
        if verdict.wrong or verdict.types:
            raise CommandFailed(f"{name} is not exact: {verdict}")

    return replace(run, check=check, peer=True)


def peer_contender(source: Source, name: str, peer: Peer, verdicts: dict[str, Verdict]) -> Contender:
    """Return a peer that takes part; what its output is worth goes into ``verdicts``."""
    target = source.work / name.replace(" ", "-")

    def prepare() -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    return Contender(
        name,
        peer.command(source, target),
        source.environment,
        prepare,
        partial(_verify, source, name, target, verdicts) if peer.writes else lambda: None,
        target if peer.writes else None,
        source.watch,
        peer=True,
        limit_seconds=LIMIT_SECONDS,
    )


def _verify(source: Source, name: str, directory: Path, verdicts: dict[str, Verdict]) -> Verdict:
    """Compare every value after the first run of a contender, and the number of rows after the others.

    Raises:
        CommandFailed: rows are missing, or too many.
    """
    task = {
        "reference": str(source.reference),
        "kinds": source.table.kinds(source.engine),
        "files": [str(file) for file in parquet_files(directory)],
        "values": name not in verdicts,
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.verify"],
        cwd=ROOT,
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"the output of {name} cannot be read: {done.stderr.strip()[-2000:]}")
    verdict = verdicts.setdefault(name, Verdict(**json.loads(done.stdout)))
    found = json.loads(done.stdout)["rows"]
    if found != source.rows:
        raise CommandFailed(f"{name} exported {found} rows of {source.rows}")
    return verdict
