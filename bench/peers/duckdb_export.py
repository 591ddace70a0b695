"""DuckDB as a peer: ``duckdb_export.py sqlite|postgres TARGET`` exports ``orders`` of BENCH_DATABASE with zstd 1."""

import os
import sys

import duckdb

engine, target = sys.argv[1:]
connection = duckdb.connect(config={"threads": 2})
try:
    connection.load_extension(engine)
except duckdb.Error:  # not on this machine yet
    connection.install_extension(engine)
    connection.load_extension(engine)
if target == "--check":
    sys.exit()
database = os.environ["BENCH_DATABASE"].replace("'", "''")
connection.execute(f"ATTACH '{database}' AS source (TYPE {engine}, READ_ONLY)")
path = target.replace("'", "''")
connection.execute(f"COPY source.orders TO '{path}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
