"""The suite of destinations of kind ``store``: each operation, each claim, any sequence of them, and whole runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from rivet_core.api import Destination, DestinationSpec
from rivet_core.config import DestinationChoice
from rivet_core.engine.store import open_unchecked
from rivet_core.plugins import Registry
from rivet_core.testing.destination.claims import ClaimTests
from rivet_core.testing.destination.stateful import StatefulTests
from rivet_core.testing.destination.trust import TrustTests
from rivet_core.testing.destination.unit import UnitTests
from rivet_core.testing.harness import Harness
from rivet_core.testing.suite import Suite, choose_destination, fresh_prefix

__all__ = ["DestinationSuite"]


class DestinationSuite(UnitTests, ClaimTests, StatefulTests, TrustTests, Suite):
    """Proves that a destination keeps what Rivet promises. Subclass it, name the type and give a harness.

    Attributes:
        destination: the type, as ``rivet.yaml`` says it; found through the entry point of the installed plugin.
    """

    harness_class = Harness
    destination: ClassVar[str]

    @pytest.fixture
    def prefix(self) -> str:
        """A prefix that nobody has used yet."""
        return fresh_prefix()

    @pytest.fixture
    def choose(self, registry: Registry, harness: Harness) -> Callable[[str], DestinationChoice]:
        """Return what ``rivet.yaml`` would say of the destination at a prefix, validated."""
        spec = registry.destination(self.destination)
        return lambda prefix: choose_destination(registry, spec, harness.config(prefix))

    @pytest.fixture
    def open_store(
        self, registry: Registry, choose: Callable[[str], DestinationChoice]
    ) -> Iterator[Callable[[str], Destination]]:
        """Open the plugin's destination at a prefix, a new instance at each call; all are closed after the test."""
        opened: list[Destination] = []

        def open_at(prefix: str) -> Destination:
            destination = open_unchecked(choose(prefix), registry, Path.cwd())
            if not isinstance(destination, Destination):
                pytest.fail(f"the factory of {self.destination!r} returned {destination!r} instead of a Destination")
            opened.append(destination)
            return destination

        yield open_at
        for destination in opened:
            destination.close()

    @pytest.fixture
    def spec(self, registry: Registry, open_store: Callable[[str], Destination]) -> DestinationSpec:
        """What the plugin says about its destination, its claims less what the server in use cannot do."""
        spec = registry.destination(self.destination)
        return replace(spec, capabilities=open_store(fresh_prefix()).capabilities(spec.capabilities))

    @pytest.fixture
    def store(self, open_store: Callable[[str], Destination], prefix: str) -> Destination:
        """The plugin's destination at ``prefix``."""
        return open_store(prefix)
