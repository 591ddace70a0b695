"""rivet-memory passes the conformance kit."""

from __future__ import annotations

import pytest

from rivet_core.testing import DestinationSuite, Harness
from rivet_memory.store import PLACES, Stored


class TestMemory(DestinationSuite):
    destination = "memory"

    @pytest.fixture
    def harness(self) -> Harness:
        """The dictionary itself; a place that the plugin has not seen yet is empty."""

        def get(prefix: str, key: str) -> bytes | None:
            stored = PLACES.get(prefix, {}).get(key)
            return stored.data if stored else None

        return Harness(
            config=lambda prefix: {"prefix": prefix},
            get=get,
            put=lambda prefix, key, data: PLACES.setdefault(prefix, {}).update({key: Stored(data)}),
            list=lambda prefix: list(PLACES.get(prefix, {})),
            delete=lambda prefix, key: PLACES.get(prefix, {}).pop(key, None),
        )
