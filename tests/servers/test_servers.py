"""The servers that other tests rely on are private, need their password and are gone afterwards."""

from __future__ import annotations

import psycopg
import pymysql
import pytest
import sqlalchemy

from servers.mariadb import Mariadb
from servers.mysql import Mysql
from servers.postgres import Postgres, postgres_server


def scalar(url: str, statement: str) -> object:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.scalar(sqlalchemy.text(statement))
    finally:
        engine.dispose()


def test_postgres_url_carries_the_escaped_password(postgres: Postgres) -> None:
    assert scalar(postgres.url, "SHOW timezone") == "Asia/Kathmandu"


def test_mariadb_url_carries_the_escaped_password(mariadb: Mariadb) -> None:
    assert scalar(mariadb.url, "SELECT @@global.time_zone") == "+05:45"


def test_mysql_is_mysql(mysql: Mysql) -> None:
    assert scalar(mysql.url, "SELECT @@global.time_zone") == "+05:45"
    assert "MariaDB" not in str(scalar(mysql.url, "SELECT version()"))
    assert mysql.socket.exists()
    assert mysql.ca_file.exists()


def test_postgres_refuses_a_wrong_password(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=postgres.host, port=postgres.port, user=postgres.user, password="wrong")


def test_mariadb_refuses_a_wrong_password(mariadb: Mariadb) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        pymysql.connect(host=mariadb.host, port=mariadb.port, user=mariadb.user, password="wrong")


def test_databases_of_two_tests_are_apart(postgres: Postgres, mariadb: Mariadb) -> None:
    for server in (postgres, mariadb):
        one, other = server.create_database(), server.create_database()
        one.execute("CREATE TABLE only_here (id integer)")
        with pytest.raises((psycopg.errors.UndefinedTable, pymysql.err.ProgrammingError)):
            other.execute("SELECT * FROM only_here")


def test_a_server_ends_with_its_block(postgres: Postgres) -> None:
    with postgres_server() as second:
        assert second.answers()
        assert second.port != postgres.port
    assert not second.answers()
    assert postgres.answers()
