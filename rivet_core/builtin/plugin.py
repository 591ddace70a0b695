"""Entry module of the built-ins, registered through the same hooks as any plugin."""

from __future__ import annotations

from rivet_core.api import DestinationSpec, FormatSpec, SourceSpec
from rivet_core.hookspecs import hookimpl


@hookimpl
def rivet_destinations() -> list[DestinationSpec]:
    """Register ``stdout``."""
    return [
        DestinationSpec(
            type="stdout",
            kind="stream",
            summary="The standard output, for pipes; nothing is certified",
            config="rivet_core.builtin.stdout:StdoutConfig",
            factory="rivet_core.builtin.stdout:open_stdout",
        )
    ]


@hookimpl
def rivet_formats() -> list[FormatSpec]:
    """Register ``csv``, and ``parquet`` while no installed plugin claims it."""
    return [
        FormatSpec(
            name="parquet",
            suffix="parquet",
            media_type="application/vnd.apache.parquet",
            summary="Apache Parquet; compression zstd, snappy, gzip, lz4 or none",
            config="rivet_core.builtin.parquet:ParquetConfig",
            factory="rivet_core.builtin.parquet:ParquetFormat",
            fallback=True,
        ),
        FormatSpec(
            name="csv",
            suffix="csv",
            media_type="text/csv",
            summary="RFC 4180 CSV that keeps NULL and the empty string apart",
            config="rivet_core.builtin.csv:CsvConfig",
            factory="rivet_core.builtin.csv:CsvFormat",
        ),
    ]


@hookimpl
def rivet_sources() -> list[SourceSpec]:
    """Register the SQLAlchemy source, which also serves the engines that no installed plugin claims."""
    return [
        SourceSpec(
            type="sqlalchemy",
            summary="Any database with a SQLAlchemy dialect; tuned for SQLite, PostgreSQL, MySQL and MariaDB",
            config="rivet_core.builtin.sqlalchemy.config:SqlalchemyConfig",
            factory="rivet_core.builtin.sqlalchemy.source:open_source",
            fallback_for={"sqlite": "sqlite", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql"},
        )
    ]
