"""``python -m fuzz.seeds``: ask real servers for values of every kind and keep what they send as the first inputs."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymysql.cursors import SSCursor

from fuzz.targets import ROOT, TARGETS

sys.path.append(str(ROOT / "tests"))  # the private servers of the tests serve here too

from fuzz import mysql, postgres
from fuzz import postgres_server as postgres_server_side
from rivet_mysql import prepared
from rivet_mysql.binary import form_of
from rivet_mysql.fields import Field as MysqlField
from rivet_mysql.fields import Form
from rivet_mysql.fields import Kind as MysqlKind
from rivet_postgres.fields import Field, Kind
from servers.mariadb import Mariadb, mariadb_server
from servers.postgres import Postgres, postgres_server

_INTEGERS = ("0", "1", "-1", "127", "-128", "32767", "-32768", "NULL")
_WIDE = (*_INTEGERS, "2147483647", "-2147483648")
_LONG = (*_WIDE, "9223372036854775807", "-9223372036854775807")
_DECIMALS = ("0", "0.5", "-0.00001", "123456789.5", "-98765432109876543210.123", "NULL")
_DAYS = ("'0001-01-01'", "'1969-12-31'", "'2000-02-29'", "'9999-12-31'", "NULL")
_TEXTS = ("''", "'a'", "'naïve — 漢字 🚢'", "repeat('abcdefgh', 10)", "NULL")
_SIZES = tuple(f"repeat('x', {size})" for size in (5, 60, 64, 65, 3, 130))

#: A name, the SQL type, values, and how the column is decoded.
_POSTGRES: Sequence[tuple[str, str, Sequence[str], Field]] = (
    ("bool", "boolean", ("true", "false", "NULL"), Field(Kind.BOOL)),
    ("int2", "smallint", _INTEGERS, Field(Kind.WORD16)),
    ("int4", "integer", _WIDE, Field(Kind.WORD32)),
    ("int8", "bigint", _LONG, Field(Kind.WORD64)),
    ("float4", "real", ("1.5", "'NaN'", "'-Infinity'"), Field(Kind.WORD32)),
    ("float8", "float8", ("1.5", "'NaN'", "'Infinity'"), Field(Kind.WORD64)),
    ("date", "date", _DAYS, Field(Kind.DATE)),
    ("date-infinite", "date", ("'infinity'", "'4713-01-01 BC'"), Field(Kind.DATE)),
    ("time", "time", ("'00:00'", "'23:59:59.999999'", "NULL"), Field(Kind.TIME)),
    ("time-24", "time", ("'24:00'",), Field(Kind.TIME)),
    ("timestamptz", "timestamptz", _DAYS[1:3], Field(Kind.TIMESTAMP)),
    ("timestamp", "timestamp", ("'2026-11-23 05:20:00.123456'", "'0001-01-01'", "NULL"), Field(Kind.TIMESTAMP)),
    ("timestamp-infinite", "timestamp", ("'-infinity'",), Field(Kind.TIMESTAMP)),
    ("uuid", "uuid", ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "NULL"), Field(Kind.UUID)),
    ("numeric38", "numeric", _DECIMALS, Field(Kind.DECIMAL128, precision=38, scale=10)),
    (
        "numeric18",
        "numeric",
        ("12345678.25", "-0.01", "99999999999999.9999"),
        Field(Kind.DECIMAL128, precision=18, scale=4),
    ),
    ("numeric76", "numeric", (*_DECIMALS, "1e45::numeric"), Field(Kind.DECIMAL256, precision=76, scale=30)),
    ("numeric-nan", "numeric", ("1", "'NaN'"), Field(Kind.DECIMAL128, precision=10, scale=2)),
    ("numeric-infinite", "numeric", ("'-Infinity'",), Field(Kind.DECIMAL256, precision=40, scale=2)),
    ("numeric-large", "numeric", ("1e500::numeric",), Field(Kind.DECIMAL256, precision=76, scale=0)),
    ("numeric-small", "numeric", ("1e-60::numeric",), Field(Kind.DECIMAL256, precision=76, scale=30)),
    ("text", "text", _TEXTS, Field(Kind.BYTES)),
    ("text-sizes", "text", _SIZES, Field(Kind.BYTES)),
    ("bytea", "bytea", (r"'\x00ff'", "''", "NULL"), Field(Kind.BYTES)),
    ("json", "json", ("""'{"a": [1, null]}'""", "NULL"), Field(Kind.BYTES)),
    ("jsonb", "jsonb", ("""'{"a": [1, null]}'""", "NULL"), Field(Kind.JSONB)),
    ("null-refused", "integer", ("1", "NULL"), Field(Kind.WORD32, nullable=False)),
    ("no-rows", "integer", (), Field(Kind.WORD32)),
)

_MARIADB: Sequence[tuple[str, str, Sequence[str], MysqlField]] = (
    ("tinyint", "tinyint", _INTEGERS[:5], MysqlField(MysqlKind.INTEGER, 1)),
    ("smallint", "smallint", _INTEGERS, MysqlField(MysqlKind.INTEGER, 2)),
    ("int", "int", _WIDE, MysqlField(MysqlKind.INTEGER, 4)),
    ("bigint", "bigint", _LONG, MysqlField(MysqlKind.INTEGER, 8)),
    ("utinyint", "tinyint unsigned", ("0", "255", "NULL"), MysqlField(MysqlKind.UNSIGNED, 1)),
    ("usmallint", "smallint unsigned", ("0", "65535"), MysqlField(MysqlKind.UNSIGNED, 2)),
    ("uint", "int unsigned zerofill", ("7", "4294967295"), MysqlField(MysqlKind.UNSIGNED, 4)),
    ("ubigint", "bigint unsigned", ("0", "18446744073709551615"), MysqlField(MysqlKind.UNSIGNED, 8)),
    ("bool", "boolean", ("0", "1", "NULL"), MysqlField(MysqlKind.BOOL)),
    ("bool-odd", "tinyint", ("1", "2", "0"), MysqlField(MysqlKind.BOOL)),
    ("decimal38", "decimal(38,10)", _DECIMALS, MysqlField(MysqlKind.DECIMAL, 16, precision=38, scale=10)),
    ("decimal65", "decimal(65,30)", _DECIMALS, MysqlField(MysqlKind.DECIMAL, 32, precision=65, scale=30)),
    ("decimal-odd", "decimal(38,10)", ("1", "1.125"), MysqlField(MysqlKind.DECIMAL, 16, precision=5, scale=2)),
    ("float", "float", ("1.5", "-1e30", "NULL"), MysqlField(MysqlKind.TEXT)),
    ("double", "double", ("1.5", "-1e300", "NULL"), MysqlField(MysqlKind.DOUBLE, 8, form=Form.DOUBLE)),
    ("double-float", "double", ("1.5", "0.1", "1e300"), MysqlField(MysqlKind.DOUBLE, 4, form=Form.DOUBLE)),
    ("narrower", "bigint", _LONG, MysqlField(MysqlKind.INTEGER, 2, form=Form.INT64)),
    ("without-sign", "bigint", _LONG, MysqlField(MysqlKind.UNSIGNED, 4, form=Form.INT64)),
    ("year", "year", ("2026", "1901", "0"), MysqlField(MysqlKind.INTEGER, 2, form=Form.UINT16)),
    ("date", "date", _DAYS, MysqlField(MysqlKind.DATE, 4)),
    ("date-zero", "date", ("'0000-00-00'", "'2026-00-01'"), MysqlField(MysqlKind.DATE, 4)),
    ("date-zero-null", "date", ("'0000-00-00'", "NULL"), MysqlField(MysqlKind.DATE, 4, zero_is_null=True)),
    ("datetime", "datetime(6)", ("'2026-11-23 05:20:00.123456'", *_DAYS), MysqlField(MysqlKind.TIMESTAMP, 8)),
    (
        "datetime-zero-null",
        "datetime(3)",
        ("'0000-00-00'", "'2026-11-23 05:20:00.5'"),
        MysqlField(MysqlKind.TIMESTAMP, 8, zero_is_null=True),
    ),
    ("time", "time(6)", ("'-838:59:59.000001'", "'00:00:00'", "NULL"), MysqlField(MysqlKind.DURATION, 8)),
    ("uuid", "uuid", ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "NULL"), MysqlField(MysqlKind.UUID, 16)),
    ("text", "text", (*_TEXTS, "repeat('long', 100)"), MysqlField(MysqlKind.TEXT)),
    ("text-sizes", "text", _SIZES, MysqlField(MysqlKind.TEXT)),
    ("text-latin1", "blob", ("x'e9'", "'fine'"), MysqlField(MysqlKind.TEXT)),
    ("blob", "blob", ("x'00ff'", "''", "NULL"), MysqlField(MysqlKind.BYTES)),
    ("null-odd", "int", ("1", "NULL", "2"), MysqlField(MysqlKind.INTEGER, 4, nullable=False)),
    ("no-rows", "int", (), MysqlField(MysqlKind.INTEGER, 4)),
)


def main() -> None:
    """Write the seeds of both decoders into their folders of kept inputs."""
    with postgres_server() as server:
        _keep(TARGETS["postgres"].corpus, _postgres_seeds(server))
    with mariadb_server() as other:
        _keep(TARGETS["mysql"].corpus, _mariadb_seeds(other))


def _keep(folder: Path, seeds: Iterator[tuple[str, bytes]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds:
        (folder / f"seed-{name}").write_bytes(data)


def _postgres_seeds(server: Postgres) -> Iterator[tuple[str, bytes]]:
    options = postgres.WITH_HEADER | postgres.WITH_TRAILER
    bare = len(postgres.HEADER), -len(postgres.TRAILER)
    with server.connect() as connection, connection.cursor() as cursor:
        for name, type_, values, field in _POSTGRES:
            with cursor.copy(_copy(_column(type_, values))) as copy:
                stream = b"".join(bytes(part) for part in copy)
            yield name, postgres.input_of([field], stream[slice(*bare)], options)
        plain = [item for item in _POSTGRES if "-" not in item[0]]
        for first in range(0, len(plain), postgres.MOST_COLUMNS):
            group = plain[first : first + postgres.MOST_COLUMNS]
            columns = ", ".join(f"CAST({values[0]} AS {type_})" for _, type_, values, _ in group)
            with cursor.copy(_copy(f"SELECT {columns} FROM generate_series(1, 3)")) as copy:
                stream = b"".join(bytes(part) for part in copy)
            yield f"rows-{first}", postgres.input_of([field for *_, field in group], stream)
    yield from _dialog_seeds()


def _dialog_seeds() -> Iterator[tuple[str, bytes]]:
    """Return what a server sends for a table of one text column, and where it fails."""
    fields, row = [Field(Kind.BYTES)], struct.pack("!hi4s", 1, 4, b"text")
    parts = [postgres.HEADER + row, row, row[:3], row[3:], b"", postgres.TRAILER]
    failed = postgres_server_side.message(b"E", b"SERROR\0C22012\0\0") + postgres_server_side.message(b"Z", b"E")
    later = postgres_server_side.message(b"S", b"a\0b\0") + postgres_server_side.message(b"A", bytes(6))
    for name, dialog in (
        ("whole", postgres_server_side.dialog(parts) + later),
        ("failed", postgres_server_side.dialog(parts[:2], complete=False) + later + failed),
        ("refused", failed),
    ):
        yield f"dialog-{name}", postgres.input_of(fields, dialog, postgres.RAW)


def _column(type_: str, values: Sequence[str]) -> str:
    if not values:
        return f"SELECT CAST(NULL AS {type_}) LIMIT 0"
    return " UNION ALL ".join(f"SELECT CAST({value} AS {type_})" for value in values)


def _copy(query: str) -> Any:  # psycopg takes no string that it did not see written out
    return f"COPY ({query}) TO STDOUT (FORMAT binary)"


def _mariadb_seeds(server: Mariadb) -> Iterator[tuple[str, bytes]]:
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        for number, (name, type_, values, field) in enumerate(_MARIADB):
            cursor.execute(f"CREATE TABLE t{number} (v {type_})")
            for value in values:
                cursor.execute(f"INSERT INTO t{number} VALUES ({value})")
            if field.form is Form.TEXT:
                yield name, mysql.input_of([field], _payloads(connection, f"SELECT v FROM t{number}"))
            fields, payloads = _in_binary(connection, f"SELECT v FROM t{number}", [field])
            if fields:
                yield f"binary-{name}", mysql.input_of(fields, payloads, mysql.BINARY)
        plain = [number for number, (name, *_, field) in enumerate(_MARIADB) if "-" not in name and not field.form]
        for first in range(0, len(plain), mysql.MOST_COLUMNS):
            numbers = plain[first : first + mysql.MOST_COLUMNS]
            columns = ", ".join(f"(SELECT v FROM t{number} LIMIT 1)" for number in numbers)
            payloads = _payloads(connection, f"SELECT {columns} UNION ALL SELECT {columns}")
            fields = [_MARIADB[number][3] for number in numbers]
            yield f"rows-{first}", mysql.input_of(fields, payloads)
            fields, payloads = _in_binary(connection, f"SELECT {columns} UNION ALL SELECT {columns}", fields)
            if fields:
                yield f"binary-rows-{first}", mysql.input_of(fields, payloads, mysql.BINARY)


def _in_binary(
    connection: Any, query: str, fields: Sequence[MysqlField]
) -> tuple[Sequence[MysqlField], Sequence[bytes]]:
    """Return the fields as they come in the binary protocol and its packets; nothing if one is never read from it."""
    known = {(field.kind, field.width, field.form) for field, _ in mysql.BINARY_FIELDS}
    with connection.cursor(SSCursor) as cursor:
        prepared.run(cursor, query, lambda described: True)
        payloads = _rest(cursor)
        forms = [form_of(field) for field in cursor._result.fields]
    made = [replace(field, form=form) for field, form in zip(fields, forms, strict=True) if form is not None]
    if len(made) < len(fields) or not {(field.kind, field.width, field.form) for field in made} <= known:
        return [], []
    return made, payloads


def _payloads(connection: Any, query: str) -> list[bytes]:
    """Return the packets behind the column definitions, as they come."""
    with connection.cursor(SSCursor) as cursor:
        cursor.execute(query)
        return _rest(cursor)


def _rest(cursor: Any) -> list[bytes]:
    payloads: list[bytes] = []
    while not payloads or not (payloads[-1][:1] == b"\xfe" and len(payloads[-1]) < 9):
        payloads.append(bytes(cursor.connection._read_packet().get_all_data()))
    cursor._result.unbuffered_active = False
    cursor._result.connection = None
    return payloads


if __name__ == "__main__":
    main()
