"""Every column type of every engine survives an export, or is refused; ``docs/reference/types.md`` says which is which.

``RIVET_UPDATE_DOCS=1 pytest tests/integration/types`` rewrites that page.
"""

from __future__ import annotations

import math
import os
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from integration.types.cases import Engine, TypeCase
from integration.types.export import Column, Exported, create_table, export, open_database, read_table
from integration.types.mariadb_types import MARIADB
from integration.types.mysql_types import MYSQL
from integration.types.page import render
from integration.types.postgres_types import INTERNAL, POSTGRES
from integration.types.sqlite_types import SQLITE
from rivet_core.api import TypeMappingError, ValueRefused

PAGE = Path(__file__).parents[3] / "docs/reference/types.md"
ENGINES = (POSTGRES, MARIADB, MYSQL, SQLITE)
TABLE = "every type"

each_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.fixture)
each_type = pytest.mark.parametrize(
    ("engine", "case"),
    [pytest.param(engine, case, id=f"{engine.fixture}-{case.declared}") for engine in ENGINES for case in engine.cases],
)
each_refused_value = pytest.mark.parametrize(
    ("engine", "case", "value"),
    [
        pytest.param(engine, case, value, id=f"{engine.fixture}-{case.declared}-{value}")
        for engine in ENGINES
        for case in engine.cases
        for value in case.refused
    ],
)


@dataclass(frozen=True)
class Database:
    """An empty database of an engine, prepared for its cases."""

    url: str
    connect: Callable[[], Any]

    def create(self, engine: Engine, table: str, columns: list[Column]) -> None:
        """Create a table with values."""
        with closing(self.connect()) as connection:
            create_table(connection, engine, table, columns)


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> Callable[[Engine], Database]:
    """Return the module's database of an engine."""
    databases: dict[str, Database] = {}

    def of(engine: Engine) -> Database:
        if engine.fixture not in databases:
            databases[engine.fixture] = _new_database(engine, request)
        return databases[engine.fixture]

    return of


def _new_database(engine: Engine, request: pytest.FixtureRequest) -> Database:
    if engine is SQLITE:
        path = request.getfixturevalue("tmp_path_factory").mktemp("types") / "types.db"
        return Database(f"sqlite:///{path}", lambda: sqlite3.connect(path, isolation_level=None))
    server = request.getfixturevalue(engine.fixture).create_database()
    server.execute(*engine.setup)
    return Database(server.url, server.connect)


@pytest.fixture(scope="module")
def exported_postgres(database: Callable[[Engine], Database]) -> Exported:
    """PostgreSQL's table of all cases after its export."""
    return _export_all(database(POSTGRES), POSTGRES)


@pytest.fixture(scope="module")
def exported_mariadb(database: Callable[[Engine], Database]) -> Exported:
    """MariaDB's table of all cases after its export."""
    return _export_all(database(MARIADB), MARIADB)


@pytest.fixture(scope="module")
def exported_mysql(database: Callable[[Engine], Database]) -> Exported:
    """MySQL's table of all cases after its export."""
    return _export_all(database(MYSQL), MYSQL)


@pytest.fixture(scope="module")
def exported_sqlite(database: Callable[[Engine], Database]) -> Exported:
    """SQLite's table of all cases after its export."""
    return _export_all(database(SQLITE), SQLITE)


@pytest.fixture(scope="module")
def exported(request: pytest.FixtureRequest) -> Callable[[Engine], Exported]:
    """Return an engine's export; made once, and one that fails fails every test of the engine alike."""
    return lambda engine: request.getfixturevalue(f"exported_{engine.fixture}")


def _export_all(database: Database, engine: Engine) -> Exported:
    height = max(len(case.values) + case.null for case in engine.cases)
    columns = [
        Column(case.declared, _rows(case, [value.given for value in case.values], height), case.null)
        for case in engine.cases
    ]
    database.create(engine, TABLE, columns)
    return export(database.url, TABLE)


def _rows(case: TypeCase, values: list[object], height: int) -> list[object]:
    """Put a NULL before the values and fill the column up, with NULL where it may."""
    rows = [None, *values] if case.null else values
    return rows + [None if case.null else rows[-1]] * (height - len(rows))


def exact(value: object) -> object:
    """Return a form in which two values are equal only if they are the same value of the same type."""
    if isinstance(value, list):
        return ["list", *map(exact, value)]
    if isinstance(value, float):
        return "float", struct.pack(">d", math.nan if math.isnan(value) else value)
    return type(value).__name__, value


@each_type
def test_every_value_comes_back(exported: Callable[[Engine], Exported], engine: Engine, case: TypeCase) -> None:
    files = exported(engine)
    expected = _rows(case, [value.expected for value in case.values], files.parquet.num_rows)
    for table in (files.parquet, files.csv):
        assert [exact(value) for value in table[case.declared].to_pylist()] == [exact(value) for value in expected]


@each_type
def test_csv_and_parquet_have_the_described_types(
    exported: Callable[[Engine], Exported], engine: Engine, case: TypeCase
) -> None:
    files = exported(engine)
    column = next(column for column in files.columns if column.name == case.declared)
    plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type  # CSV has values alone
    assert files.parquet.schema.field(case.declared).type == column.type
    assert files.csv.schema.field(case.declared).type == plain
    assert column.nullable == case.null


@each_refused_value
def test_a_value_that_no_file_can_hold_is_an_error_that_names_its_column(
    database: Callable[[Engine], Database], engine: Engine, case: TypeCase, value: object
) -> None:
    table = f"refused {case.declared} {value!r}"[:60]
    database(engine).create(engine, table, [Column(case.declared, [value])])
    with pytest.raises(ValueRefused) as refused:
        read_table(database(engine).url, table)
    assert case.declared in refused.value.message


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine.unmappable], ids=lambda engine: engine.title)
def test_columns_without_a_mapping_are_refused_together(database: Callable[[Engine], Database], engine: Engine) -> None:
    columns = [Column(case.declared, []) for case in engine.unmappable]
    database(engine).create(engine, "unmappable", columns)
    with closing(open_database(database(engine).url)) as source, pytest.raises(TypeMappingError) as refused:
        source.describe(source.table_query("unmappable"))
    told = f"{refused.value.message}\n{refused.value.hint}"
    assert "columns:" in told
    assert all(column.declared in told for column in columns)


def test_no_type_of_postgres_is_forgotten(database: Callable[[Engine], Database]) -> None:
    """A type that a new PostgreSQL brings must get a case."""
    database_ = database(POSTGRES)
    with closing(database_.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace"
            " AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A'"
        )
        catalogued = {name for (name,) in cursor}
        declared = [case.declared for case in (*POSTGRES.cases, *POSTGRES.unmappable)]
        plain = [name for name in declared if "serial" not in name]
        cursor.execute("SELECT typname FROM pg_type WHERE oid = ANY(%s::regtype[])", [plain])
        covered = {name for (name,) in cursor}
    assert catalogued - covered - INTERNAL == set()


def test_the_published_page_is_what_was_exported(exported: Callable[[Engine], Exported]) -> None:
    page = render((engine, exported(engine)) for engine in ENGINES)
    if os.environ.get("RIVET_UPDATE_DOCS") == "1":
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, "run: RIVET_UPDATE_DOCS=1 pytest tests/integration/types"
