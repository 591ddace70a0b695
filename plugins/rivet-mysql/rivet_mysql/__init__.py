"""MySQL and MariaDB as a source for Rivet, their rows decoded in native code."""

__version__ = "0.1.0"
