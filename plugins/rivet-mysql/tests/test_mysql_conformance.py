"""The native source passes the conformance kit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import pytest

from integration.source.both_sources import native_harness
from rivet_core.testing import SourceHarness, SourceSuite, TypeCase
from servers.mariadb import Mariadb
from servers.mysql import Mysql

TIME = dt.datetime(2026, 11, 22, 17, 21, 0, 123456)
TYPES = (
    TypeCase("INTEGER", "-7", "int32", -7),
    TypeCase("BIGINT", "9223372036854775807", "int64", 2**63 - 1),
    TypeCase("BIGINT UNSIGNED", "18446744073709551615", "uint64", 2**64 - 1),
    TypeCase("DECIMAL(12,2)", "1.50", "decimal(12,2)", Decimal("1.50")),
    TypeCase("DOUBLE", "0.1", "float64", 0.1),
    TypeCase("VARCHAR(20)", "'50%'", "string", "50%"),
    TypeCase("VARBINARY(8)", "x'00ff'", "binary", b"\x00\xff"),
    TypeCase("DATE", "'2026-11-22'", "date32", TIME.date()),
    TypeCase("DATETIME(6)", "'2026-11-22 17:21:00.123456'", "timestamp[us]", TIME),
)


class TestOnMariadb(SourceSuite):
    source = "mysql"

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, mariadb: Mariadb) -> Iterator[SourceHarness]:
        yield from native_harness(mariadb, (*TYPES, TypeCase("JSON", """'{"b":1}'""", "json", '{"b":1}')))


class TestOnMysql(SourceSuite):
    source = "mysql"

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, mysql: Mysql) -> Iterator[SourceHarness]:
        # Which stores a document, not its text.
        yield from native_harness(mysql, (*TYPES, TypeCase("JSON", """'{"b":1}'""", "json", '{"b": 1}')))
