"""Datasets of PostgreSQL and MariaDB beside their tables: by every kind of key, and with every kind of value."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from integration.chunks.test_chunks_on_servers import (  # noqa: F401  fixtures
    MARIADB_KEYS,
    POSTGRES_KEYS,
    ROWS,
    mariadb_table,
    postgres_table,
)
from rivet_core.config import Config, load
from rivet_core.contract.reconciliation import ReconcileReport
from rivet_core.engine.plan import PrefixChoice
from rivet_core.engine.reconcile import reconcile_export
from rivet_core.engine.repair import repair_export
from rivet_core.engine.run import RunOptions, run_exports
from rivet_core.plugins import Registry, discover
from servers.mariadb import Mariadb
from servers.postgres import Postgres

CHUNK_SIZE = 120
EVERY_VALUE = (
    "CREATE TYPE state AS ENUM ('new', 'paid')",
    "CREATE TABLE kinds (id int PRIMARY KEY, f double precision, r real, n numeric(20,5), u uuid, j json, jb jsonb,"
    " a int[], t text[], i interval, at timestamptz, clock time, b bytea, yes boolean, d date, c char(5), e state)",
    "INSERT INTO kinds VALUES (1, 'NaN', '-0', 1.5, '00000000-0000-0000-0000-000000000001', '{\"a\": 1}', '[1]',"
    " '{1,2}', '{a,NULL,\"b c\"}', '1 month 2 days 3 hours', '2026-03-29 01:30:00+00', '23:59:59.999999', '\\x00ff',"
    " true, '1899-12-31', 'x', 'new')",
    "INSERT INTO kinds (id, f, a, t) VALUES (2, '-Infinity', '{}', '{NULL}')",
    "INSERT INTO kinds (id) VALUES (3)",
)

COLUMNS = ("f", "r", "n", "u", "j", "jb", "a", "t", "i", "at", "clock", "b", "yes", "d", "c", "e")


class Site:
    """A directory with a configuration."""

    def __init__(self, directory: Path, url: str, *exports: dict[str, object]) -> None:
        self.registry: Registry = discover({"RIVET_PLUGINS": "local"})
        dialect = "postgres" if url.startswith("postgres") else "mysql"
        document = {"source": {"type": dialect, "url": url}, "exports": exports}
        self._file = directory / "rivet.yaml"
        self._file.write_text(json.dumps(document))
        self.choice = PrefixChoice(datetime.now(UTC).date())

    @property
    def config(self) -> Config:
        return load(self._file, self.registry, {})

    def run(self) -> None:
        config = self.config
        options = RunOptions(reconcile=True)
        results = run_exports(config, config.exports, self.registry, options, lambda name, counters: nullcontext())
        assert {result.export: result.error for result in results if result.error} == {}

    def reconcile(self, *, content: bool = True) -> dict[str, ReconcileReport]:
        config = self.config
        return {
            export.name: reconcile_export(config, export, self.registry, self.choice, {}, content=content)
            for export in config.exports
        }

    def repair(self, reports: dict[str, ReconcileReport]) -> None:
        config = self.config
        for export in config.exports:
            found = repair_export(
                config,
                export,
                self.registry,
                self.choice,
                RunOptions(),
                watch=lambda name, counters: nullcontext(),
                report=reports[export.name],
                execute=True,
            )
            assert found.run is not None
            assert found.run.error is None, (export.name, found.run.error)
            assert found.kept >= found.run.parts - 2


def export(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "destination": {"type": "local", "path": f"out/{name}"}, **fields}


def results(reports: dict[str, ReconcileReport]) -> dict[str, str]:
    return {name: report.result for name, report in reports.items()}


@pytest.mark.parametrize("engine", ["postgres", "mariadb"])
def test_every_kind_of_key_is_compared_and_repaired(request: pytest.FixtureRequest, tmp_path: Path, engine: str):
    database: Postgres | Mariadb = request.getfixturevalue(f"{engine}_table")
    keys = [*(POSTGRES_KEYS if engine == "postgres" else MARIADB_KEYS), "maybe"]
    chunked = {"table": "keys", "mode": "chunked", "chunk_size": CHUNK_SIZE}
    site = Site(tmp_path, database.url, *(export(key, chunk_column=key, **chunked) for key in keys))
    site.run()
    matching = dict.fromkeys(keys, "match")
    assert results(site.reconcile(content=False)) == matching
    reports = site.reconcile()
    assert results(reports) == matching, reports
    assert {report.key for report in reports.values()} == {("n",)}
    assert {report.source_rows for report in reports.values()} == {ROWS}

    table = "keys" if engine == "postgres" else "`keys`"
    database.execute(f"DELETE FROM {table} WHERE n = 77", f"UPDATE {table} SET fixed = 'other' WHERE n = 78")
    reports = site.reconcile()
    for name, report in reports.items():
        extra = [key for item in report.partitions for key in item.examples.extra]
        assert ("77",) in extra, name
        changed = [key for item in report.partitions for key in item.examples.changed]
        if name != "fixed":  # there the row has moved to another range
            assert (extra, changed) == ([("77",)], [("78",)]), name
    site.repair(reports)
    assert results(site.reconcile()) == matching


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_every_kind_of_value_is_equal_to_itself(postgres: Postgres, tmp_path: Path, form: str):
    database = postgres.create_database()
    database.execute(*EVERY_VALUE)
    if form == "csv":
        database.execute("ALTER TABLE kinds DROP COLUMN a, DROP COLUMN t")
    site = Site(tmp_path, database.url, export("kinds", table="kinds", format=form))
    site.run()
    (report,) = site.reconcile().values()
    assert (report.result, report.columns) == ("match", ()), report
    changes = {
        "f": "0",
        "r": "1",
        "n": "1.50001",
        "u": "NULL",
        "j": "'{}'",
        "at": "now()",
        "b": "''",
        "yes": "false",
        "e": "'paid'",
    }
    numbers = range(10, 10 + len(changes))
    columns = ", ".join(column for column in COLUMNS if form == "parquet" or column not in ("a", "t"))
    database.execute(*(f"INSERT INTO kinds SELECT {n}, {columns} FROM kinds WHERE id = 1" for n in numbers))
    site.run()
    for number, (column, value) in zip(numbers, changes.items(), strict=True):
        database.execute(f"UPDATE kinds SET {column} = {value} WHERE id = {number}")
    (report,) = site.reconcile().values()
    (whole,) = report.partitions
    assert sorted(whole.examples.changed) == sorted((str(number),) for number in numbers)
