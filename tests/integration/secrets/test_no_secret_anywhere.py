"""No command writes a credential or a parameter's value anywhere, whether it succeeds or fails."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from integration.failures.command import Workspace, finish, sqlite_table
from integration.failures.long_run import LONG_QUERIES, start_long_run
from integration.secrets.canary import Canary
from servers.database import DatabaseServer
from servers.postgres import Postgres
from servers.process import free_port
from servers.proxy import FaultProxy, Reset

RUNS = (("run", "--debug"), ("run", "--json", "--debug", "--validate", "--summary-output", "summary.json"))
#: Commands that need a value for each bind of the query.
QUERYING = (
    *RUNS,
    ("check", "--debug", "--sample"),
    ("check", "--json"),
    ("plan", "--debug", "--count", "-o", "plan.json"),
    ("apply", "plan.json", "--json", "--debug"),
    ("reconcile", "--content", "--debug"),
    ("repair", "--debug", "--execute"),
    ("check", "--debug"),
)
#: What somebody does after a run that has failed, or about a dataset that is damaged.
RESUME = ("run", "--resume", "--reconcile", "--debug")
REPAIR = (
    ("reconcile", "--json", "--debug", "-o", "report.json"),
    ("repair", "--report", "report.json", "--json", "--debug", "--execute"),
)
CLEAN = (("clean", "--json", "--debug"), ("clean", "--older-than", "0", "--execute", "--debug"))
COMMANDS = (
    *QUERYING,
    ("validate", "--json", "--debug"),
    ("doctor", "--debug"),
    ("doctor", "--json"),
    ("state", "show", "--debug"),
    ("state", "show", "--json"),
    ("state", "chunks", "--export", "orders", "--debug"),
    ("state", "reset", "--export", "orders", "--debug", "--execute"),
    ("runs", "list", "--json"),
    ("runs", "show", "latest", "--debug"),
)
#: What the tests themselves write the secret to.
INPUTS = {"rivet.yaml", "database.url"}


def search_everything(
    workspace: Workspace,
    canary: Canary,
    *,
    exit_code: int,
    commands: Sequence[Sequence[str]] = COMMANDS,
    params: Sequence[str] = (),
    **environment: str,
) -> None:
    """Run commands, each run with this exit code, and search all that was written for the canary."""
    for command in commands:
        arguments = [*command, *params] if command in (*QUERYING, RESUME, *REPAIR) else command
        finished = workspace.rivet(*arguments, **environment)
        assert canary.traces(finished.out + finished.err) == [], (command, finished)
        if command[0] == "run":
            assert finished.exit_code == exit_code, finished
        elif exit_code == 0:
            assert finished.exit_code == 0, finished
        assert "R999" not in finished.out + finished.err, finished
    assert find_in_files(workspace.directory, canary) == []


def find_in_files(directory: Path, canary: Canary) -> list[str]:
    """Return the files below ``directory`` whose content or name has a trace of the canary."""
    paths = [path for path in directory.rglob("*") if path.is_file() and path.name not in INPUTS]
    assert paths, "nothing was written, so nothing is proven"
    return [
        f"{path}: {found}" for path in paths for found in canary.traces(path.name) + canary.traces(path.read_bytes())
    ]


def type_of(server: DatabaseServer) -> str:
    return "postgres" if isinstance(server, Postgres) else "mariadb"


@pytest.mark.parametrize(
    "encode",
    [
        str,
        quote,
        lambda text: quote(text, safe="").lower(),
        quote_plus,
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"user:{text}".encode()).decode(),
        lambda text: text[: len(text) // 2],
        lambda text: text[len(text) // 2 :],
    ],
)
def test_the_search_finds_every_form(canary: Canary, encode: Any) -> None:
    assert canary.traces(f"error: {encode(canary.value)}, sorry")
    assert canary.traces("error: nothing") == []


@pytest.mark.parametrize("field", ["url", "variable in url", "url_env", "url_file", "password_env"])
def test_credentials_that_work(workspace: Workspace, canary: Canary, account: DatabaseServer, field: str) -> None:
    variables = {"DATABASE_URL": account.url, "DATABASE_PASSWORD": canary.value, "QUOTED": quote(canary.value, safe="")}
    (workspace.directory / "database.url").write_text(account.url + "\n", encoding="utf-8")
    source = {
        "url": {"url": account.url},
        "variable in url": {"url": account.url.replace(account.url.split(":")[2].split("@")[0], "${QUOTED}")},
        "url_env": {"url_env": "DATABASE_URL"},
        "url_file": {"url_file": "database.url"},
        "password_env": {
            "host": account.host,
            "port": account.port,
            "user": account.user,
            "password_env": "DATABASE_PASSWORD",
            "database": account.database,
        },
    }[field]
    workspace.configure({"type": type_of(account), **source}, {"table": "orders"})
    search_everything(workspace, canary, exit_code=0, **variables)
    assert workspace.rows() == [{"id": 1, "note": "new"}]


def test_a_run_that_is_resumed_and_a_dataset_that_is_repaired(
    workspace: Workspace, canary: Canary, account: DatabaseServer
) -> None:
    section = {"type": type_of(account), "url_env": "DATABASE_URL"}
    export = {"query": "SELECT id, note FROM orders WHERE note <> ${token}", "mode": "chunked", "chunk_column": "id"}
    options: dict[str, Any] = {"params": ["--param", f"token={canary.value}"], "DATABASE_URL": account.url}
    workspace.configure(section, {**export, "chunk_size": 1, "quality": {"row_count_min": 2}})
    search_everything(workspace, canary, exit_code=3, commands=RUNS[:1], **options)
    workspace.configure(section, {**export, "chunk_size": 1})
    search_everything(workspace, canary, exit_code=0, commands=[RESUME], **options)
    assert workspace.state("SELECT count(*) FROM rivet_run WHERE resumes IS NOT NULL") == [(1,)]
    next(workspace.out.glob("part-*")).unlink()
    search_everything(workspace, canary, exit_code=3, commands=REPAIR, **options)
    assert workspace.state("SELECT count(*) FROM rivet_run WHERE status = 'succeeded'") == [(2,)]
    search_everything(workspace, canary, exit_code=0, commands=CLEAN, **options)


def test_commands_that_need_no_configuration(workspace: Workspace, canary: Canary, account: DatabaseServer) -> None:
    workspace.configure({"type": type_of(account), "url": account.url}, {"table": "orders"})
    variables = {"DATABASE_URL": account.url, "RIVET_STATE_URL": account.url}
    for command in (("plugins", "list"), ("schema", "config"), ("schema", "manifest")):
        for options in ((), ("--json", "--debug")):
            finished = workspace.rivet(*command, *options, **variables)
            assert finished.exit_code == 0
            assert canary.traces(finished.out + finished.err) == []


@pytest.mark.parametrize("field", ["RIVET_STATE_URL", "state.url"])
def test_state_database_whose_password_works(
    workspace: Workspace, canary: Canary, account: DatabaseServer, field: str, request: pytest.FixtureRequest
) -> None:
    sqlite_table(workspace.directory / "shop.db", "CREATE TABLE orders (id INTEGER)")
    top = {"state": {"url": account.url}} if field == "state.url" else {}
    workspace.configure({"type": "sqlite", "database": "shop.db"}, {"table": "orders"}, **top)
    variables = {} if field == "state.url" else {field: account.url}
    search_everything(workspace, canary, exit_code=0, **variables)
    administrator = replace(request.getfixturevalue(type_of(account)), database=account.database)
    for table in ("run", "part", "event", "lease"):
        with administrator.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM rivet_{table}")
            rows = cursor.fetchall()
        assert rows
        assert canary.traces(repr(rows)) == []


# The databases' own messages, and MariaDB's names of expressions, quote the value in most of these.
FAILING_QUERIES_WITH_A_PARAMETER = [
    ("sqlite", "SELECT json(${token}) AS j", 2),
    ("sqlite", "SELECT load_extension(${token}) AS j", 2),
    ("sqlite", "SELECT * FROM orders WHERE id MATCH ${token}", 2),
    ("postgres", "SELECT CAST(${token} AS integer) AS i", 2),
    ("postgres", "SELECT CAST(CAST(${token} AS text) AS integer) AS i FROM orders", 2),
    ("postgres", "SELECT CAST(${token} AS date) AS d FRM orders", 2),
    ("postgres", "SELECT note FROM orders WHERE gone = ${token}", 2),
    ("mariadb", "SELECT extractvalue('<a/>', concat('~', ${token})) AS x FROM orders", 1),
    ("mariadb", "SELECT ${token} AS x FRM orders", 2),
    ("mariadb", "SELECT note FROM orders WHERE gone = ${token}", 2),
    ("mariadb", "SELECT ${token}", 2),
    ("mariadb", "SELECT id, note = ${token} FROM orders", 2),
]


def any_source(engine: str, request: pytest.FixtureRequest, workspace: Workspace) -> dict[str, str]:
    """Return the section ``source`` of a database with the table ``orders``."""
    if engine == "sqlite":
        sqlite_table(
            workspace.directory / "shop.db",
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)",
            "INSERT INTO orders VALUES (1, 'new')",
        )
        return {"type": "sqlite", "database": "shop.db"}
    return {"type": engine, "url": request.getfixturevalue(f"{engine}_database").url}


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "mariadb"])
def test_parameters_are_data(workspace: Workspace, canary: Canary, engine: str, request: pytest.FixtureRequest) -> None:
    source = any_source(engine, request, workspace)
    workspace.configure(source, {"query": "SELECT id FROM orders WHERE note <> ${token}"})
    search_everything(workspace, canary, exit_code=0, params=["--param", f"token={canary.value}"])
    assert workspace.rows() == [{"id": 1}]


@pytest.mark.parametrize(("engine", "query", "exit_code"), FAILING_QUERIES_WITH_A_PARAMETER)
def test_parameters_of_failing_queries(
    workspace: Workspace, canary: Canary, engine: str, query: str, exit_code: int, request: pytest.FixtureRequest
) -> None:
    workspace.configure(any_source(engine, request, workspace), {"query": query})
    search_everything(
        workspace, canary, exit_code=exit_code, commands=QUERYING, params=["--param", f"token={canary.value}"]
    )


def test_parameter_as_a_value_that_is_refused(workspace: Workspace, canary: Canary) -> None:
    sqlite_table(workspace.directory / "shop.db")
    workspace.configure(
        {"type": "sqlite", "database": "shop.db"}, {"query": "SELECT ${token} AS i", "columns": {"i": "int64"}}
    )
    search_everything(workspace, canary, exit_code=3, commands=QUERYING, params=["--param", f"token={canary.value}"])


@pytest.mark.parametrize("params", [["--param", "CANARY"], ["--param", "=CANARY"], ["--param", "other=CANARY"]])
def test_parameters_that_are_misspelt(workspace: Workspace, canary: Canary, params: list[str]) -> None:
    sqlite_table(workspace.directory / "shop.db")
    workspace.configure({"type": "sqlite", "database": "shop.db"}, {"query": "SELECT 1 AS i WHERE 1 <> ${token}"})
    for option in ([], ["--json", "--debug"]):
        finished = workspace.rivet("run", *(part.replace("CANARY", canary.value) for part in params), *option)
        assert finished.exit_code == 2
        assert canary.traces(finished.out + finished.err) == []


@pytest.mark.parametrize("failure", ["wrong password", "unreachable", "missing table", "cut"])
def test_credentials_that_fail(workspace: Workspace, canary: Canary, account: DatabaseServer, failure: str) -> None:
    table = "orders"
    exit_code = 2
    with ExitStack() as stack:
        if failure == "wrong password":
            canary = Canary()
            account = replace(account, password=canary.value)
        elif failure == "unreachable":
            account, exit_code = account.through(free_port()), 1
        elif failure == "cut":
            proxy = stack.enter_context(FaultProxy(account.port))
            proxy.inject(Reset(after_bytes=200))  # in the middle of the login
            account, exit_code = account.through(proxy.port), 1
        else:
            table = "order"
        variables = {"DATABASE_URL": account.url, "DATABASE_PASSWORD": canary.value}
        workspace.configure({"type": type_of(account), "url_env": "DATABASE_URL"}, {"table": table})
        search_everything(workspace, canary, exit_code=exit_code, **variables)
        parts = {"host": account.host, "port": account.port, "user": account.user, "database": account.database}
        workspace.configure({"type": type_of(account), **parts, "password_env": "DATABASE_PASSWORD"}, {"table": table})
        search_everything(workspace, canary, exit_code=exit_code, commands=RUNS, **variables)
        search_everything(workspace, canary, exit_code=exit_code, commands=(RESUME, *REPAIR, *CLEAN), **variables)
        if failure != "missing table":
            variables["RIVET_STATE_URL"] = account.url
            search_everything(workspace, canary, exit_code=1, commands=RUNS, **variables)


BROKEN_URLS = [
    "postgresql://user:SECRET@127.0.0.1:notaport/db",
    "postgresql://user:SECRET@127.0.0.1:1:2/db",
    "postgresql//user:SECRET@127.0.0.1/db",
    "postgresql:/user:SECRET@127.0.0.1/db",
    "user:SECRET@127.0.0.1/db",
    "SECRET",
    "postgresql://user:SECRET",
    "postgresql://127.0.0.1:1/db?user=me&password=SECRET",
    "postgresql://user@127.0.0.1:1/db?sslpassword=SECRET&nonsense=SECRET",
    "postgresql+asyncpg://user:SECRET@127.0.0.1/db",
    "mysql://user:SECRET@127.0.0.1:1/db?ssl_ca=x",
    "nonsense://user:SECRET@127.0.0.1/db",
    "sqlite://user:SECRET@127.0.0.1/db",
]


@pytest.mark.parametrize("url", BROKEN_URLS)
def test_urls_that_are_broken(workspace: Workspace, canary: Canary, url: str) -> None:
    sqlite_table(workspace.directory / "shop.db", "CREATE TABLE orders (id INTEGER)")
    raw, encoded = url.replace("SECRET", canary.value), url.replace("SECRET", quote(canary.value, safe=""))
    (workspace.directory / "database.url").write_text(raw, encoding="utf-8")
    for source in ({"url": raw}, {"url": encoded}, {"url_env": "DATABASE_URL"}, {"url_file": "database.url"}):
        workspace.configure({"type": "sqlalchemy", **source}, {"table": "orders"})
        fails_silently(workspace, canary, DATABASE_URL=encoded)
    workspace.configure({"type": "sqlite", "database": "shop.db"}, {"table": "orders"})
    for broken in (raw, encoded):
        fails_silently(workspace, canary, RIVET_STATE_URL=broken)


def fails_silently(workspace: Workspace, canary: Canary, **environment: str) -> None:
    finished = workspace.rivet("run", "--debug", **environment)
    assert finished.exit_code in (1, 2), finished
    assert canary.traces(finished.out + finished.err) == [], finished
    assert "R999" not in finished.err, finished
    if (workspace.directory / ".rivet").exists():
        assert find_in_files(workspace.directory, canary) == []


@pytest.mark.parametrize(
    "text",
    [
        "source: {type: postgres, password: SECRET, host: h, database: d}",
        "source: {type: postgres, host: h, database: d, user: [SECRET]}",
        "source: {type: postgres, url: {SECRET: 1}}",
        "source: {type: postgres, url: [SECRET]}",
        "source: {type: postgres, port: SECRET, host: h, database: d}",
        "source: {type: postgres, url: SECRET, host: h}",
        "source: {type: postgres, url: 'postgresql://u:SECRET@h/d}",
        "source:\n  type: postgres\n  url: postgresql://u:SECRET@h/d: x",
        "source:\n  type: postgres\n  url: postgresql://u:SECRET@h/d\n\tuser: x",
        "source: {type: postgres, url: 'postgresql://u:SECRET@h/d', url: 'postgresql://u:SECRET@h/d'}",
        "source: {type: postgres, url: 'postgresql://u:SECRET@h/d', tls: SECRET}",
        "state: {url: 'postgresql://u:SECRET@h/d', nonsense: 1}",
        "state: {url: {password: SECRET}}",
        "source: postgresql://u:SECRET@h/d",
    ],
)
def test_secrets_in_files_that_are_wrong(workspace: Workspace, canary: Canary, text: str) -> None:
    text = text.replace("SECRET", quote(canary.value, safe=""))
    exports = "exports: [{name: orders, table: orders, destination: {type: local, path: out}}]"
    (workspace.directory / "rivet.yaml").write_text(f"{text}\n{exports}\n", encoding="utf-8")
    for command in COMMANDS:
        finished = workspace.rivet(*command)
        assert finished.exit_code == 2, finished
        assert canary.traces(finished.out + finished.err) == [], finished


def test_killed_in_the_middle(workspace: Workspace, canary: Canary, account: DatabaseServer) -> None:
    workspace.configure(
        {"type": type_of(account), "url_env": "DATABASE_URL"},
        {"query": LONG_QUERIES[type_of(account)], "format": "csv", "compression": "none"},
    )
    process = start_long_run(workspace, "--debug", DATABASE_URL=account.url)
    for name in ("cmdline", "comm"):
        assert canary.traces(Path(f"/proc/{process.pid}/{name}").read_bytes()) == []
    process.kill()
    finished = finish(process)
    assert canary.traces(finished.out + finished.err) == []
    left = {path.name for path in workspace.directory.iterdir()}
    assert {".rivet_state.db", ".rivet_state.db-wal", "out"} <= left
    assert find_in_files(workspace.directory, canary) == []
