"""A source that fails for a while costs another try; one that refuses costs none; and no row is counted twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.consistency.bank import ACCOUNTS, Bank
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_core.engine import tries
from rivet_core.engine.result import RunResult
from servers.process import free_port
from servers.proxy import BlackHole, Drop, Fault, FaultProxy, Reset

READ = SqlalchemySource.read


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The waits between two tries, as they come; none takes long."""
    seen: list[int] = []
    pause = tries.pause

    def noted(attempt: int, *args: Any) -> None:
        seen.append(attempt)
        pause(attempt, *args)

    monkeypatch.setattr(tries, "pause", noted)
    monkeypatch.setattr(tries, "_FIRST_WAIT_SECONDS", 0.01)
    return seen


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The reads of chunks, as they begin."""
    seen: list[object] = []

    def read(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
        seen.append(args)
        return READ(self, *args, **kwargs)

    monkeypatch.setattr(SqlalchemySource, "read", read)
    return seen


def before_pauses(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    pause = tries.pause

    def done(*args: Any) -> None:
        do()
        pause(*args)

    monkeypatch.setattr(tries, "pause", done)


def is_the_table(bank: Bank, result: RunResult) -> None:
    assert result.error is None, result.error
    assert bank.exported() == bank.accounts()
    assert result.rows == ACCOUNTS == sum(part["rows"] for part in bank.manifest()["parts"])
    listed = {part["path"] for part in bank.manifest()["parts"]}
    assert {path.name for path in bank.out.glob("part-*")} == listed


@pytest.mark.parametrize("consistency", ["per_chunk", "snapshot"])
@pytest.mark.parametrize("fault", [Reset(60_000), Drop(60_000), BlackHole(60_000)], ids=["reset", "closed", "silent"])
def test_a_line_that_breaks_in_the_middle_of_a_result(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, waits: list[int], fault: Fault, consistency: str
) -> None:
    """Of PostgreSQL a chunk of a snapshot is read again; of MySQL its transaction is gone, and all rows are."""
    with FaultProxy(bank.server.port) as proxy:
        bank.configure(
            "chunk_size: 1000",
            "parallel: 2",
            f"consistency: {consistency}",
            url=bank.server.through(proxy.port).url,
            read_timeout=2,
        )
        plain_read = SqlalchemySource.read

        def read(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
            if not proxy.fired:
                proxy.inject(fault)
            return plain_read(self, *args, **kwargs)

        monkeypatch.setattr(SqlalchemySource, "read", read)
        before_pauses(monkeypatch, lambda: proxy.inject(None))
        result = bank.run(validate=True)
        assert proxy.fired
    is_the_table(bank, result)
    assert 1 <= len(waits) == len(result.warnings)
    lost = consistency == "snapshot" and bank.server.driver.startswith("mysql")
    assert all("all rows are read again" in warning if lost else "chunk" in warning for warning in result.warnings)
    assert all("read again" in warning for warning in result.warnings)
    if isinstance(fault, BlackHole):
        assert "said nothing for 2 s" in result.warnings[0]
    assert bank.sessions() == 0


def test_a_server_that_is_away_for_a_while(bank: Bank, monkeypatch: pytest.MonkeyPatch, waits: list[int]) -> None:
    refusing = bank.server.through(free_port())
    with FaultProxy(bank.server.port) as proxy:
        bank.configure("chunk_size: 500", "parallel: 1", url=bank.server.through(proxy.port).url)
        connect: Any = None

        def read(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
            nonlocal connect
            if connect is None:
                connect = self._backend.connect
                self._backend.connect = lambda: away(self)
                self._backend.close()  # what planning has left
            return READ(self, *args, **kwargs)

        def away(source: SqlalchemySource) -> Any:
            if len(waits) < 3:
                return type(source._backend).connect(_Elsewhere(source._backend, refusing.port))
            return connect()

        monkeypatch.setattr(SqlalchemySource, "read", read)
        result = bank.run(validate=True)
    is_the_table(bank, result)
    assert waits == [1, 2, 3]
    assert all("cannot connect" in warning for warning in result.warnings)


class _Elsewhere:
    """A backend whose engine goes to another port."""

    def __init__(self, backend: Any, port: int) -> None:
        import sqlalchemy

        self.engine = sqlalchemy.create_engine(backend.engine.url.set(port=port))


def test_planning_is_tried_again(bank: Bank, monkeypatch: pytest.MonkeyPatch, waits: list[int]) -> None:
    fetch = SqlalchemySource.fetch
    with FaultProxy(bank.server.port) as proxy:
        bank.configure("chunk_size: 500", url=bank.server.through(proxy.port).url)

        def failing(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
            proxy.inject(Reset(0) if len(waits) < 2 else None)
            return fetch(self, *args, **kwargs)

        monkeypatch.setattr(SqlalchemySource, "fetch", failing)
        result = bank.run(validate=True)
        assert proxy.fired >= 2
    is_the_table(bank, result)
    assert waits == [1, 2]
    assert all("a query for the plan is tried again" in warning for warning in result.warnings)


def test_a_source_that_stays_away_fails_the_run_after_some_tries(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, waits: list[int], reads: list[object]
) -> None:
    with FaultProxy(bank.server.port) as proxy:
        bank.configure("chunk_size: 1000", url=bank.server.through(proxy.port).url)
        noted = SqlalchemySource.read

        def read(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
            proxy.inject(Reset(60_000))
            return noted(self, *args, **kwargs)

        monkeypatch.setattr(SqlalchemySource, "read", read)
        result = bank.run()
        assert proxy.fired >= tries.ATTEMPTS
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("R302", 1)
    assert len(reads) == tries.ATTEMPTS
    assert waits == list(range(1, tries.ATTEMPTS))
    assert list(bank.out.iterdir()) == []


@pytest.mark.parametrize(
    ("expression", "code"),
    [("1 / (id - 1500000)", "R304"), ("nothing", "R304"), ("(SELECT max(secret) FROM hidden)", "R304")],
    ids=["a value in the middle", "a name", "a table"],
)
def test_what_will_not_pass_is_tried_once(
    postgres_bank: Bank, waits: list[int], reads: list[object], expression: str, code: str
) -> None:
    postgres_bank.configure("chunk_size: 1000", "parallel: 1", "chunk_column: id")
    path = postgres_bank.directory / "rivet.yaml"
    query = f"SELECT id, amount, {expression} AS x FROM accounts"
    path.write_text(path.read_text().replace("table: accounts", f'query: "{query}"'))
    result = postgres_bank.run()
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == (code, 2)
    assert waits == []
    assert len(reads) <= 2
    assert result.warnings == []


def limits(bank: Bank) -> list[tuple[str, str, str, str]]:
    """A setting of the server's, what runs into it, the code of the error and the setting that its hint names."""
    if bank.server.driver.startswith("postgresql"):
        sleep = "pg_sleep(5)::text"
        return [
            ("statement_timeout = 300", sleep, "R301", "statement_timeout"),
            ("transaction_timeout = 300", sleep, "R301", "transaction_timeout"),
        ]
    return [("max_statement_time = 0.3", "SLEEP(5)", "R301", "max_statement_time")]


def test_a_time_limit_names_the_setting(bank: Bank, waits: list[int], reads: list[object]) -> None:
    for setting, expression, code, named in limits(bank):
        name, _, value = setting.partition(" = ")
        if name == "transaction_timeout" and version(bank) < 170_000:
            continue
        url = bank.server.url
        if bank.server.driver.startswith("postgresql"):
            url += f"?options=-c%20{name}%3D{value}"
        else:
            url += f"?init_command=SET%20{name}%3D{value}"
        bank.configure("chunk_size: 1000", "chunk_column: id", url=url)
        path = bank.directory / "rivet.yaml"
        slow = f"CASE WHEN id = 1500000 THEN {expression} ELSE '' END"
        path.write_text(path.read_text().replace("table: accounts", f'query: "SELECT id, {slow} AS x FROM accounts"'))
        reads.clear()
        result = bank.run()
        assert result.error is not None
        assert result.error.code == code, result.error
        assert named in result.error.hint
        assert "chunk_size" in result.error.hint
        assert waits == []
        assert len(reads) <= 2


def version(bank: Bank) -> int:
    with bank.server.connect() as connection:
        return int(connection.info.server_version)


def test_a_lock_that_is_held_is_waited_for_and_its_setting_named(
    postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch, waits: list[int]
) -> None:
    server = postgres_bank.server
    postgres_bank.configure("chunk_size: 1000", url=f"{server.url}?options=-c%20lock_timeout%3D100")
    with server.connect() as holder:
        holder.autocommit = False

        def read(self: SqlalchemySource, *args: Any, **kwargs: Any) -> Any:
            if not waits:
                holder.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
            return READ(self, *args, **kwargs)

        monkeypatch.setattr(SqlalchemySource, "read", read)
        before_pauses(monkeypatch, holder.rollback)
        result = postgres_bank.run(validate=True)
    is_the_table(postgres_bank, result)
    assert len(waits) == 1
    assert "lock" in result.warnings[0]


def test_a_transaction_that_idles_too_long_names_the_setting(
    postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch, waits: list[int]
) -> None:
    import time

    from rivet_core.engine.writing.rows import RowSteps

    apply = RowSteps.apply

    def slow(self: RowSteps, batch: Any) -> Any:
        time.sleep(0.5)  # the server waits for the next FETCH meanwhile
        return apply(self, batch)

    monkeypatch.setattr(RowSteps, "apply", slow)
    monkeypatch.setattr(tries, "ATTEMPTS", 1)
    server = postgres_bank.server
    postgres_bank.configure(
        "chunk_size: 100000",
        "format: csv",
        "compression: none",
        url=f"{server.url}?options=-c%20idle_in_transaction_session_timeout%3D100",
    )
    result = postgres_bank.run()
    assert result.error is not None
    assert "idle_in_transaction_session_timeout" in result.error.hint, result.error
    assert waits == []


def test_the_longest_statement_is_reported(bank: Bank) -> None:
    sleep = "pg_sleep(0.7)::text" if bank.server.driver.startswith("postgresql") else "SLEEP(0.7)"
    bank.configure("chunk_size: 1000", "chunk_column: id")
    path = bank.directory / "rivet.yaml"
    slow = f"CASE WHEN id = 1500000 THEN {sleep} ELSE '' END"
    path.write_text(path.read_text().replace("table: accounts", f'query: "SELECT id, {slow} AS x FROM accounts"'))
    result = bank.run()
    assert result.error is None, result.error
    assert result.longest_statement_seconds is not None
    assert 0.7 <= result.longest_statement_seconds <= result.duration_seconds
