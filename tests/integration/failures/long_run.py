"""Exports that take longer than any test, to be met in the middle."""

from __future__ import annotations

import subprocess
import time

from integration.failures.command import Workspace

#: By engine; as long as its parameter says.
LONG_QUERIES = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT CAST(${rows} AS INTEGER))"
    " SELECT i FROM n",
    "postgres": "SELECT generate_series(1, CAST(${rows} AS bigint)) AS i",
    "mariadb": "SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_1000000000 WHERE seq <= CAST(${rows} AS SIGNED)",
}


def start_long_run(workspace: Workspace, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start an export that would take minutes, and return when its part grows."""
    process = workspace.start("run", "--param", "rows=1000000000", *arguments, **environment)
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size > 1_000_000 for path in workspace.out.glob(".rivet-tmp-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process
