"""Every operation of a destination, one at a time, seen through the plugin and with raw access."""

from __future__ import annotations

from rivet_core.testing.destination.unit_objects import ObjectTests
from rivet_core.testing.destination.unit_safety import SafetyTests
from rivet_core.testing.destination.unit_writes import WriteTests

__all__ = ["UnitTests"]


class UnitTests(WriteTests, ObjectTests, SafetyTests):
    """What every destination must do, whatever it claims."""
