"""The tables of the peers' cases: their values, their types in each database, and what an exact Parquet file has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Engine = Literal["postgres", "mysql"]
ENGINES: tuple[Engine, ...] = ("postgres", "mysql")

LINEITEM_ROWS = 6_001_215  # what dbgen makes of scale factor 1
WIDE_ROWS = 1_000_000


@dataclass(frozen=True)
class Column:
    """One column, the same values in each database.

    Attributes:
        name: its name.
        value: DuckDB's expression for it.
        types: its type in each database.
        kinds: what an exact Parquet file of each database holds, as ``verify.kinds_of`` names it.
        texts: DuckDB's expression for what the database loads, where that is not the plain text of the value.
    """

    name: str
    value: str
    types: dict[Engine, str]
    kinds: dict[Engine, str]
    texts: dict[Engine, str]


@dataclass(frozen=True)
class Table:
    """A table with the key ``id`` from 1 to its number of rows.

    Attributes:
        name: its name in the databases.
        columns: its columns, the key first.
        relation: DuckDB's relation that the values are computed from; ``{rows}`` stands for the number of rows.
        setup: DuckDB's statements before that; ``{scale}`` stands for TPC-H's scale factor.
        extension: DuckDB's extension that they need, or none.
        rows: how many rows it has where nobody says otherwise.
    """

    name: str
    columns: tuple[Column, ...]
    relation: str
    setup: tuple[str, ...]
    extension: str | None
    rows: int

    def select(self, rows: int) -> str:
        """Return DuckDB's query for the first ``rows`` rows in order."""
        values = ", ".join(f"{column.value} AS {column.name}" for column in self.columns)
        return f"SELECT {values} FROM {self.relation.format(rows=rows)} ORDER BY id LIMIT {rows}"

    def prepare(self, rows: int) -> list[str]:
        """Return DuckDB's statements that must run before ``select(rows)``."""
        # dbgen's orders have one to seven lines, so that a scale gives about its share of the lines, not exactly it.
        scale = rows / LINEITEM_ROWS if rows % LINEITEM_ROWS == 0 else rows / LINEITEM_ROWS * 1.02 + 0.001
        return [statement.format(scale=scale) for statement in self.setup]

    def texts(self, engine: Engine) -> str:
        """Return DuckDB's list of what the engine loads."""
        return ", ".join(column.texts.get(engine, column.name) for column in self.columns)

    def create(self, engine: Engine) -> str:
        """Return the statement that creates the table, without its key."""
        columns = ", ".join(f"{column.name} {column.types[engine]}" for column in self.columns)
        if engine == "postgres":
            return f"CREATE UNLOGGED TABLE {self.name} ({columns})"
        return f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY (id)) CHARACTER SET utf8mb4"

    def kinds(self, engine: Engine) -> dict[str, str]:
        """Return what an exact Parquet file holds, by column."""
        return {column.name: column.kinds[engine] for column in self.columns}


def _column(
    name: str,
    value: str,
    postgres: str,
    kind: str,
    *,
    mysql: str | None = None,
    mysql_kind: str | None = None,
    texts: dict[Engine, str] | None = None,
) -> Column:
    types: dict[Engine, str] = {"postgres": postgres, "mysql": mysql or postgres}
    kinds: dict[Engine, str] = {"postgres": kind, "mysql": mysql_kind or kind}
    return Column(name, value, types, kinds, texts or {})


def _money(name: str) -> Column:
    return _column(name, name, "decimal(15,2) NOT NULL", "decimal(15,2)")


def _day(name: str) -> Column:
    return _column(name, name, "date NOT NULL", "date")


def _text(name: str, length: int) -> Column:
    return _column(name, name, f"varchar({length}) NOT NULL", "string")


LINEITEM = Table(
    "lineitem",
    (
        _column("id", "row_number() OVER (ORDER BY l_orderkey, l_linenumber)", "bigint NOT NULL", "int64"),
        *(_column(name, name, "bigint NOT NULL", "int64") for name in ("l_orderkey", "l_partkey", "l_suppkey")),
        _column("l_linenumber", "l_linenumber::INTEGER", "integer NOT NULL", "int32"),
        *(_money(name) for name in ("l_quantity", "l_extendedprice", "l_discount", "l_tax")),
        *(_text(name, 1) for name in ("l_returnflag", "l_linestatus")),
        *(_day(name) for name in ("l_shipdate", "l_commitdate", "l_receiptdate")),
        _text("l_shipinstruct", 25),
        _text("l_shipmode", 10),
        _text("l_comment", 44),
    ),
    relation="lineitem",
    setup=("CALL dbgen(sf = {scale})",),
    extension="tpch",
    rows=LINEITEM_ROWS,
)

# As in `data.py`: Knuth's multiplier scatters neighbours, so that columns compress like real ones.
_HASH = "(i * 2654435761 % 4294967296)"
_DIGEST = f"md5({_HASH}::VARCHAR)"
# Of version 4 and the usual variant; MariaDB takes no others.
_UUID = "(substr({0}, 1, 12) || '4' || substr({0}, 14, 3) || 'a' || substr({0}, 18))::UUID".format("md5(i::VARCHAR)")


def _unless(every: int, value: str, remainder: int = 0) -> str:
    return f"CASE WHEN i % {every} = {remainder} THEN NULL ELSE {value} END"


WIDE = Table(
    "wide",
    (
        _column("id", "i", "bigint NOT NULL", "int64"),
        _column("uid", _UUID, "uuid NOT NULL", "uuid"),
        _column("account", f"({_HASH} % 200000)::INTEGER", "integer NOT NULL", "int32"),
        _column("quantity", "(1 + i % 9)::SMALLINT", "smallint NOT NULL", "int16"),
        _column(
            "flagged",
            _unless(11, f"{_HASH} % 2 = 0"),
            "boolean",
            "bool",
            mysql_kind="int8",  # tinyint(1)
            texts={"mysql": "flagged::TINYINT"},
        ),
        _column("score", f"({_HASH} % 100000)::FLOAT / 8::FLOAT", "real NOT NULL", "float", mysql="float NOT NULL"),
        _column("ratio", _unless(7, f"{_HASH}::DOUBLE / 1024"), "double precision", "double"),
        _column(
            "price",
            f"(({_HASH} % 10000000)::DECIMAL(8,0) * 0.01::DECIMAL(3,2))::DECIMAL(12,2)",
            "decimal(12,2) NOT NULL",
            "decimal(12,2)",
        ),
        _column(
            "total",
            _unless(13, f"(({_HASH} - 2000000000)::DECIMAL(14,0) * 0.00000001::DECIMAL(9,8))::DECIMAL(24,8)"),
            "decimal(24,8)",
            "decimal(24,8)",
        ),
        _column(
            "created",
            f"make_timestamp(1577836800000000 + {_HASH} * 30011)",
            "timestamptz NOT NULL",
            "timestamp[us,UTC]",
            mysql="timestamp(6) NOT NULL DEFAULT '2020-01-01'",
            texts={"postgres": "created::VARCHAR || '+00'"},
        ),
        _column(
            "updated",
            _unless(5, f"make_timestamp(1577836800000000 + {_HASH} * 30011 + i % 1000000)"),
            "timestamp",
            "timestamp[us]",
            mysql="datetime(6)",
        ),
        _column("born", _unless(17, f"DATE '1950-01-01' + ({_HASH} % 20000)::INTEGER"), "date", "date"),
        _column(
            "status",
            f"CASE {_HASH} % 5 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' WHEN 2 THEN 'shipped' ELSE 'delivered' END",
            "varchar(16) NOT NULL",
            "string",
        ),
        _column("email", "'user' || i || '@example.com'", "varchar(80) NOT NULL", "string"),
        _column("note", _unless(3, f"'Größe ' || {_DIGEST} || ' ménü ' || i % 1000"), "text", "string"),
        _column("code", f"CASE WHEN i % 10 = 0 THEN 'C-' || {_HASH} % 1000 END", "varchar(8)", "string"),
        _column(
            "attributes",
            f"'{{\"size\": ' || {_HASH} % 50 || ', \"color\": \"' || (CASE WHEN i % 2 = 0 THEN 'red' ELSE 'blue' END) "
            '|| \'", "active": true}\'',
            "jsonb NOT NULL",
            "json",
            mysql="json NOT NULL",
        ),
        _column(
            "document",
            _unless(4, f"'{{\"items\": [' || i % 7 || ', ' || i % 11 || '], \"title\": \"n-' || {_HASH} || '\"}}'"),
            "json",
            "json",
        ),
        _column(
            "payload",
            _unless(6, f"unhex({_DIGEST} || substr({_DIGEST}, 1, (i % 17)::INTEGER * 2 % 32))"),
            "bytea",
            "binary",
            mysql="varbinary(64)",
            texts={"postgres": "'\\\\x' || hex(payload)", "mysql": "hex(payload)"},
        ),
        _column("balance", _unless(9, f"({_HASH} - 2147483648) * 1000003"), "bigint", "int64"),
    ),
    relation="range(1, {rows} + 1) AS numbers(i)",
    setup=(),
    extension=None,
    rows=WIDE_ROWS,
)
