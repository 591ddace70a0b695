"""The trust contract over whole runs, wherever they crash."""

from __future__ import annotations


class TrustTests:
    """Whole runs through the plugin, crashed and disturbed, watched by an observer with raw access only."""
