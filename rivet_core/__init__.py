"""Rivet exports SQL databases to Parquet and CSV and certifies what it wrote."""

__version__ = "0.1.0"
