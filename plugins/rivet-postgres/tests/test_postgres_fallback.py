"""Without its native decoder the plugin reads through the built-in source, and says so."""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rivet_core.api import ConfigError, Query, SourceContext
from rivet_core.builtin.sqlalchemy import reading
from rivet_core.builtin.sqlalchemy.source import SqlalchemySource
from rivet_postgres import libpq, source
from rivet_postgres.config import PostgresConfig

URL = "postgresql://user@127.0.0.1:1/shop"


def opened(url: str) -> SqlalchemySource:
    return source.open_source(PostgresConfig(url=url), SourceContext(Path("/")))


@pytest.fixture(params=["no module", "no function"])
def not_native(request, monkeypatch):
    """Make native decoding impossible; the caches of the checks are as new before and after."""
    caches = (libpq.require_native, libpq.find_libpq, reading.warn_once)
    for cached in caches:
        cached.cache_clear()
    if request.param == "no module":
        monkeypatch.setitem(sys.modules, "rivet_postgres._decoder", None)
    else:
        monkeypatch.setattr(libpq, "_library", object)
        monkeypatch.setitem(sys.modules, "rivet_postgres._decoder", sys)
    yield
    for cached in caches:
        cached.cache_clear()


def test_the_warning_comes_once_with_the_reason(not_native, caplog):
    with caplog.at_level(logging.WARNING), closing(opened(URL)), closing(opened(URL)) as second:
        assert not isinstance(second, source.NativeSource)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("PostgreSQL is read by the slower built-in source: ")
    assert "native decoder" in told or "does not show its functions" in told


def test_rows_come_and_doctor_warns(not_native, postgres):
    with closing(opened(postgres.url)) as slow:
        with slow.read(Query("SELECT 1 AS x, 'a' AS y"), batch_bytes=1000) as stream:
            assert [batch.to_pylist() for batch in stream] == [[{"x": 1, "y": "a"}]]
        reading = [check for check in slow.check() if check.name == "source reading"]
    assert [check.status for check in reading] == ["warning"]
    assert "slower built-in source" in reading[0].message
    assert reading[0].hint


def test_the_dialect_is_no_field():
    with pytest.raises(ValueError, match="dialect"):
        PostgresConfig.model_validate({"url": URL, "dialect": "postgresql"})
    assert "dialect" not in PostgresConfig.model_json_schema()["properties"]


def test_a_url_of_another_database_is_refused():
    with pytest.raises(ConfigError, match="the URL is of mysql"):
        opened("mysql://user@127.0.0.1/shop")
