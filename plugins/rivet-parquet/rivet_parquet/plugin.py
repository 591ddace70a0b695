"""Entry module of rivet-parquet: one format, ``parquet``."""

from __future__ import annotations

from importlib.util import find_spec

from rivet_core.api import FormatSpec
from rivet_core.hookspecs import hookimpl


@hookimpl
def rivet_formats() -> list[FormatSpec]:
    """Register ``parquet`` in place of the built-in one; nothing where the native code was not built."""
    if find_spec("rivet_parquet._pages") is None:
        return []
    return [
        FormatSpec(
            name="parquet",
            suffix="parquet",
            media_type="application/vnd.apache.parquet",
            summary="Apache Parquet, encoded by native code",
            config="rivet_core.builtin.parquet:ParquetConfig",
            factory="rivet_parquet.format:NativeParquetFormat",
        )
    ]
