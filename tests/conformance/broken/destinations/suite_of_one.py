"""What the author of one of the destinations in ``broken_destinations`` would write; the environment says which one."""

from __future__ import annotations

import os

import pytest
from broken_destinations import Server

from rivet_core.testing import DestinationSuite, Harness
from rivet_memory.store import PLACES, Stored

TOKEN = "tok-5e1f0c77d2"


class TestDestination(DestinationSuite):
    destination = os.environ["DESTINATION"]

    @pytest.fixture
    def harness(self) -> Harness:
        def get(prefix: str, key: str) -> bytes | None:
            stored = PLACES.get(prefix, {}).get(key)
            return stored.data if stored else None

        return Harness(
            config=lambda prefix: {"prefix": prefix, "token": TOKEN},
            get=get,
            put=lambda prefix, key, data: PLACES.setdefault(prefix, {}).update({key: Stored(data)}),
            list=lambda prefix: list(PLACES.get(prefix, {})),
            delete=lambda prefix, key: PLACES.get(prefix, {}).pop(key, None),
            secrets=[TOKEN],
            faults=Server.failing,
        )
