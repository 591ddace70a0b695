"""Where the database is: URL or parts, driver, TLS, and nothing secret in any message."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError

from rivet_core.api import ConfigError, redact
from rivet_core.builtin.sqlalchemy.config import SqlalchemyConfig
from rivet_core.builtin.sqlalchemy.connect import resolve_address

REMOTE = "db.example.com"


@pytest.fixture(autouse=True)
def _no_libpq_settings(monkeypatch):
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


def resolve(base_dir=Path("/"), **fields):
    return resolve_address(SqlalchemyConfig.model_validate(fields), base_dir)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "where is the database"),
        ({"url": "sqlite:///a.db", "url_env": "X"}, "url and url_env exclude each other"),
        ({"url_env": "X", "host": "h"}, "url_env and host exclude each other"),
        ({"host": "h", "database": "d"}, "needs a URL"),
        ({"dialect": "postgresql", "host": "h"}, "database is missing"),
        ({"dialect": "sqlite", "host": "h", "database": "d"}, "SQLite has no host"),
        ({"url": "no url"}, "no database URL"),
        ({"url": "sqlite:///a.db", "tls": {"mode": "require", "ca_file": "ca.pem"}}, "ca_file has no effect"),
        ({"url": "sqlite:///a.db", "pasword": "x"}, "pasword"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        SqlalchemyConfig.model_validate(fields)


def test_a_password_in_a_bad_url_is_in_no_message():
    url = "postgresql://user:c4n4ry-s3cret@host:notaport/db"
    with pytest.raises(ValidationError) as caught:
        SqlalchemyConfig(url=url)
    assert "c4n4ry" not in str(caught.value)


def test_passwords_are_known_to_the_redactor_encoded_and_decoded():
    config = SqlalchemyConfig(url="postgresql://user:c4n%2Fry-tw0@localhost/db")
    assert "c4n" not in repr(config)
    assert redact("c4n/ry-tw0 and c4n%2Fry-tw0") == "*** and ***"
    SqlalchemyConfig(url="postgresql://localhost/db?password=c4nary-thr33&sslpassword=c4nary-f0ur")
    assert redact("c4nary-thr33 c4nary-f0ur") == "*** ***"


def test_the_parts_of_an_address(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "p@ss:w/rd")
    address = resolve(
        dialect="postgresql", host="localhost", port=5433, user="me", password_env="DB_PASSWORD", database="shop"
    )
    url = address.url
    assert (url.drivername, url.host, url.port, url.username, url.database) == (
        "postgresql+psycopg", "localhost", 5433, "me", "shop",
    )  # fmt: skip
    assert url.password == "p@ss:w/rd"
    assert "p@ss" not in repr(address)


def test_a_url_from_the_environment_or_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "mysql://me:c4nary-f1ve@127.0.0.1/shop")
    assert resolve(url_env="DATABASE_URL").url.drivername == "mysql+pymysql"
    (tmp_path / "url").write_text("mariadb://localhost/shop\n")
    assert resolve(tmp_path, url_file="url", dialect="mysql").url.database == "shop"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url_env": "RIVET_TEST_UNSET"}, "RIVET_TEST_UNSET, which is not set"),
        ({"url_file": "missing"}, "cannot read url_file"),
        ({"url": "mysql://localhost/d", "dialect": "postgresql"}, "the URL is of mysql"),
        ({"url": "postgresql+psycopg2://localhost/d"}, "not with psycopg2"),
        ({"url": "sqlite:///missing.db"}, "no database file"),
        ({"url": "sqlite://"}, "names no database file"),
        ({"url": "sqlite:///a.db?mode=rwc"}, "takes a path"),
        ({"url": "mysql://localhost/d?ssl_ca=x"}, "TLS parameters in a MySQL URL"),
    ],
)
def test_what_cannot_be_resolved_is_a_clear_error(fields, message):
    with pytest.raises(ConfigError, match=message):
        resolve(**fields)


def test_a_bad_url_from_the_environment_names_the_variable_only(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "c4nary-s1x")
    with pytest.raises(ConfigError, match="DATABASE_URL") as caught:
        resolve(url_env="DATABASE_URL")
    assert "c4nary" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", ""])
@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_a_local_database_needs_no_tls(dialect, host):
    address = resolve(url=f"{dialect}://{host}/d")
    assert not address.tls_required
    assert not {"ssl", "sslmode"} & set(address.connect_args)


@pytest.mark.parametrize("query", ["host=/var/run/postgresql", "host=localhost"])
def test_hosts_in_the_query_count(query):
    assert not resolve(url=f"postgresql:///d?{query}").tls_required


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://{REMOTE}/d",
        f"postgresql:///d?host={REMOTE}",
        f"postgresql:///d?host=localhost,{REMOTE}",
        "postgresql://localhost/d?hostaddr=192.0.2.1",
        "postgresql:///?service=production",
    ],
)
def test_a_remote_postgres_gets_tls(url):
    address = resolve(url=url)
    assert address.tls_required
    assert address.connect_args["sslmode"] == "require"


def test_libpq_settings_in_the_environment_count(monkeypatch):
    monkeypatch.setenv("PGHOST", REMOTE)
    assert resolve(url="postgresql:///d").tls_required


def test_a_remote_mysql_gets_tls():
    context = resolve(url=f"mysql://{REMOTE}/d").connect_args["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_NONE
    strict = resolve(url=f"mysql://{REMOTE}/d", tls={"mode": "verify-full"}).connect_args["ssl"]
    assert strict.check_hostname
    assert strict.verify_mode is ssl.CERT_REQUIRED


def test_tls_can_be_switched_off_only_in_the_configuration():
    assert not resolve(url=f"postgresql://{REMOTE}/d", tls={"mode": "disable"}).tls_required
    assert resolve(url=f"mysql://{REMOTE}/d", tls={"mode": "disable"}).connect_args["ssl_disabled"] is True
    with pytest.raises(ConfigError, match="needs TLS"):
        resolve(url=f"postgresql://{REMOTE}/d?sslmode=prefer")
    with pytest.raises(ConfigError, match=r"sslmode=require and tls\.mode says verify-full"):
        resolve(url=f"postgresql://{REMOTE}/d?sslmode=require", tls={"mode": "verify-full"})


def test_a_ca_file_verifies_the_host(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    address = resolve(tmp_path, url=f"postgresql://{REMOTE}/d", tls={"ca_file": "ca.pem"})
    assert address.connect_args["sslmode"] == "verify-full"
    assert address.connect_args["sslrootcert"] == str(tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match="no PEM certificates"):
        resolve(tmp_path, url=f"mysql://{REMOTE}/d", tls={"ca_file": "ca.pem"})
    with pytest.raises(ConfigError, match=r"no tls\.ca_file"):
        resolve(tmp_path, url=f"postgresql://{REMOTE}/d", tls={"ca_file": "other.pem"})


def test_an_unknown_remote_dialect_cannot_be_checked():
    with pytest.raises(ConfigError, match="cannot tell"):
        resolve(url=f"oracle+oracledb://{REMOTE}/d")
    assert resolve(url=f"oracle+oracledb://{REMOTE}/d", tls={"mode": "disable"}).url.host == REMOTE


def test_a_relative_sqlite_path_starts_at_the_configuration(tmp_path):
    (tmp_path / "shop.db").touch()
    for fields in ({"url": "sqlite:///shop.db"}, {"dialect": "sqlite", "database": "shop.db"}):
        assert resolve(tmp_path, **fields).url.database == str(tmp_path / "shop.db")
