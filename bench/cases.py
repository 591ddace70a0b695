"""What is compared with what: the commands of each case, and the goals that they are held to."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

from bench.case import Case, Goal, Setting
from bench.data import postgres_orders, sqlite_orders
from bench.environments import PeerMissing, environment_of
from bench.loops import LOOP_CASES
from bench.measure import CommandFailed, Contender
from bench.peer_cases import PEER_CASES
from bench.profiles import PROFILE_CASES
from bench.rivet import RIVET, rivet_run
from bench.scaling import scaling
from bench.stores import FIXED, LOCAL, Place, object_stores
from servers.postgres import Postgres, postgres_server
from servers.process import ServerMissing

# Of the table `orders`.
_ROWS = 5_000_000

# Of `chunks`, and of `resume`, where all of them but one are finished.
_CHUNKS = 20
_MANY_CHUNKS = 1000

# The part of `memory-stores` is larger than what the budget leaves, many times over.
_SMALL_BUDGET = {"memory_budget": "64MB"}
_LARGE_PART = {"compression": "none"}


@contextmanager
def startup(setting: Setting) -> Iterator[Case]:
    """How long ``rivet`` takes before it does anything, in units of an interpreter that imports click."""
    click = "python -c 'import click'"
    yield Case(
        (
            Contender(click, [sys.executable, "-c", "import click"]),
            Contender("rivet --version", [RIVET, "--version"]),
            Contender("rivet --help", [RIVET, "--help"]),
        ),
        (Goal("rivet --version", "wall_seconds", 2, click), Goal("rivet --help", "wall_seconds", 3, click)),
    )


@contextmanager
def memory(setting: Setting) -> Iterator[Case]:
    """How much memory an export of a large table takes."""
    with _postgres(setting) as (postgres, skipped):
        contenders = [_rivet(setting, "sqlite", _sqlite(setting))]
        if postgres is not None:
            contenders.append(_rivet(setting, "postgres", postgres.url))
        goals = tuple(Goal(contender.name, "peak_rss_mib", 300e6 / 2**20) for contender in contenders)
        yield Case(tuple(contenders), goals, skipped, _rows(setting))


@contextmanager
def throughput_sqlite(setting: Setting) -> Iterator[Case]:
    """How long an export from SQLite takes, beside DuckDB."""
    url = _sqlite(setting)
    peers, skipped = _duckdb(setting, "sqlite", {"BENCH_DATABASE": url.removeprefix("sqlite:///")})
    yield Case((_rivet(setting, "sqlite", url), *peers), skipped=skipped, rows=_rows(setting))


@contextmanager
def throughput_postgres(setting: Setting) -> Iterator[Case]:
    """How long an export from PostgreSQL takes, beside DuckDB and the bare transfer by psql."""
    with _postgres(setting) as (server, skipped):
        if server is None:
            yield Case((), skipped=skipped)
            return
        libpq = f"host={server.host} port={server.port} user={server.user} dbname={server.database}"
        password = {"PGPASSWORD": server.password}
        database = {
            "BENCH_HOST": server.host,
            "BENCH_PORT": str(server.port),
            "BENCH_USER": server.user,
            "BENCH_PASSWORD": server.password,
            "BENCH_DATABASE": server.database,
        }
        peers, missing = _duckdb(setting, "postgres", database)
        psql = shutil.which("psql")
        if psql is None:
            missing = (*missing, "psql: not installed")
        else:
            copy = "COPY orders TO STDOUT (FORMAT binary)"
            peers = (*peers, Contender("floor: psql COPY", [psql, "-X", "-d", libpq, "-c", copy], password))
        yield Case((_rivet(setting, "postgres", server.url), *peers), skipped=missing, rows=_rows(setting))


@contextmanager
def stores(setting: Setting) -> Iterator[Case]:
    """How long an export to an object store on this machine takes, in units of the same export to the local disk."""
    url = _sqlite(setting)
    local = _rivet(setting, "sqlite", url, name="local")
    with object_stores() as (places, missing):
        remote = tuple(_rivet(setting, "sqlite", url, name=name, place=place) for name, place in places.items())
        goals = tuple(Goal(contender.name, "wall_seconds", 1.15, local.name) for contender in remote)
        yield Case((local, *remote), goals, missing, _rows(setting))


@contextmanager
def memory_stores(setting: Setting) -> Iterator[Case]:
    """How much memory an upload of one part takes that is larger than the memory budget many times over."""
    url = _sqlite(setting)
    with object_stores() as (places, missing):
        contenders = tuple(
            _rivet(setting, "sqlite", url, name=name, place=place, options=_SMALL_BUDGET, export=_LARGE_PART)
            for name, place in {"local": LOCAL, **places}.items()
        )
        goals = tuple(Goal(contender.name, "peak_rss_mib", 300e6 / 2**20) for contender in contenders)
        yield Case(contenders, goals, missing, _rows(setting))


@contextmanager
def chunks(setting: Setting) -> Iterator[Case]:
    """What chunks and their records cost, in units of the same rows exported by one statement."""
    with _postgres(setting) as (postgres, skipped):
        urls = {"sqlite": _sqlite(setting), **({} if postgres is None else {"postgres": postgres.url})}
        contenders: list[Contender] = []
        goals: list[Goal] = []
        for engine, url in urls.items():
            whole = _rivet(setting, engine, url, name=f"{engine}-full")
            cut = [
                _rivet(setting, engine, url, name=f"{engine}-chunked-{parallel}", export=_chunked(setting, parallel))
                for parallel in (1, 2)
            ]
            contenders += [whole, *cut]
            goals += [
                Goal(contender.name, "wall_seconds", limit, whole.name)
                for contender, limit in zip(cut, (1.15, 1.0), strict=True)
            ]
        yield Case(tuple(contenders), tuple(goals), skipped, _rows(setting))


@contextmanager
def resume(setting: Setting) -> Iterator[Case]:
    """How long a resume takes that has one chunk of a thousand to read, in units of the run that reads all of them."""
    whole = _rivet(setting, "sqlite", _sqlite(setting), name="anew", export=_chunked(setting, chunks=_MANY_CHUNKS))
    resumed = _resumed(setting)
    yield Case((whole, resumed), (Goal(resumed.name, "wall_seconds", 0.1, whole.name),), rows=_rows(setting))


CASES: dict[str, Callable[[Setting], AbstractContextManager[Case]]] = {
    "startup": startup,
    "chunks": chunks,
    "memory": memory,
    "memory-stores": memory_stores,
    "resume": resume,
    "scaling": scaling,
    "stores": stores,
    "throughput-sqlite": throughput_sqlite,
    "throughput-postgres": throughput_postgres,
    **LOOP_CASES,
    **PEER_CASES,
    **PROFILE_CASES,
}


def _rivet(
    setting: Setting,
    engine: str,
    url: str,
    *,
    name: str = "",
    place: Place = LOCAL,
    options: dict[str, object] | None = None,
    export: dict[str, object] | None = None,
) -> Contender:
    """Return an export of the whole table; ``options`` and ``export`` extend its configuration."""
    name = name or engine
    directory = setting.work / f"rivet-{name}"
    name = f"rivet run ({name})"
    rows = _rows(setting)
    return rivet_run(directory, engine, url, rows, name=name, place=place, options=options, export=export)


def _rows(setting: Setting) -> int:
    return setting.rows_or(_ROWS)


def _chunked(setting: Setting, parallel: int = 1, chunks: int = _CHUNKS) -> dict[str, object]:
    return {"mode": "chunked", "chunk_size": -(-_rows(setting) // chunks), "parallel": parallel}


def _resumed(setting: Setting) -> Contender:
    """Return the resume of a run that has failed in its last chunk, from a source whose last row is in order again."""
    source, died = setting.work / "orders.db", setting.work / "died"
    shutil.copyfile(_sqlite(setting).removeprefix("sqlite:///"), source)
    export = _chunked(setting, chunks=_MANY_CHUNKS)
    run = _rivet(setting, "sqlite", f"sqlite:///{source}", name="resumed", export=export, place=FIXED)
    directory = setting.work / "rivet-resumed"
    _update(source, "UPDATE orders SET quantity = 'none' WHERE id = ?", _rows(setting))
    run.prepare()
    failed = subprocess.run(run.command, env=os.environ | run.environment, capture_output=True, check=False)
    if failed.returncode != 3:
        raise CommandFailed(f"{run.name} was to fail in its last chunk and exited with {failed.returncode}")
    _update(source, "UPDATE orders SET quantity = 1 WHERE id = ?", _rows(setting))
    directory.rename(died)

    def prepare() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        # Parts are never written again, so links will do; and as the very files they are known by their versions.
        shutil.copytree(died / "output", directory / "output", copy_function=os.link)
        shutil.copytree(died, directory, ignore=shutil.ignore_patterns("output"), dirs_exist_ok=True)

    def check() -> None:
        run.check()
        decisions = json.loads((directory / "summary.json").read_bytes())["runs"][0]["decisions"]
        if [item["decision"] for item in decisions].count("skip") != _MANY_CHUNKS - 1:
            raise CommandFailed(f"{run.name} has not kept {_MANY_CHUNKS - 1} parts")

    return Contender(run.name, [*run.command, "--resume"], run.environment, prepare, check)


def _update(database: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


def _duckdb(
    setting: Setting, engine: str, environment: dict[str, str]
) -> tuple[tuple[Contender, ...], tuple[str, ...]]:
    try:
        installed = environment_of("duckdb")
    except PeerMissing as missing:
        return (), (f"duckdb: {missing}",)
    target = setting.work / f"duckdb-{engine}"
    target.mkdir()
    peer = Contender(
        f"duckdb ({engine})",
        installed.script("duckdb_export.py", str(target)),
        {"BENCH_ENGINE": engine, "BENCH_TABLE": "orders", "BENCH_ROWS": str(_rows(setting)), **environment},
        lambda: (target / "orders.parquet").unlink(missing_ok=True),
        output=target,
    )
    return (peer,), ()


def _sqlite(setting: Setting) -> str:
    path = setting.cache / f"orders-{_rows(setting)}.db"
    sqlite_orders(path, _rows(setting))
    return f"sqlite:///{path}"


@contextmanager
def _postgres(setting: Setting) -> Iterator[tuple[Postgres | None, tuple[str, ...]]]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres_server())
        except ServerMissing as missing:
            yield None, (f"postgres: {missing}",)
            return
        postgres_orders(server.execute, _rows(setting))
        yield server, ()
