"""The original Rivet: ``original_export.py TARGET PROGRAM full|chunked``, zstd 1; replaces this process by it."""

import json
import os
import sys

from database import ENGINE, LOCATION, ROWS, TABLE, TARGET

program, mode = sys.argv[2:]
chunks = {"chunk_column": "id", "chunk_size": -(-ROWS // 12), "parallel": 2} if mode == "chunked" else {}
config = {
    "source": {"type": ENGINE, "url_env": "BENCH_SOURCE", "tuning": {"profile": "fast"}},
    "exports": [
        {
            "name": TABLE,
            "table": TABLE,
            "mode": mode,
            "format": "parquet",
            "compression": "zstd",
            "compression_level": 1,
            "destination": {"type": "local", "path": f"{TARGET}/output/"},
            **chunks,
        }
    ],
}
path = TARGET / "rivet.yaml"
path.write_text(json.dumps(config))  # JSON is YAML
scheme = "postgresql" if ENGINE == "postgres" else "mysql"
os.chdir(TARGET)
os.execve(program, [program, "run", "--config", str(path)], os.environ | {"BENCH_SOURCE": scheme + LOCATION})
