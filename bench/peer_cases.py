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
from bench.environments import ROOT, PeerMissing, environment_of
from bench.loading import load, reference
from bench.measure import CommandFailed, Contender, parquet_files
from bench.rivet import rivet_run
from bench.statements import StatementWatch
from bench.tables import LINEITEM, WIDE, Engine, Table
from bench.verdict import Verdict
from servers.database import DatabaseServer
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
        build: makes the command line for a source and a directory to write to.
        writes: whether it leaves Parquet files.
    """

    note: str
    build: Callable[[Source, Path], list[str]]
    writes: bool = True


def _script(peer: str, script: str) -> Callable[[Source, Path], list[str]]:
    """Return what runs a script of ``bench/peers`` in the peer's environment."""
    return lambda source, target: environment_of(peer).script(script, str(target))


def _psql_floor(source: Source, target: Path) -> list[str]:
    """Two ranges of the table's pages by ``psql``, to nowhere."""
    psql = shutil.which("psql")
    if psql is None:
        raise PeerMissing("psql is not installed: apt-get install postgresql-client")
    with source.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s) / current_setting('block_size')::int / 2", (source.table.name,))
        (middle,) = cursor.fetchone()
    copies = [
        f"COPY (SELECT * FROM {source.table.name} WHERE ctid {side} '({middle},0)') TO STDOUT (FORMAT binary)"
        for side in ("<", ">=")
    ]
    run = 'PGPASSWORD="$BENCH_PASSWORD" "$0" -X -h "$BENCH_HOST" -p "$BENCH_PORT" -U "$BENCH_USER" -d "$BENCH_DATABASE"'
    return ["sh", "-c", f'{run} -c "$1" & {run} -c "$2" && wait $!', psql, *copies]


POSTGRES_PEERS: dict[str, Peer] = {
    FLOOR: Peer("two `psql COPY … (FORMAT binary)` ranges to /dev/null", _psql_floor, writes=False),
    "duckdb": Peer("postgres scanner, 2 threads, `COPY TO`, zstd 1", _script("duckdb", "duckdb_export.py")),
}

_RIVET: dict[str, tuple[str, Mapping[str, object], Mapping[str, object]]] = {
    RIVET: ("full, defaults", {}, {}),
    TUNED: ("full, memory budget of 280 MB", {"memory_budget": "280MB"}, {}),
    CHUNKED: ("chunked, two at a time", {}, {"mode": "chunked", "chunk_count": 8, "parallel": 2}),
}

_MEMORY = tuple(Goal(name, "peak_rss_mib", _MEMORY_MIB) for name in _RIVET)
_EASE = tuple(Goal(RIVET, "wall_seconds", 1.2, name) for name in (TUNED, CHUNKED))
_STATEMENTS = tuple(Goal(name, "longest_statement_seconds", 1) for name in _RIVET)

_POSTGRES_GOALS = {
    LINEITEM.name: (Goal(RIVET, "wall_seconds", 0.95, "duckdb"), Goal(RIVET, "wall_seconds", 1.25, FLOOR)),
    WIDE.name: (Goal(RIVET, "wall_seconds", 1.0, "duckdb"),),
}


@contextmanager
def peers_postgres(table: Table, setting: Setting) -> Iterator[Case]:
    """Export one table from PostgreSQL."""
    goals = (*_POSTGRES_GOALS[table.name], *_EASE, *_MEMORY, *_STATEMENTS)
    with _case(table, "postgres", setting, serve=postgres_server, peers=POSTGRES_PEERS, goals=goals) as case:
        yield case


PEER_CASES: dict[str, Callable[[Setting], AbstractContextManager[Case]]] = {
    "peers-postgres": partial(peers_postgres, LINEITEM),
    "peers-postgres-wide": partial(peers_postgres, WIDE),
}


@contextmanager
def _case(
    table: Table,
    engine: Engine,
    setting: Setting,
    *,
    serve: Callable[[], AbstractContextManager[DatabaseServer]],
    peers: Mapping[str, Peer],
    goals: tuple[Goal, ...],
) -> Iterator[Case]:
    rows = setting.rows_or(table.rows)
    try:
        exact = reference(table, rows, setting.cache)
        with serve() as server:
            print(f"  loading {rows} rows of {table.name} ...", flush=True)
            load(table, engine, rows, setting.cache, server)
            yield _contest(Source(table, engine, rows, exact, server, setting.work), peers, goals, setting.only)
    except (PeerMissing, ServerMissing) as missing:
        yield Case((), skipped=(str(missing),))


def _contest(source: Source, peers: Mapping[str, Peer], goals: tuple[Goal, ...], only: frozenset[str]) -> Case:
    verdicts: dict[str, Verdict] = {}
    contenders: list[Contender] = []
    skipped: list[str] = []
    notes: dict[str, str] = {}
    for name, (note, options, export) in _RIVET.items():
        contenders.append(_rivet(source, name, options, export, verdicts))
        notes[name] = note
    for name, peer in peers.items():
        if only and name not in only:
            continue
        try:
            contenders.append(_peer(source, name, peer, verdicts))
        except PeerMissing as missing:
            skipped.append(f"{name}: {missing}")
        notes[name] = peer.note
    kept = tuple(contender for contender in contenders if not only or contender.name in only)
    return Case(kept, goals, tuple(skipped), source.rows, RIVET, notes, verdicts)


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

    return replace(run, check=check)


def _peer(source: Source, name: str, peer: Peer, verdicts: dict[str, Verdict]) -> Contender:
    target = source.work / name.replace(" ", "-")

    def prepare() -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    return Contender(
        name,
        peer.build(source, target),
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
