"""Runs what it reads from its input, in DuckDB: ``{"extension", "statements", "copies": [{"query", "path", "form"}]}``.

``form`` is ``parquet`` or ``tsv``, the text that PostgreSQL's COPY and MySQL's LOAD DATA both take.
"""

import json
import sys
from pathlib import Path

from duckdb_extensions import connect

FORMS = {
    "parquet": "(FORMAT parquet, COMPRESSION zstd)",
    "tsv": "(FORMAT csv, DELIMITER '\t', HEADER false, NULLSTR '\\N', QUOTE '', ESCAPE '')",
}

task = json.load(sys.stdin)
connection = connect(task["extension"])
for statement in task["statements"]:
    connection.execute(statement)
for copy in task["copies"]:
    path = Path(copy["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    name = str(unfinished).replace("'", "''")
    connection.execute(f"COPY ({copy['query']}) TO '{name}' {FORMS[copy['form']]}")
    unfinished.rename(path)
