"""PostgreSQL as a source for Rivet, read by binary COPY."""

__version__ = "0.1.0"
