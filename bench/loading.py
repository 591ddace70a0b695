"""Makes the peers' tables once, keeps them as files, and loads them into a private server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pymysql

from bench.environments import environment_of
from bench.measure import CommandFailed
from bench.tables import Engine, Table
from servers.database import DatabaseServer

_PIECE_BYTES = 1 << 20


def reference(table: Table, rows: int, cache: Path) -> Path:
    """Return a Parquet file with the exact values in the order of ``id``.

    Raises:
        PeerMissing: DuckDB, which makes them, cannot be installed.
    """
    path = cache / f"{table.name}-{rows}.parquet"
    if not path.exists():
        _generate(table.extension, table.prepare(rows), table.select(rows), path, "parquet")
    return path


def load(table: Table, engine: Engine, rows: int, cache: Path, server: DatabaseServer) -> None:
    """Create and fill the table in the server's database."""
    source = str(reference(table, rows, cache)).replace("'", "''")
    lines = cache / f"{table.name}-{rows}.{engine}.tsv"
    if not lines.exists():
        query = f"SELECT {table.texts(engine)} FROM '{source}' ORDER BY id"
        _generate(None, [], query, lines, "tsv")
    server.execute(table.create(engine))
    if engine == "postgres":
        _load_postgres(table, lines, server)
    else:
        _load_mysql(table, lines, server)


def _generate(extension: str | None, statements: list[str], query: str, path: Path, form: str) -> None:
    task = {
        "extension": extension,
        "statements": statements,
        "copies": [{"query": query, "path": str(path), "form": form}],
    }
    done = subprocess.run(
        environment_of("duckdb").script("generate.py"),
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"{path.name} could not be generated: {done.stderr.strip()[-2000:]}")


def _load_postgres(table: Table, lines: Path, server: DatabaseServer) -> None:
    with (
        server.connect() as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table.name} FROM STDIN") as copy,
        lines.open("rb") as file,
    ):
        while piece := file.read(_PIECE_BYTES):
            copy.write(piece)
    server.execute(f"ALTER TABLE {table.name} ADD PRIMARY KEY (id)", f"VACUUM ANALYZE {table.name}")


def _load_mysql(table: Table, lines: Path, server: DatabaseServer) -> None:
    binaries = [column.name for column in table.columns if column.kinds["mysql"] == "binary"]
    fields = ", ".join(f"@{column.name}" if column.name in binaries else column.name for column in table.columns)
    decoded = ", ".join(f"{name} = unhex(@{name})" for name in binaries)
    load = f"LOAD DATA LOCAL INFILE %s INTO TABLE {table.name} CHARACTER SET utf8mb4 ({fields})"
    connection = pymysql.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=server.database,
        local_infile=True,
        autocommit=True,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', unique_checks = 0")
        cursor.execute(load + (f" SET {decoded}" if decoded else ""), (str(lines),))
        if cursor.warning_count:
            raise CommandFailed(f"{table.name} was not loaded as it is: {connection.show_warnings()[0]}")
        cursor.execute(f"ANALYZE TABLE {table.name}")
