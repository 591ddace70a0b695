"""sling: its command line with Parquet as the target, zstd at its own level; replaces this process by sling's.

It hands the rows to DuckDB as a stream of text, of which only the first 28 MB reach a file, and reports success.
Files of few rows each stay below that.
"""

import os
import sys
from pathlib import Path

import duckdb_extension_httpfs
import duckdb_extension_json
import sling_linux_amd64
from database import DATABASE, ENGINE, LOCATION, TABLE, TARGET

program = next(Path(sling_linux_amd64.__file__).parent.glob("bin/sling-*"))
duckdb = Path(sys.executable).with_name("duckdb")
duckdb.chmod(0o755)  # the package leaves it without
# Where DuckDB looks for extensions; sling asks for these.
home = TARGET / "home" / ".duckdb" / "extensions" / "v1.5.5" / "linux_amd64"
home.mkdir(parents=True)
for package in (duckdb_extension_httpfs, duckdb_extension_json):
    extension = next(Path(package.__file__).parent.rglob("*.duckdb_extension"))
    (home / extension.name).symlink_to(extension)
scheme, options, schema = (
    ("postgresql", "?sslmode=disable", "public") if ENGINE == "postgres" else ("mysql", "", DATABASE)
)
settings = {
    "BENCH_SOURCE": scheme + LOCATION + options,
    "DUCKDB_PATH": str(duckdb),
    "HOME": str(TARGET / "home"),
    "SLING_HOME_DIR": str(TARGET / "home"),
    "SLING_DISABLE_TELEMETRY": "true",
}
arguments = [
    *("run", "--src-conn", "BENCH_SOURCE", "--src-stream", f"{schema}.{TABLE}"),
    *("--tgt-object", (TARGET / "parts").as_uri()),
    *("--tgt-options", '{"format": "parquet", "compression": "zstd", "file_max_rows": 50000}'),
]
os.execve(program, [str(program), *arguments], os.environ | settings)
