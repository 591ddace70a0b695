"""The cases ``throughput-loop-*``: the built-in source beside the loop that one writes by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from bench.case import Case, Goal, Setting
from bench.measure import CommandFailed, Contender
from bench.mixed import mariadb_mixed, postgres_mixed, sqlite_mixed
from bench.rivet import rivet_run
from bench.stores import LOCAL
from servers.database import DatabaseServer
from servers.mariadb import mariadb_server
from servers.postgres import postgres_server
from servers.process import ServerMissing

_ROWS = 1_000_000
# Without the native sources the built-in one serves their types.
_BUILT_IN = replace(LOCAL, environment={"RIVET_PLUGINS": "local"})
_SCRIPT = Path(__file__).with_name("peers") / "plain_loop.py"
_RIVET = "rivet, built-in source"
_LOOPS = {
    "rows": "loop over rows",
    "columns": "loop over columns",
}
_NOTES = {
    _RIVET: "full, defaults",
    _LOOPS["rows"]: "SQLAlchemy's rows by `yield_per`, a dict of each, `RecordBatch.from_pylist`, zstd 1",
    _LOOPS["columns"]: "the driver's `cursor.fetchmany`, `zip`, `pa.array` of each column, zstd 1",
}


@contextmanager
def loop_sqlite(setting: Setting) -> Iterator[Case]:
    """Export from SQLite."""
    rows = setting.rows_or(_ROWS)
    path = setting.cache / f"mixed-{rows}.db"
    sqlite_mixed(path, rows)
    yield _case(setting, "sqlite", f"sqlite:///{path}", rows)


@contextmanager
def loop_server(
    engine: str,
    serve: Callable[[], AbstractContextManager[DatabaseServer]],
    fill: Callable[[Callable[..., None], int], None],
    setting: Setting,
) -> Iterator[Case]:
    """Export from a server."""
    rows = setting.rows_or(_ROWS)
    try:
        with serve() as server:
            fill(server.execute, rows)
            yield _case(setting, engine, server.url, rows)
    except ServerMissing as missing:
        yield Case((), skipped=(str(missing),))


LOOP_CASES: dict[str, Callable[[Setting], AbstractContextManager[Case]]] = {
    "throughput-loop-sqlite": loop_sqlite,
    "throughput-loop-postgres": partial(loop_server, "postgres", postgres_server, postgres_mixed),
    "throughput-loop-mariadb": partial(loop_server, "mariadb", mariadb_server, mariadb_mixed),
}


def _case(setting: Setting, engine: str, url: str, rows: int) -> Case:
    directory = setting.work / "rivet"
    rivet = rivet_run(directory, engine, url, rows, name=_RIVET, table="mixed", place=_BUILT_IN)
    loops = [_loop(setting.work / f"loop-{form}", form, url, rows) for form in _LOOPS]
    goals = tuple(Goal(_RIVET, "wall_seconds", 0.5, loop.name) for loop in loops)
    return Case((rivet, *loops), goals, rows=rows, reference=_RIVET, notes=_NOTES)


def _loop(directory: Path, form: str, url: str, rows: int) -> Contender:
    directory.mkdir()
    target = directory / "mixed.parquet"

    def check() -> None:
        found = pq.read_metadata(target).num_rows
        if found != rows:
            raise CommandFailed(f"{_LOOPS[form]} exported {found} rows of {rows}")

    command = [sys.executable, str(_SCRIPT), form, str(target)]
    return Contender(
        _LOOPS[form], command, {"BENCH_URL": url}, lambda: target.unlink(missing_ok=True), check, directory
    )
