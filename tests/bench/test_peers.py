"""What the peers' cases are made of, without any peer installed."""

import re

import pytest

from bench.environments import PEERS, Environment, PeerMissing, client_program, said_by
from bench.tables import LINEITEM, LINEITEM_ROWS, WIDE, Engine, Table
from servers.database import DatabaseServer

TABLES = pytest.mark.parametrize("table", [LINEITEM, WIDE], ids=lambda table: table.name)


@pytest.mark.parametrize("requirements", sorted(PEERS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_package_of_a_peer_is_pinned(requirements):
    lines = [line.split("#")[0].strip() for line in requirements.read_text().splitlines()]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+(\[[a-z_,]+\])?==[0-9.]+", line)] == []


def test_a_peer_is_described_by_what_is_pinned_first():
    installed = Environment(PEERS, {"dlt": "1.31.0", "pyarrow": "26.0.1"})
    assert installed.described == "dlt 1.31.0"


def test_a_client_that_is_not_installed_is_named():
    with pytest.raises(PeerMissing, match="no-such-client is not installed"):
        client_program("no-such-client")


def test_a_version_is_short(tmp_path):
    program = tmp_path / "client"
    program.write_text("#!/bin/sh\necho $0 Ver 15.1, for Linux\necho more\n")
    program.chmod(0o755)
    assert said_by([str(program)]) == "client Ver 15.1"


@TABLES
@pytest.mark.parametrize(("engine", "fixture"), [("postgres", "postgres"), ("mysql", "mariadb")])
def test_a_server_takes_the_table(table: Table, engine: Engine, fixture: str, request: pytest.FixtureRequest):
    server: DatabaseServer = request.getfixturevalue(fixture)
    server.create_database().execute(table.create(engine))


def test_scale_factor_one_is_exact_and_others_give_rows_enough():
    assert LINEITEM.prepare(LINEITEM_ROWS) == ["CALL dbgen(sf = 1.0)"]
    (statement,) = LINEITEM.prepare(50_000)
    assert float(statement.removeprefix("CALL dbgen(sf = ").removesuffix(")")) * LINEITEM_ROWS > 51_000


def test_the_wide_table_has_twenty_columns_and_most_types():
    assert len(WIDE.columns) == 20
    assert len(set(WIDE.kinds("postgres").values())) >= 14
