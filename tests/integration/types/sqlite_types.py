"""The declared types of SQLite columns that people use, and what their affinities make of values."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

from integration.types.cases import STRINGS, Engine, TypeCase, Unmappable, Value, same

INT64 = (-(2**63), 2**63 - 1, 0)

CASES = (
    *(
        TypeCase(declared, same(*INT64), refused=("text", 0.5))
        for declared in ("INTEGER", "INT", "TINYINT", "SMALLINT", "MEDIUMINT", "BIGINT", "INT2", "INT8")
    ),
    TypeCase("UNSIGNED BIG INT", same(*INT64), refused=("text",), note="SQLite itself holds 64 signed bits"),
    TypeCase("BOOLEAN", (Value(0, False), Value(1, True)), refused=("yes", 2)),
    *(
        TypeCase(declared, (*same(1.7976931348623157e308, 5e-324, 0.1, math.inf), Value(-0.0, 0.0)), refused=("text",))
        for declared in ("REAL", "DOUBLE", "DOUBLE PRECISION", "FLOAT")
    ),
    TypeCase(
        "DECIMAL(10,2)",
        (
            Value("99999999.99", Decimal("99999999.99")),
            Value("-0.10", Decimal("-0.10")),
            Value(7, Decimal("7.00")),
        ),
        refused=("text", 0.125),
        note="SQLite stores binary floating point; a value must have a shortest form that fits",
    ),
    TypeCase("NUMERIC(12,0)", (Value("999999999999", Decimal("999999999999")),), refused=(0.5,)),
    *(
        TypeCase(declared, same(*STRINGS), refused=(b"bytes",))
        for declared in (
            "TEXT",
            "CHARACTER(20)",
            "VARCHAR(255)",
            "VARYING CHARACTER(255)",
            "NCHAR(55)",
            "NATIVE CHARACTER(70)",
            "NVARCHAR(100)",
            "CLOB",
        )
    ),
    TypeCase("BLOB", same(b"", bytes(range(256))), refused=("text",)),
    TypeCase(
        "DATE",
        (Value("0001-01-01", date(1, 1, 1)), Value("9999-12-31", date(9999, 12, 31))),
        refused=("soon", 20000, "2026-02-30"),
        note="ISO 8601 text",
    ),
    TypeCase(
        "DATETIME",
        (
            Value("0001-01-01 00:00:00", datetime(1, 1, 1)),
            Value("9999-12-31 23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999999)),
            Value("2026-11-22T12:00:00", datetime(2026, 11, 22, 12)),
        ),
        refused=("soon", 1700000000, "2026-11-22 12:00:00+02:00", "2026-11-22 12:00:00Z"),
        note="ISO 8601 text without a zone",
    ),
    TypeCase(
        "TIMESTAMP", (Value("2026-11-22 12:00:00.000001", datetime(2026, 11, 22, 12, 0, 0, 1)),), refused=("soon",)
    ),
    TypeCase(
        "TIME", (Value("23:59:59.999999", time(23, 59, 59, 999999)), Value("00:00:00", time())), refused=("25:00:00",)
    ),
    TypeCase("JSON", same('{"b": 1,  "a": "é😀"}', "null", '""'), refused=("{bad",)),
    *(
        TypeCase(
            declared,
            (Value(str(UUID(int=0)), UUID(int=0)), Value("F" * 8 + "-ffff" * 3 + "-" + "f" * 12, UUID(int=2**128 - 1))),
            refused=("text",),
        )
        for declared in ("UUID", "GUID")
    ),
)

UNMAPPABLE = (
    Unmappable("NUMERIC", "No precision: set `types.unbounded_numeric`, or `columns:`"),
    Unmappable("", "A column without a declared type holds anything: `columns:`"),
)

SQLITE = Engine("sqlite", "SQLite", CASES, UNMAPPABLE, quote='"', mark="?")
