"""Where a peer's script reads from, and where it writes to: ``SCRIPT.py TARGET``, the rest in the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

TARGET = Path(sys.argv[1])
ENGINE = os.environ["BENCH_ENGINE"]
DATABASE = os.environ["BENCH_DATABASE"]
TABLE = os.environ["BENCH_TABLE"]
ROWS = int(os.environ["BENCH_ROWS"])
# Not of SQLite.
HOST = os.environ.get("BENCH_HOST", "")
PORT = int(os.environ.get("BENCH_PORT", "0"))
USER = os.environ.get("BENCH_USER", "")
PASSWORD = os.environ.get("BENCH_PASSWORD", "")

#: ``scheme`` is to be put before it: ``postgresql``, ``mysql+pymysql`` and the like.
LOCATION = f"://{quote(USER)}:{quote(PASSWORD, safe='')}@{HOST}:{PORT}/{DATABASE}"


def halves() -> list[tuple[int, int]]:
    """Return the first and last key of each half of the table."""
    middle = ROWS // 2
    return [(1, middle), (middle + 1, ROWS)]
