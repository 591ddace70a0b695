"""DuckDB with an extension that comes from the package ``duckdb-extension-NAME`` where that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import duckdb


def connect(extension: str | None) -> duckdb.DuckDBPyConnection:
    """Open a database in memory with two threads and the extension, from wherever DuckDB finds it without a package."""
    connection = duckdb.connect(config={"threads": 2})
    if extension is None:
        return connection
    package = find_spec(f"duckdb_extension_{extension}")
    if package is not None and package.origin is not None:
        connection.load_extension(str(next(Path(package.origin).parent.rglob("*.duckdb_extension"))))
    else:
        name = extension.removesuffix("_scanner")
        connection.install_extension(name)
        connection.load_extension(name)
    return connection
