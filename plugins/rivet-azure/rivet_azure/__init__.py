"""Azure Blob Storage as a destination for Rivet."""

__version__ = "0.1.0"
