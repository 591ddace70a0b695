"""DuckDB as a peer: ``duckdb_export.py sqlite|postgres TARGET`` exports ``orders`` of BENCH_DATABASE with zstd 1.

Its extension comes from the package ``duckdb-extension-sqlite-scanner`` or ``-postgres-scanner`` where that is
installed, else from where DuckDB keeps or finds it. With ``--check`` as the target nothing is exported.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import duckdb

engine, target = sys.argv[1:]
connection = duckdb.connect(config={"threads": 2})
package = find_spec(f"duckdb_extension_{engine}_scanner")
if package is not None and package.origin is not None:
    connection.load_extension(str(next(Path(package.origin).parent.rglob("*.duckdb_extension"))))
else:
    connection.install_extension(engine)
    connection.load_extension(engine)
if target == "--check":
    sys.exit()
database = os.environ["BENCH_DATABASE"].replace("'", "''")
connection.execute(f"ATTACH '{database}' AS source (TYPE {engine}, READ_ONLY)")
path = target.replace("'", "''")
connection.execute(f"COPY source.orders TO '{path}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
