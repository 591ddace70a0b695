"""The native source passes the conformance kit."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from decimal import Decimal

import pytest

from integration.source.both_sources import native_harness
from rivet_core.testing import SourceHarness, SourceSuite, TypeCase
from servers.postgres import Postgres

ID = uuid.UUID("0e9ff0a0-1d0c-4b83-9e0e-3c2a7b1d9f00")
TIME = dt.datetime(2026, 11, 22, 17, 21, 0, 123456)
TYPES = (
    TypeCase("boolean", "true", "bool", True),
    TypeCase("integer", "-7", "int32", -7),
    TypeCase("bigint", "9223372036854775807", "int64", 2**63 - 1),
    TypeCase("numeric(12,2)", "1.50", "decimal(12,2)", Decimal("1.50")),
    TypeCase("varchar(20)", "'50%'", "string", "50%"),
    TypeCase("char(5)", "'50%'", "string", "50%  "),
    TypeCase("date", "'2026-11-22'", "date32", TIME.date()),
    TypeCase("bytea", r"'\x00ff'", "binary", b"\x00\xff"),
    TypeCase("timestamp", "'2026-11-22 17:21:00.123456'", "timestamp[us]", TIME),
    TypeCase("timestamptz", "'2026-11-22 18:21:00.123456+01'", "timestamp[us,UTC]", TIME.replace(tzinfo=dt.UTC)),
    TypeCase("uuid", f"'{ID}'", "uuid", ID),
    TypeCase("integer[]", "'{1,NULL}'", "list<int32>", [1, None]),
    TypeCase("jsonb", """'{"b":1, "a":null}'""", "json", '{"a": null, "b": 1}'),
    TypeCase("inet", "'10.0.0.1'", "string", "10.0.0.1"),
)


class TestNativePostgres(SourceSuite):
    source = "postgres"

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, postgres: Postgres) -> Iterator[SourceHarness]:
        yield from native_harness(postgres, TYPES)
