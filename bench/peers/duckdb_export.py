"""DuckDB's scanner of another database, two threads, zstd 1.

The rows come in whatever order, which is what lets it write while it reads.
"""

from database import DATABASE, ENGINE, HOST, PASSWORD, PORT, TABLE, TARGET, USER
from duckdb_extensions import connect


def attached() -> str:
    """Return what ATTACH takes."""
    if ENGINE == "sqlite":
        return DATABASE
    name = "dbname" if ENGINE == "postgres" else "database"
    return f"host={HOST} port={PORT} user={USER} password={PASSWORD} {name}={DATABASE}"


connection = connect(f"{ENGINE}_scanner")
connection.execute("SET preserve_insertion_order = false")
database, path = (text.replace("'", "''") for text in (attached(), str(TARGET / f"{TABLE}.parquet")))
connection.execute(f"ATTACH '{database}' AS source (TYPE {ENGINE}, READ_ONLY)")
table = f"source.{TABLE}" if ENGINE == "sqlite" else f"source.{'public' if ENGINE == 'postgres' else DATABASE}.{TABLE}"
connection.execute(f"COPY {table} TO '{path}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
