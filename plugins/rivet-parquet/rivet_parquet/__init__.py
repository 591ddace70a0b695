"""Parquet files, encoded by native code."""

__version__ = "0.1.0"
