"""Every column type of MariaDB."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from integration.types.cases import STRINGS, Engine, TypeCase, Value, float32, same

#: With MariaDB, U+0000 is text as any other.
TEXTS = (*STRINGS, "a\x00b")

SETUP = ("SET time_zone = '+05:45'",)  # what the TIMESTAMP values below are given in


def _geometry(kind: int, content: bytes) -> bytes:
    """Return little-endian well-known binary (OGC 06-103r4, section 8): byte order, kind, content."""
    return struct.pack("<BI", 1, kind) + content


def _counted(*items: bytes) -> bytes:
    return struct.pack("<I", len(items)) + b"".join(items)


CORNERS = tuple(struct.pack("<dd", x, y) for x, y in ((0, 0), (1.5, 0), (1.5, 2), (0, 0)))
POINT = _geometry(1, CORNERS[1])
LINE = _geometry(2, _counted(*CORNERS[:2]))
POLYGON = _geometry(3, _counted(_counted(*CORNERS)))
GEOMETRIES = {
    "point": POINT,
    "linestring": LINE,
    "polygon": POLYGON,
    "multipoint": _geometry(4, _counted(POINT, POINT)),
    "multilinestring": _geometry(5, _counted(LINE)),
    "multipolygon": _geometry(6, _counted(POLYGON)),
    "geometrycollection": _geometry(7, _counted(POINT, LINE)),
    "geometry": POLYGON,
}
SRID = bytes(4)  # MariaDB puts it before the geometry

CASES = (
    TypeCase("tinyint", same(-128, 127)),
    TypeCase("tinyint unsigned", same(0, 255)),
    TypeCase("boolean", same(0, 1, -128), note="MariaDB's name for `tinyint(1)`, which holds more than two values"),
    TypeCase("smallint", same(-(2**15), 2**15 - 1)),
    TypeCase("smallint unsigned", same(0, 2**16 - 1)),
    TypeCase("mediumint", same(-(2**23), 2**23 - 1)),
    TypeCase("mediumint unsigned", same(0, 2**24 - 1)),
    TypeCase("int", same(-(2**31), 2**31 - 1)),
    TypeCase("int unsigned", same(0, 2**32 - 1)),
    TypeCase("int(10) unsigned zerofill", same(0, 42)),
    TypeCase("bigint", same(-(2**63), 2**63 - 1)),
    TypeCase("bigint unsigned", same(0, 2**64 - 1)),
    TypeCase("decimal(10,2)", same(Decimal("-99999999.99"), Decimal("99999999.99"), Decimal("0.10"))),
    TypeCase("decimal(10,2) unsigned", same(Decimal("0.00"), Decimal("99999999.99"))),
    TypeCase("decimal(38,10)", same(Decimal("9" * 28 + "." + "9" * 10), Decimal("-0.0000000001"))),
    TypeCase("decimal(65,30)", same(Decimal("9" * 35 + "." + "9" * 30), Decimal("-1e-30"))),
    TypeCase("decimal(30,30)", same(Decimal("0." + "9" * 30), Decimal("-1e-30"))),
    TypeCase("decimal(1,0)", same(Decimal("9"), Decimal("-9"))),
    TypeCase("float", tuple(Value(x, float32(x)) for x in (3.4028234e38, 1.1754944e-38, 0.1, 16777215.0, -1.5))),
    TypeCase("double", same(1.7976931348623157e308, 2.2250738585072014e-308, 0.1, -1.5)),
    TypeCase("bit(1)", (Value(0, b"\x00"), Value(1, b"\x01"))),
    TypeCase("bit(12)", (Value(0, b"\x00\x00"), Value(0xABC, b"\x0a\xbc"))),
    TypeCase("bit(33)", (Value(2**33 - 1, b"\x01" + b"\xff" * 4),)),
    TypeCase("bit(64)", (Value(2**64 - 1, b"\xff" * 8),)),
    TypeCase("year", same(1901, 2155, 0)),
    TypeCase(
        "date",
        same(date(1, 1, 1), date(9999, 12, 31), date(1969, 12, 31)),
        refused=("0000-00-00", "2026-00-10"),
        note="Zero dates follow `types.zero_dates`",
    ),
    TypeCase(
        "time",
        (
            Value("-838:59:59", -timedelta(hours=838, minutes=59, seconds=59)),
            Value("838:59:59", timedelta(hours=838, minutes=59, seconds=59)),
            Value("00:00:00", timedelta()),
        ),
        note="A span, not a time of day; in Parquet microseconds, which only Arrow's readers know for a span",
    ),
    TypeCase(
        "time(6)",
        (
            Value("-00:00:00.000001", -timedelta(microseconds=1)),
            Value("838:59:59.999999", timedelta(hours=838, minutes=59, seconds=59, microseconds=999999)),
        ),
    ),
    TypeCase(
        "datetime",
        same(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59), datetime(1969, 12, 31, 23, 59, 59)),
        refused=("0000-00-00 00:00:00",),
        note="Without a zone, and stays so",
    ),
    TypeCase("datetime(6)", same(datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(2026, 1, 1, 0, 0, 0, 1))),
    TypeCase(
        "timestamp",
        (
            Value("1970-01-01 05:45:01", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
            Value("2038-01-19 08:59:07", datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC)),
        ),
        refused=("0000-00-00 00:00:00",),
        note="The instant, in UTC",
    ),
    TypeCase("timestamp(6)", (Value("2038-01-19 08:59:07.999999", datetime(2038, 1, 19, 3, 14, 7, 999999, UTC)),)),
    TypeCase("char(5)", (*same("", "éé😀"), Value("a  ", "a")), note="MariaDB drops trailing spaces"),
    TypeCase("varchar(60)", same(*TEXTS)),
    TypeCase("varchar(60) character set latin1", same("", "é", "ÿ")),
    TypeCase("varchar(60) character set cp1251", same("", "Привет, №", "Ё")),
    TypeCase("varchar(60) character set sjis", same("", "日本語", "ｱ")),
    TypeCase("varchar(60) character set big5", same("", "繁體")),
    TypeCase("varchar(60) character set ucs2", same("", "日本語")),
    TypeCase("varchar(60) character set utf16", same("", "日本語 😀")),
    TypeCase("varchar(60) character set utf32", same("", "日本語 😀")),
    TypeCase("varchar(60) character set utf8mb3", same("", "日本語")),
    TypeCase("tinytext", same(*TEXTS)),
    TypeCase("text character set utf16", same("日本語 😀", "a\x00b")),
    TypeCase("text", same(*TEXTS)),
    TypeCase("mediumtext", same(*TEXTS)),
    TypeCase("longtext", same(*TEXTS)),
    TypeCase(
        "binary(4)", (Value(b"\xff\x00", b"\xff\x00\x00\x00"), Value(b"", bytes(4))), note="Padded with zero bytes"
    ),
    TypeCase("varbinary(300)", same(b"", bytes(range(256)))),
    TypeCase("tinyblob", same(b"", bytes(range(255)))),
    TypeCase("blob", same(b"", bytes(range(256)))),
    TypeCase("mediumblob", same(b"", bytes(range(256)))),
    TypeCase("longblob", same(b"", bytes(range(256)))),
    TypeCase("enum('a','','é')", same("a", "", "é")),
    TypeCase("set('a','b','é')", same("", "a", "a,b,é")),
    TypeCase("json", same('{"b": 1,  "a": "é😀"}', "null", '""', "1e400")),
    TypeCase("uuid", same(UUID(int=0), UUID(int=2**128 - 1), UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))),
    TypeCase("inet4", same("0.0.0.0", "255.255.255.255")),
    TypeCase("inet6", same("::", "fe80::1", "::ffff:1.2.3.4")),
    *(
        TypeCase(declared, same(SRID + geometry), note="MariaDB's bytes: the SRID, then well-known binary")
        for declared, geometry in GEOMETRIES.items()
    ),
)

MARIADB = Engine("mariadb", "MariaDB", CASES, unmappable=(), quote="`", mark="%s", setup=SETUP)
