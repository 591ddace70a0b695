"""Every column type of MySQL: those of MariaDB, the ones that differ, and its own."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import timedelta

from integration.types.cases import Engine, TypeCase, same
from integration.types.mariadb_types import MARIADB

LONGEST = timedelta(hours=838, minutes=59, seconds=59)
_NOT_HERE = {"json", "uuid", "inet4", "inet6"}
_SAID = {
    "boolean": "MySQL's name for `tinyint(1)`, which holds more than two values",
    "char(5)": "MySQL drops trailing spaces",
}


def _said_of_mysql(case: TypeCase) -> TypeCase:
    # MySQL's longest time has no fraction.
    values = tuple(
        replace(value, given="838:59:59", expected=LONGEST) if value.given == "838:59:59.999999" else value
        for value in case.values
    )
    return replace(
        case, values=values, note=_SAID.get(case.declared, case.note.replace("MariaDB's bytes", "MySQL's bytes"))
    )


CASES = (
    *(_said_of_mysql(case) for case in MARIADB.cases if case.declared not in _NOT_HERE),
    TypeCase("json", same('{"a": "é😀", "b": 1}', "null", '""', "[1.5, true]"), note="MySQL's own text of the value"),
    TypeCase("varchar(60) character set gb18030", same("", "简体 😀")),
    TypeCase("vector(3)", same(struct.pack("<3f", 1.5, -2, 0)), note="The bytes of its 32-bit floats"),
)

MYSQL = Engine("mysql", "MySQL", CASES, unmappable=(), quote="`", mark="%s", setup=MARIADB.setup)
