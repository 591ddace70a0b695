"""Amazon S3 and compatible stores as a destination for Rivet."""

__version__ = "0.1.0"
