"""A bank on a database server: whatever its writers do, every transaction leaves as many accounts and as much money."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from rivet_core.config import load
from rivet_core.engine.result import RunResult
from rivet_core.engine.run import RunOptions, run_exports
from rivet_core.plugins import discover
from servers.database import DatabaseServer
from servers.postgres import Postgres

ACCOUNTS = 2000
AMOUNT = 100
MONEY = ACCOUNTS * AMOUNT


class Bank:
    """A database with accounts, and a directory with a ``rivet.yaml`` that exports them."""

    def __init__(self, server: DatabaseServer, directory: Path) -> None:
        self.server = server.create_database()
        self.directory = directory
        self.out = directory / "out"
        self.registry = discover({"RIVET_PLUGINS": "local"})
        numbers = f"generate_series(1, {ACCOUNTS}) AS seq" if isinstance(server, Postgres) else f"seq_1_to_{ACCOUNTS}"
        self.server.execute(
            "CREATE TABLE accounts (id bigint PRIMARY KEY, amount bigint NOT NULL, note varchar(200))",
            f"INSERT INTO accounts SELECT seq * 1000, {AMOUNT}, repeat('x', 100) FROM {numbers}",
        )
        self.commits = 0

    def configure(self, *fields: str, url: str | None = None, read_timeout: int = 60) -> None:
        """Write ``rivet.yaml`` with further fields of the export."""
        kind = "postgres" if isinstance(self.server, Postgres) else "mariadb"
        fields = (*fields, "destination: {type: local, path: out}")
        export = f"{{name: accounts, table: accounts, mode: chunked, {', '.join(fields)}}}"
        source = f"{{type: {kind}, url: {json.dumps(url or self.server.url)}, read_timeout: {read_timeout}}}"
        text = f"source: {source}\nexports:\n  - {export}\n"
        (self.directory / "rivet.yaml").write_text(text)

    def run(self, **options: Any) -> RunResult:
        """Run the export."""
        config = load(self.directory / "rivet.yaml", self.registry, {})
        watch = lambda name, counters: nullcontext()  # noqa: E731
        (result,) = run_exports(config, config.exports, self.registry, RunOptions(**options), watch)
        return result

    def manifest(self) -> dict[str, Any]:
        """What was certified last."""
        document: dict[str, Any] = json.loads((self.out / "manifest.json").read_bytes())
        return document

    def exported(self) -> dict[int, int]:
        """The accounts that are certified; each is there once."""
        paths = [part["path"] for part in self.manifest()["parts"]]
        assert len(set(paths)) == len(paths)
        table = pa.concat_tables([pyarrow.parquet.read_table(self.out / path) for path in paths])
        amounts = dict(zip(table["id"].to_pylist(), table["amount"].to_pylist(), strict=True))
        assert len(amounts) == table.num_rows
        return amounts

    def accounts(self) -> dict[int, int]:
        """The accounts as they are now."""
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id, amount FROM accounts")
            return dict(cursor.fetchall())

    def work(self, choose: random.Random, cursor: Any) -> None:
        """Commit one transaction: some money moves, and one account is closed and opened under another number."""
        cursor.execute("BEGIN")
        payer, payee, moved = sorted(1000 * choose.randint(1, ACCOUNTS) for _ in range(3))
        sum_ = choose.randint(1, 50)
        number = choose.randint(1, 1000 * ACCOUNTS)
        # Neither side may be missing, or money would be.
        cursor.execute("SELECT id FROM accounts WHERE id IN (%s, %s) ORDER BY id FOR UPDATE", (payer, payee))
        if len(cursor.fetchall()) == 2:
            cursor.execute("UPDATE accounts SET amount = amount - %s WHERE id = %s", (sum_, payee))
            cursor.execute("UPDATE accounts SET amount = amount + %s WHERE id = %s", (sum_, payer))
        cursor.execute("SELECT amount FROM accounts WHERE id = %s FOR UPDATE", (moved,))
        found = cursor.fetchall()
        cursor.execute("SELECT 1 FROM accounts WHERE id = %s", (number,))
        if found and not cursor.fetchall():
            cursor.execute("DELETE FROM accounts WHERE id = %s", (moved,))
            cursor.execute("INSERT INTO accounts VALUES (%s, %s, 'moved')", (number, found[0][0]))
        cursor.execute("COMMIT")
        self.commits += 1

    @contextmanager
    def open_for_business(self) -> Iterator[None]:
        """Let a writer work without a pause while the block runs."""
        closed = threading.Event()

        def write() -> None:
            choose = random.Random(1)
            with self.server.connect() as connection, connection.cursor() as cursor:
                while not closed.is_set():
                    self.work(choose, cursor)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield
        finally:
            closed.set()
            writer.join()

    def sessions(self) -> int:
        """How many connections of Rivet's the server has."""
        statement = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rivet' AND datname = current_database()"
            if isinstance(self.server, Postgres)
            else "SELECT count(*) - 1 FROM information_schema.processlist WHERE db = DATABASE()"
        )
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return int(cursor.fetchone()[0])
