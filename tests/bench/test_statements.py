import pytest

from bench.statements import StatementWatch, version_of
from servers.database import DatabaseServer

BUSY = {
    "postgresql+psycopg": "SELECT count(md5(i::text)) FROM generate_series(1, 300000) AS n(i)",
    "mysql+pymysql": "SELECT benchmark(1000000, md5('x'))",
}


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    return request.getfixturevalue(request.param)


def test_a_running_statement_and_the_cpu_of_the_server_are_seen(server: DatabaseServer):
    with StatementWatch(server) as watch:
        for _ in range(100):
            server.execute(BUSY[server.driver])
            if watch.longest_seconds > 0:
                break
    assert watch.longest_seconds > 0
    assert watch.cpu_seconds > 0


def test_the_server_tells_its_name_and_version(server: DatabaseServer):
    name, version = version_of(server).split()
    assert name in {"PostgreSQL", "MariaDB"}
    assert version[0].isdigit()
