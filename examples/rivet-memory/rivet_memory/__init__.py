"""A destination for Rivet in the memory of the process."""

__version__ = "0.1.0"
