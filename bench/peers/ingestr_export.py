"""ingestr: its command line with a Parquet file as the destination, which has no setting for the codec.

It splits a table by dates alone, so that one stream reads this one. This process is replaced by ingestr's.
"""

import os
import sys
from pathlib import Path

from database import DATABASE, ENGINE, LOCATION, TABLE, TARGET

program = Path(sys.executable).with_name("ingestr")
scheme, options, schema = (
    ("postgresql", "?sslmode=disable", "public") if ENGINE == "postgres" else ("mysql", "", DATABASE)
)
arguments = [
    *("ingest", "--yes", "--progress", "log", "--no-load-timestamp", "--schema-naming", "direct"),
    *("--source-uri", scheme + LOCATION + options, "--source-table", f"{schema}.{TABLE}"),
    *("--dest-uri", f"parquet://{TARGET / TABLE}.parquet", "--dest-table", TABLE),
    *("--pipelines-dir", str(TARGET / "pipelines")),
]
os.execve(program, [str(program), *arguments], os.environ | {"INGESTR_DISABLE_TELEMETRY": "true"})
